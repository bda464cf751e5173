"""The band beside an effect: what the same edit does in the other heads of the layer, and where these are few, of neighbouring layers."""

from collections.abc import Mapping
from dataclasses import dataclass

from attnscope.head_effects.units import Unit
from attnscope.text.format import digits_apart

CONTROL = 20


@dataclass(frozen=True)
class Band:
    """`low`, `high`: the smallest and the largest effect of `n` other heads, up to `reach` layers away. By chance alone 2 of n + 1 heads lie
    outside of the others'."""

    low: float
    high: float
    n: int
    reach: int

    def holds(self, effect: float) -> bool:
        """Whether an effect lies within."""
        return self.low <= effect <= self.high

    def __str__(self) -> str:
        return self.beside(self.low)

    def beside(self, effect: float) -> str:
        """The band in words, with as many digits as tell it from an `effect` that lies outside of it."""
        digits = digits_apart(effect, self.low, self.high)
        near = "of its layer" if not self.reach else f"of its layer and up to {self.reach} away"
        return f"{self.low:+.{digits}f} to {self.high:+.{digits}f}, {self.n} others {near}"


def band_of(unit: Unit, effects: Mapping[Unit, float], wanted: int = CONTROL) -> Band | None:
    """The band of one unit among the `effects` of all: all others of its layer; while they are fewer than `wanted`, all of the layers next
    to those, on both sides. None where there are no others."""
    others = {other: effect for other, effect in effects.items() if other.stack == unit.stack and other != unit}
    distances = sorted({abs(other.layer - unit.layer) for other in others})
    found: list[float] = []
    reach = 0
    for distance in distances:
        if len(found) >= wanted and distance:
            break
        near = [effect for other, effect in others.items() if abs(other.layer - unit.layer) == distance]
        if near:
            found, reach = [*found, *near], distance
    return Band(min(found), max(found), len(found), reach) if found else None
