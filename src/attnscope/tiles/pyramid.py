"""The pyramid of one head: its weights in blocks, from the finest that are kept to one tile, made in one pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.attention.precision import without_autocast
from attnscope.statistics.kernel.block_pass import BlockPass
from attnscope.statistics.kernel.use import may_run, refuse
from attnscope.tiles.head_weights import HeadWeights
from attnscope.tiles.pool import pooled
from attnscope.tiles.request import MASKED, coarsest
from attnscope.tracing.site import Site

AT_ONCE = 1 << 25  # weights between two reports of the compiled pass: some 50 ms
Progress = Callable[[float], None]


class Cancelled(Exception):
    """Nobody needs the pyramid any more. Raise it in `progress` to stop a pass."""


@dataclass(frozen=True, eq=False)
class Pyramid:
    """`levels`: by the side of their blocks, each the largest weights or the sums of the blocks; -1 where all is masked.
    `level`: log₂ of what a row's powers add up to, [Q]; None where weights do not follow from it.
    """

    levels: Mapping[int, Float[Tensor, "R C"]]
    level: Float[Tensor, " Q"] | None

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in self.levels.values()) + (0 if self.level is None else self.level.nbytes)


def finest_side(site: Site) -> int:
    """The smallest power of two with which the finest blocks are no more numbers than q and k: 16 for 32,768 tokens and
    D = 64."""
    side, room = 1, (site.queries + site.keys) * max(1, site.head_size)
    while (site.queries / side) * (site.keys / side) > room:
        side *= 2
    return min(side, coarsest(site))


@without_autocast
@torch.no_grad()
def pyramid_of(site: Site, head: int, add: bool, progress: Progress = lambda part: None) -> Pyramid:
    """The pyramid of the largest weights, or with `add` of the sums. Memory grows with Q + K, not with Q · K.

    `progress` is called with the part that is done, from 0 to 1; what it raises ends the pass.
    """
    side, weights = finest_side(site), HeadWeights(site, head)
    made = _compiled(site, head, side, add, progress) if weights.levels_hold else None
    cells, level = made or _plain(site, weights, side, add, progress)
    levels = {side: cells}
    while side < coarsest(site):
        cells, side = pooled(cells, 2, add), side * 2
        levels[side] = cells
    return Pyramid(levels, level)


def _compiled(site: Site, head: int, side: int, add: bool, progress: Progress) -> tuple[Tensor, Tensor] | None:
    if not may_run(site, site.queries, heads=1):
        return None
    try:
        blocks = BlockPass(site, head, side, add)
        step = max(1, AT_ONCE // site.keys // side) * side
        for start in range(0, site.queries, step):
            progress(start / site.queries)
            blocks.run(slice(start, min(start + step, site.queries)))
        return torch.from_numpy(blocks.cells), torch.from_numpy(blocks.level)
    except (Cancelled, MemoryError):
        raise
    except Exception as error:
        refuse(error)
        return None


def _plain(site: Site, weights: HeadWeights, side: int, add: bool, progress: Progress) -> tuple[Tensor, Tensor | None]:
    device = next(iter(site.kept.values())).device
    cells = torch.full((-(-site.queries // side), -(-site.keys // side)), MASKED, device=device)
    level = torch.zeros(site.queries, device=device) if weights.levels_hold else None
    for rows in weights.runs(slice(0, site.queries), side):
        progress(rows.start / site.queries)
        run = weights.run(rows)
        found = pooled(run.weights, side, add, run.first)
        row, column = rows.start // side, run.first // side
        cells[row : row + len(found), column : column + found.shape[1]] = found
        if level is not None and run.level is not None:
            level[rows] = run.level
    return cells, level
