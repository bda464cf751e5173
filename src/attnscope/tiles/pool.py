"""Cells pooled into coarser cells: their largest or their sum; -1, masked, only where all of them are."""

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.tiles.request import MASKED


def pooled(cells: Float[Tensor, "r c"], side: int, add: bool, first: int = 0) -> Float[Tensor, "R C"]:
    """Blocks of `side` × `side` cells, fewer at the edges, in memory of their own; sums with `add`, else the largest.

    `first`: how many columns stand before the first one of `cells`; R × C begins with the block that it is in.
    """
    return cells.clone() if side == 1 else pooled_along(pooled_along(cells, side, 0, add), side, 1, add, first)


def pooled_along(cells: Float[Tensor, "r c"], side: int, axis: int, add: bool, first: int = 0) -> Float[Tensor, "R C"]:
    """Along one axis, whose first block has `first` cells before these."""
    before = first % side
    behind = -(before + cells.shape[axis]) % side
    if before or behind:
        cells = torch.nn.functional.pad(cells, [0, 0] * (1 - axis) + [before, behind], value=MASKED)
    cells = cells.unflatten(axis, (-1, side))
    largest = cells.amax(axis + 1)
    return torch.where(largest < 0, MASKED, cells.clamp_min(0).sum(axis + 1)) if add else largest
