"""Which text of a pair does a token belong to, where no fast encoding says so?"""

from collections.abc import Sequence
from typing import Any

import torch


def segments_of_types(types: Any, row: int = 0) -> tuple[int, ...]:
    """0 and 1 for the first and the second text, from token_type_ids of a batch, [B, T] or [T]; () where they do not tell
    two texts apart, as those that mark the patches of an image do not.

    `row`: of the batch. Other numbers (XLNet gives its [CLS] a 2) belong to the text before.
    """
    if types is None:
        return ()
    given = torch.as_tensor(types)
    given = given[row % len(given)] if given.ndim == 2 and len(given) else given
    if given.ndim != 1:
        return ()
    found: list[int] = []
    for kind in given.tolist():
        found.append(int(kind) if kind in (0, 1) else found[-1] if found else 0)
    return tuple(found) if 0 < sum(found) < len(found) and found == sorted(found) else ()


def segments_of_pair(ids: Sequence[int], second: Sequence[int], special: Sequence[bool]) -> tuple[int, ...]:
    """0 and 1, where the `second` text's own ids are the last of `ids` but for special tokens; () where they are not."""
    end = len(ids)
    while end and special[end - 1]:
        end -= 1
    start = end - len(second)
    if not second or start <= 0 or list(ids[start:end]) != list(second):
        return ()
    return (0,) * start + (1,) * (len(ids) - start)
