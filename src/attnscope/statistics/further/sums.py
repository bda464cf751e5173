"""The three kinds of sums that the statistics are made of: a ratio, a variance, and a sum for each key. All fp64."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from attnscope.statistics.further.block import HeadBlock

OfBlock = Callable[[HeadBlock], tuple[Tensor, Tensor]]


class Sum(ABC):
    """What is known so far of one statistic of all heads. Made of plain tensors: it can travel between processes."""

    @abstractmethod
    def update(self, block: HeadBlock) -> None:
        """Add the queries of a block, for its heads."""

    @abstractmethod
    def merge(self, other: "Sum") -> None:
        """Add the sums of other queries."""

    @abstractmethod
    def finish(self) -> tuple[float | None, ...]:
        """A number per head; None where no query counted."""

    def over_texts(self) -> tuple[Tensor, Tensor]:
        """By head, what is added up over texts and of how many it is the sum: the mean of many texts is one over the other. A
        number that is no mean over queries counts once a text."""
        found = self.finish()
        values = torch.tensor([0.0 if value is None else value for value in found], dtype=torch.float64)
        return values, torch.tensor([value is not None for value in found], dtype=torch.float64)


class Ratio(Sum):
    """One sum over queries divided by another: a mean, in most cases. `of_block` gives both, by head."""

    def __init__(self, heads: int, of_block: OfBlock) -> None:
        self.of_block = of_block
        self.values, self.counts = torch.zeros(heads, dtype=torch.float64), torch.zeros(heads, dtype=torch.float64)

    def update(self, block: HeadBlock) -> None:
        value, count = self.of_block(block)
        self.values[block.heads] += value
        self.counts[block.heads] += count

    def merge(self, other: "Ratio") -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.values, self.counts = self.values + other.values, self.counts + other.counts

    def over_texts(self) -> tuple[Tensor, Tensor]:
        return self.values, self.counts

    def finish(self) -> tuple[float | None, ...]:
        pairs = zip(self.values.tolist(), self.counts.tolist(), strict=True)
        return tuple(value / count if count else None for value, count in pairs)


class Variance(Sum):
    """The variance of a number, weighted. Kept as weight, mean and Σ weight · (number − mean)², which add up without
    taking the difference of two large numbers (Chan, Golub and LeVeque 1979)."""

    def __init__(self, heads: int) -> None:
        self.weight, self.mean, self.spread = (torch.zeros(heads, dtype=torch.float64) for _ in range(3))

    def update(self, block: HeadBlock) -> None:
        far = block.run.distance
        weight = block.total
        mean = (block.weights * far).sum((1, 2)) / torch.where(weight > 0, weight, 1.0)
        spread = ((far - mean[:, None, None]).square() * block.weights).sum((1, 2))
        self._add(block.heads, weight, mean, spread)

    def merge(self, other: "Variance") -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._add(slice(None), other.weight, other.mean, other.spread)

    def _add(self, heads: slice, weight: Tensor, mean: Tensor, spread: Tensor) -> None:
        total = self.weight[heads] + weight
        part = weight / torch.where(total > 0, total, 1.0)
        apart = mean - self.mean[heads]
        self.spread[heads] += spread + apart.square() * self.weight[heads] * part
        self.mean[heads] += apart * part
        self.weight[heads] += weight

    def finish(self) -> tuple[float | None, ...]:
        pairs = zip(self.spread.tolist(), self.weight.tolist(), strict=True)
        return tuple(spread / weight if weight else None for spread, weight in pairs)


class PerKey(Sum):
    """What each key receives on average from the queries that may see it. The number of a head is that of the key with most.

    `by_share`: of what the head writes, by length, in place of the weight.
    """

    def __init__(self, heads: int, keys: int, by_share: bool) -> None:
        self.by_share = by_share
        self.received, self.seen = (torch.zeros(heads, keys, dtype=torch.float64) for _ in range(2))

    def update(self, block: HeadBlock) -> None:
        keys = block.run.sight.keys
        given = block.shares if self.by_share else block.weights
        self.received[block.heads, keys] += given.sum(1)
        counted = block.counted.double()
        if block.allowed.shape[0] == 1:
            self.seen[block.heads, keys] += counted @ block.allowed[0].double()
        else:
            self.seen[block.heads, keys] += (counted[..., None] * block.allowed).sum(1)

    def merge(self, other: "PerKey") -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.received, self.seen = self.received + other.received, self.seen + other.seen

    @property
    def means(self) -> Tensor:
        """[H, K]; 0 where no query may see the key."""
        return self.received / self.seen.clamp_min(1)

    def finish(self) -> tuple[float | None, ...]:
        return tuple(self.means.amax(-1).tolist()) if bool(self.seen.any()) else (None,) * len(self.received)
