"""Small pictures of weights, pooled by the largest weight of each patch while blocks of queries pass by."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.statistics.rows import Block
from attnscope.statistics.sight import Sight

FEW = 4  # patches of rows in a block that are worth a call each


def edges_of(size: int, side: int) -> "np.ndarray":
    """Where the patches of an axis begin, and its end: at most `side` patches."""
    patches = min(side, size)
    return np.arange(patches + 1) * size // patches


@dataclass(eq=False)
class Patches:
    """The largest weight of every patch so far, NaN where one was NaN, and which patches some query may see.

    Patch r of R covers queries r·Q//R up to (r+1)·Q//R, and columns likewise. h is 1 where heads share the mask. Queries
    and keys behind the first Q and K are left out.
    """

    pooled: Float[Tensor, "H R C"]
    visible: Bool[Tensor, "h R C"]
    queries: int
    keys: int

    @classmethod
    def start(cls, heads: int, queries: int, keys: int, side: int, masks: int = 1) -> "Patches":
        """Nothing seen yet. `side`: patches along an axis, at most. `masks`: how many differ, 1 or `heads`."""
        shape = min(side, queries), min(side, keys)
        return cls(torch.zeros(heads, *shape), torch.zeros(masks, *shape, dtype=torch.bool), queries, keys)

    def see(self, run: slice, sight: Sight) -> None:
        """Mark what a run of queries may see."""
        (rows, row_index), (columns, column_index) = self._rows(run), self._columns(sight)
        if not (len(row_index) and len(column_index)):
            return
        if sight.allowed is None:
            self.visible[:, rows, columns] = True
            return
        tall = sight.allowed[:, row_index.flatten()].view(len(sight.allowed), *row_index.shape, -1).any(2)
        cells = tall[..., column_index.flatten()].view(*tall.shape[:2], *column_index.shape).any(3)
        self.visible[:, rows, columns] |= cells

    def by_rows(self, run: slice, block: Block) -> Float[Tensor, "h r n"]:
        """The largest weights of a run of queries in each patch of rows, by key."""
        index, weights = self._rows(run)[1].to(block.weights.device), block.weights
        if not len(index):
            return weights.new_zeros(len(weights), 0, weights.shape[2])
        if len(index) <= FEW:
            return torch.stack([weights[:, rows[0] : rows[-1] + 1].amax(1) for rows in index.tolist()], 1)
        chosen = block.spare((len(weights), index.numel(), weights.shape[2]))
        torch.index_select(weights, 1, index.flatten(), out=chosen)
        return chosen.view(len(weights), *index.shape, -1).amax(2)

    def update(self, run: slice, sight: Sight, tall: Float[Tensor, "H r n"]) -> None:
        """Add what `by_rows` gave for all heads."""
        rows, (columns, index) = self._rows(run)[0], self._columns(sight)
        if not (len(index) and tall.shape[1]):
            return
        wide = tall.transpose(1, 2).contiguous().index_select(1, index.flatten().to(tall.device))
        cells = wide.view(len(tall), *index.shape, -1).amax(2).transpose(1, 2)
        here = self.pooled[:, rows, columns]
        here.copy_(torch.maximum(here, cells.cpu()))  # NaN stays

    def merge(self, other: "Patches") -> None:
        """Add what another has seen of the same weights."""
        self.pooled = torch.maximum(self.pooled, other.pooled)
        self.visible = self.visible | other.visible

    def _rows(self, run: slice) -> tuple[slice, Int[Tensor, "r most"]]:
        """The patches that a run of queries lies in, and the rows of each, counted from the first of the run."""
        return _within(self.queries, self.pooled.shape[1], run)

    def _columns(self, sight: Sight) -> tuple[slice, Int[Tensor, "c most"]]:
        return _within(self.keys, self.pooled.shape[2], sight.keys)


def _within(size: int, patches: int, run: slice) -> tuple[slice, Int[Tensor, "p most"]]:
    """As many places for each patch: the last one again where there are fewer; none for what lies behind `size`."""
    run = slice(run.start, min(run.stop, size))
    if run.start >= run.stop:
        return slice(0, 0), torch.zeros(0, 1, dtype=torch.int64)
    edges = edges_of(size, patches)
    first, last = (int(np.searchsorted(edges, place, side="right")) - 1 for place in (run.start, run.stop - 1))
    starts = np.maximum(edges[first : last + 1], run.start) - run.start
    stops = np.minimum(edges[first + 1 : last + 2], run.stop) - run.start
    most = int((stops - starts).max())
    index = np.minimum(starts[:, None] + np.arange(most), stops[:, None] - 1)
    return slice(first, last + 1), torch.from_numpy(index)
