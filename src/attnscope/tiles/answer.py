"""answer(trace, request) -> Tile: any part of any head, at any zoom."""

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.attention.precision import without_autocast
from attnscope.errors import AttnscopeError
from attnscope.tiles import shelf
from attnscope.tiles.head_weights import HeadWeights
from attnscope.tiles.pool import pooled, pooled_along
from attnscope.tiles.pyramid import Progress, Pyramid, finest_side
from attnscope.tiles.request import MASKED, SIDE, Tile, TileRequest
from attnscope.tracing.at_hand import check_at_hand
from attnscope.tracing.query_blocks import query_blocks
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace

SAMPLED = 1 << 20  # weights of sampled queries that are computed at once


@without_autocast
@torch.no_grad()
def answer(trace: Trace, request: TileRequest, progress: Progress = lambda part: None) -> Tile:
    """The tile that `request` names, at most 256 × 256 cells.

    Blocks that the head's pyramid holds come from there; the first such request makes it, in one pass over the head.
    Finer ones come from q and k. With `coarse` in the request nobody waits: where there is no exact tile at hand, some of
    the queries stand for all, and the tile says `exact=False`.

    `progress`: called with the part of a pass that is done, from 0 to 1; what it raises ends the pass.

    Raises InputError for a tile that is not there, NotCaptured where the trace's tensors were freed or moved apart,
    AttnscopeError where memory runs out.
    """
    site = request.site_of(trace)
    check_at_hand(site)
    add, block = request.reduce != "max", request.block(site)
    try:
        pyramid = shelf.kept(trace, request.site, request.head, add)
        exact = pyramid is not None or block == 1 or not request.coarse
        if not exact:
            cells = _sampled(site, request)
        elif block < finest_side(site):
            pyramid = pyramid or shelf.kept(trace, request.site, request.head, not add)  # for its levels
            cells = _direct(site, request, add, pyramid)
        else:
            pyramid = pyramid or shelf.made(trace, request.site, request.head, add, progress)
            row, column = request.row * SIDE, request.col * SIDE
            cells = pyramid.levels[block][row : row + SIDE, column : column + SIDE]
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        shelf.forget()
        raise AttnscopeError(
            f"there is too little memory for the tiles of {site.name}, head {request.head}. What was kept for tiles has "
            "been freed: ask again, or close other programs first."
        ) from error
    return Tile(_mean(cells, site, request) if request.reduce == "mean" else cells.cpu().clone(), block, exact)


def _direct(site: Site, request: TileRequest, add: bool, pyramid: Pyramid | None) -> Float[Tensor, "R C"]:
    """From q and k: of whole rows, or where the levels of the rows are known, of the tile alone."""
    (rows, keys), side, weights = request.place(site), request.block(site), HeadWeights(site, request.head)
    if pyramid is not None and (level := pyramid.level) is not None:
        runs = weights.runs(rows, side, keys.stop - keys.start)
        return torch.cat([pooled(weights.part(run, keys, level[run]), side, add) for run in runs])
    found = []
    for run in weights.runs(rows, side):
        whole = weights.run(run)
        here = torch.full((run.stop - run.start, keys.stop - keys.start), MASKED, device=whole.weights.device)
        first, stop = max(keys.start, whole.first), min(keys.stop, whole.first + whole.weights.shape[1])
        if stop > first:
            here[:, first - keys.start : stop - keys.start] = whole.weights[:, first - whole.first : stop - whole.first]
        found.append(pooled(here, side, add))
    return torch.cat(found)


def _sampled(site: Site, request: TileRequest) -> Float[Tensor, "R C"]:
    """One query in the middle of each block stands for the others; its keys are all there."""
    (rows, keys), side = request.place(site), request.block(site)
    starts = torch.arange(rows.start, rows.stop, side)
    chosen, add = (starts + side // 2).clamp_max(rows.stop - 1), request.reduce != "max"
    found = []
    for some in query_blocks(len(chosen), site.keys, cells=SAMPLED):
        weights = site.weights(request.head, chosen[some])[:, keys].clone()
        if not site.mask.is_empty:
            hidden = ~site.mask.allowed(chosen[some], site.keys, request.head)[:, keys].to(weights.device)
            weights.masked_fill_(hidden & ~(weights > 0) & ~weights.isnan(), MASKED)
        found.append(pooled_along(weights, side, 1, add))
    cells = torch.cat(found)
    if not add:
        return cells
    stand_for = (rows.stop - starts).clamp_max(side).to(cells)[:, None]
    return torch.where(cells < 0, MASKED, cells * stand_for)


def _mean(sums: Float[Tensor, "R C"], site: Site, request: TileRequest) -> Float[Tensor, "R C"]:
    """Sums over the number of pairs of each block; fewer at the edges."""
    side = request.block(site)
    counts = [(part.stop - torch.arange(part.start, part.stop, side)).clamp_max(side) for part in request.place(site)]
    sums = sums.cpu()
    return torch.where(sums < 0, MASKED, sums / (counts[0][:, None] * counts[1]))
