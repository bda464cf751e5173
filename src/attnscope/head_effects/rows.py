"""A row of a table of effects."""

from dataclasses import dataclass
from typing import Any

from attnscope.head_effects.band import Band
from attnscope.head_effects.units import Edge
from attnscope.text.format import digits_apart

JSON_KEYS = (
    "stack", "layer", "head", "heads", "name", "effect", "spread", "n", "band_low", "band_high", "band_n", "band_reach", "outside_band", "exact", "query", "key",
)  # fmt: skip


@dataclass(frozen=True)
class EffectRow:
    """What the edit of one head, key/value group, layer or edge does.

    `stack`: "" where the model has one. `layer`, `heads`: counted from 0. `name`: such as "L2H8". `effect`: clean − edited, the mean over the texts; positive
    where the heads push to the target. `spread`: its standard deviation over the texts, None of one text. `n`: how many texts. `band`: what
    the same edit does in the others of its layer; None where there are none. `exact`: where `effect` is an approximation, and this was measured too.
    `edge`: of an edge its query and key, as they were named; `place`: its number among those of its layer.
    """

    stack: str
    layer: int
    heads: tuple[int, ...]
    name: str
    effect: float
    spread: float | None
    n: int
    band: Band | None
    exact: float | None = None
    place: int = 0
    edge: Edge | None = None

    @property
    def outside_band(self) -> bool | None:
        """Whether the effect lies outside of what the others do; None where there is no band."""
        return None if self.band is None else not self.band.holds(self.effect)

    def as_json(self) -> dict[str, Any]:
        """By the keys of the JSON."""
        band = self.band
        values = (
            self.stack,
            self.layer,
            self.heads[0] if len(self.heads) == 1 else None,
            list(self.heads),
            self.name,
            self.effect,
            self.spread,
            self.n,
            *((None,) * 4 if band is None else (band.low, band.high, band.n, band.reach)),
            self.outside_band,
            self.exact,
            *(self.edge or (None, None)),
        )
        return dict(zip(JSON_KEYS, values, strict=True))

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.3f}"
        spread += "" if self.exact is None else f" (exactly {self.exact:+.3f})"
        if self.band is None:
            return f"{self.name}: {self.effect:+.3f}{spread}, no band: there is nothing to compare with"
        where = "outside" if self.outside_band else "within"
        digits = digits_apart(self.effect, self.band.low, self.band.high)
        return f"{self.name}: {self.effect:+.{digits}f}{spread}, {where} the band ({self.band.beside(self.effect)})"
