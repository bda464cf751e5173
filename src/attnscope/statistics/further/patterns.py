"""How well the weights fit a pattern of pairs, as TransformerLens's detect_head measures it.

Its pattern P is 1 at some pairs and 0 elsewhere, special tokens included. Both measures follow from three sums, for
|w − P| = w + P − 2 · w · P where P is 0 or 1.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool
from torch import Tensor

from attnscope.statistics.further.block import HeadBlock, Run

PATTERNS: dict[str, Callable[[Run], Bool[Tensor, "q K"]]] = {
    "previous": lambda run: run.before,
    "same": lambda run: run.copies,
    "induction": lambda run: run.after,
}


def mul(name: str, block: HeadBlock) -> tuple[Tensor, Tensor]:
    """Σ w · P, and Σ w."""
    return _on_pattern(PATTERNS[name](block.run), block), block.weights.sum((1, 2))


def absolute(name: str, block: HeadBlock) -> tuple[Tensor, Tensor]:
    """Σ over queries of 1 − Σ over keys of |w − P|, and how many queries there are."""
    pattern = PATTERNS[name](block.run)
    asked = block.counted.double() @ pattern.sum(-1, dtype=torch.float64)
    missed = block.weights.sum((1, 2)) + asked - 2 * _on_pattern(pattern, block)
    return block.number - missed, block.number


def _on_pattern(pattern: Bool[Tensor, "q K"], block: HeadBlock) -> Tensor:
    here = pattern[:, block.run.sight.keys]
    if int(here.sum()) * 8 < here.numel():
        rows, columns = here.nonzero(as_tuple=True)
        return block.weights[:, rows, columns].sum(-1)
    return block.weights.flatten(1) @ here.flatten().double()


def measure(name: str, way: Callable[[str, HeadBlock], tuple[Tensor, Tensor]]) -> partial:
    """`mul` or `absolute` of one pattern; it can travel between processes."""
    return partial(way, name)
