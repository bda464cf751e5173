"""Sums over the queries of any number of texts, and the means they come to."""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from attnscope.statistics.definitions import STATISTICS

Means = dict[str, tuple[float | None, ...]]


@dataclass(eq=False)
class Totals:
    """By statistic and head: the sum of a number over queries, and of how many. fp64."""

    values: dict[str, Float[Tensor, " H"]] = field(default_factory=dict)
    counts: dict[str, Float[Tensor, " H"]] = field(default_factory=dict)

    def merge(self, other: "Totals") -> None:
        """Add the sums of other queries, of this text or of another."""
        for mine, theirs in ((self.values, other.values), (self.counts, other.counts)):
            for name, sums in theirs.items():
                mine[name] = mine[name] + sums if name in mine else sums.clone()

    def means(self) -> Means:
        """By name: a number per head, None where no query counted for it."""
        return {
            name: tuple(v / c if c else None for v, c in zip(values.tolist(), self.counts[name].tolist(), strict=True))
            for name, values in self.values.items()
        }


def in_order(means: Means) -> Means:
    """In the order of STATISTICS, without those that no head has."""
    return {s.name: means[s.name] for s in STATISTICS if any(v is not None for v in means.get(s.name, ()))}
