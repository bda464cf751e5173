"""The places on an axis: the pieces of a word merged, special and sink tokens hidden, one sentence of a pair alone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from attnscope.text.spelling import labels
from attnscope.tracing.tokens import Tokens


@dataclass(frozen=True)
class Slot:
    """One place on an axis: the positions of its tokens, and the text for them."""

    tokens: tuple[int, ...]
    text: str
    special: bool


@dataclass(frozen=True)
class Axis:
    """The places of an axis; `hidden` are the special and sink tokens that are not drawn, `outside` those of the other sentence."""

    slots: tuple[Slot, ...]
    hidden: tuple[int, ...] = ()
    outside: tuple[int, ...] = ()

    @cached_property
    def of(self) -> dict[int, int]:
        """From a token to its slot."""
        return {token: i for i, slot in enumerate(self.slots) for token in slot.tokens}

    @property
    def merged(self) -> bool:
        return any(len(slot.tokens) > 1 for slot in self.slots)

    @property
    def tokens(self) -> Int[Tensor, " t"]:
        """All tokens drawn, slot by slot."""
        return torch.tensor([token for slot in self.slots for token in slot.tokens], dtype=torch.long)

    @property
    def owners(self) -> Int[Tensor, " t"]:
        """The slot of each of these."""
        return torch.tensor([i for i, slot in enumerate(self.slots) for _ in slot.tokens], dtype=torch.long)

    def select(self, wanted: list[int]) -> "Axis":
        """Some of the slots, in order."""
        return Axis(tuple(self.slots[i] for i in wanted), self.hidden, self.outside)


def axis_of(
    tokens: Tokens,
    start: int,
    stop: int,
    *,
    words: bool,
    hidden: Collection[int],
    segment: int | None,
    keep: int | None = None,
    pool: Sequence[int] = (),
) -> Axis:
    """The tokens from `start` to `stop` - 1 as places. `hidden` are not drawn; `keep` is, even if it is hidden or of the
    other sentence. `pool`: of each token the number of the group that it is drawn with, -1: with none.
    """
    slots: list[Slot] = []
    left_out: list[int] = []
    outside: list[int] = []
    shown, last = labels(tokens), None
    pooled = -1  # the group of the last slot
    for i in range(start, stop):
        elsewhere = segment is not None and tokens.segments[i] != segment
        if i != keep and (elsewhere or i in hidden):
            (outside if elsewhere else left_out).append(i)
            last = None
            continue
        pool_here = pool[i] if i < len(pool) and i != keep else -1
        if pool_here >= 0:
            name = tokens.groups[pool_here].name
            own = slots.pop().tokens if pool_here == pooled else ()
            slots.append(Slot((*own, i), name, False))
            last, pooled = None, pool_here
            continue
        pooled = -1
        joined = (
            words
            and last is not None
            and tokens.words[i] is not None
            and tokens.words[i] == tokens.words[last]
            and tokens.segments[i] == tokens.segments[last]
        )
        if joined:
            text = shown[i].whole or slots[-1].text + shown[i].text
            slots[-1] = Slot((*slots[-1].tokens, i), text, slots[-1].special)
        else:
            slots.append(Slot((i,), shown[i].text, tokens.special[i]))
        last = i
    return Axis(tuple(slots), tuple(left_out), tuple(outside))
