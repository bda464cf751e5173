"""The band: the same edit in other heads, drawn at random. An effect that it does not leave is none of these heads' own."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnscope.editing.rules import OF_KEYS, Put, Rule
from attnscope.editing.selection import Head, Heads
from attnscope.text.format import digits_apart

_TRIES = 64

Sizes = Mapping[Any, tuple[int, int]]  # by stack and layer: heads, key/value heads
Draw = dict[Head, Head]


@dataclass(frozen=True)
class Band:
    """`totals`: the total effect of each draw. `draws`: its heads. `seed`: of the draw. `wanted`: how many were asked for. `reach`: from how many
    layers away the farthest head is.

    Where a layer has fewer other heads than `wanted`, all of them are taken, then heads of neighbouring layers.
    """

    totals: tuple[float, ...]
    draws: tuple[tuple[str, ...], ...]
    seed: int
    wanted: int
    reach: int

    @property
    def low(self) -> float:
        """The smallest total."""
        return min(self.totals)

    @property
    def high(self) -> float:
        """The largest total."""
        return max(self.totals)

    def holds(self, total: float) -> bool:
        """Whether a total lies within the band. `total`: of the edit itself."""
        return self.low <= total <= self.high

    def __str__(self) -> str:
        return self.beside(self.low)

    def beside(self, total: float) -> str:
        """The band in words, with as many digits as tell it from a `total` that lies outside of it."""
        digits = digits_apart(total, self.low, self.high)
        near = "of the same layers" if self.reach == 0 else f"of the same layers and up to {self.reach} away"
        fewer = f" ({self.wanted} asked for)" if len(self.totals) < self.wanted else ""
        ends = f"{self.low:+.{digits}f} to {self.high:+.{digits}f}"
        return f"{ends}, {len(self.totals)} draws of other heads{fewer} {near}, seed {self.seed}"


def names_of_draw(draw: Draw) -> tuple[str, ...]:
    """The names of its heads, such as "L2H8", in order."""
    return tuple(f"L{layer}H{head}" for _, layer, head in sorted(draw.values(), key=str))


def draws_of(rules: Sequence[Rule], sizes: Sizes, wanted: int, seed: int) -> tuple[list[Draw], int]:
    """Other heads for those that the rules edit, `wanted` times and each time others, and how many layers away the farthest is.

    Heads that share keys and values stay together where k or v is patched.
    """
    each = _unit(rules, sizes)
    chosen = sorted({unit for rule in rules for unit in _units(rule, sizes, each)}, key=str)
    free = [
        (stack, layer, unit)
        for (stack, layer), (heads, _) in sizes.items()
        if all(_has(rule, stack, layer) for rule in rules)
        for unit in range(heads // each)
        if (stack, layer, unit) not in chosen
    ]
    chance, found, seen = random.Random(seed), list[Draw](), set[frozenset[Head]]()
    reach, farthest = 0, max((abs(a[1] - b[1]) for a in chosen for b in free), default=0)
    while len(found) < wanted and reach <= farthest:
        for _ in range(_TRIES):
            draw = _draw(chosen, free, reach, chance)
            if draw is None:
                break
            if (heads := frozenset(draw.values())) not in seen:
                seen.add(heads)
                found.append(draw)
                if len(found) == wanted:
                    break
        else:
            reach += 1
            continue
        if len(found) < wanted:
            reach += 1
    reached = max((abs(a[1] - b[1]) for draw in found for a, b in draw.items()), default=0)
    return [_by_head(draw, each) for draw in found], reached


def _draw(chosen: Sequence[Head], free: Sequence[Head], reach: int, chance: random.Random) -> Draw | None:
    """One other head for each, the nearest layers first; None where there are not enough."""
    made: Draw = {}
    taken: set[Head] = set()
    for one in chance.sample(list(chosen), len(chosen)):
        near = [
            other for other in free if other[0] == one[0] and abs(other[1] - one[1]) <= reach and other not in taken
        ]
        if not near:
            return None
        made[one] = chance.choice(near)
        taken.add(made[one])
    return made


def _unit(rules: Sequence[Rule], sizes: Sizes) -> int:
    """How many heads go together: 1, or those that share keys and values."""
    if not any(rule.change.link in OF_KEYS for rule in rules):
        return 1
    return max((heads // groups for heads, groups in sizes.values()), default=1)


def _units(rule: Rule, sizes: Sizes, each: int) -> list[Head]:
    found = []
    for layer, some in rule.heads.chosen.items():
        for (stack, number), (heads, _) in sizes.items():
            if number == layer and rule.heads.stack in (None, stack):
                found += [(stack, layer, head // each) for head in (range(heads) if some is None else some)]
    return found


def _has(rule: Rule, stack: str | None, layer: int) -> bool:
    change = rule.change
    return not isinstance(change, Put) or any(at == (stack, layer) for at in change.vectors)


def _by_head(draw: Draw, each: int) -> Draw:
    return {
        (one[0], one[1], one[2] * each + i): (other[0], other[1], other[2] * each + i)
        for one, other in draw.items()
        for i in range(each)
    }


def moved(rules: Sequence[Rule], draw: Draw, row: int | None = None) -> list[Rule]:
    """The rules, in the heads of a draw, in one row of a batch."""
    made = []
    for rule in rules:
        chosen: dict[int, tuple[int, ...]] = {}
        stacks = set()
        for (stack, layer, head), (_, there, other) in draw.items():
            own = rule.heads.chosen.get(layer, ())
            if layer in rule.heads.chosen and rule.heads.stack in (None, stack) and (own is None or head in own):
                chosen[there] = (*chosen.get(there, ()), other)
                stacks.add(stack)
        stack = rule.heads.stack if rule.heads.stack is not None or len(stacks) != 1 else next(iter(stacks))
        made.append(rule.moved(Heads(stack, dict(chosen)), row))
    return made
