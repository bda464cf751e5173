"""Every head at a glance: a small picture of its weights, with its statistics.

A thumbnail is pooled by the largest weight of each patch: one strong link stays as dark as it is, where a mean would
thin it out with the length of the text. So a thumbnail shows where weight is, not how much of it: patches do not add up.
"""

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from attnscope.statistics.compute import Pairs, Sums
from attnscope.statistics.definitions import STATISTICS, in_payload
from attnscope.tracing.query_blocks import query_blocks
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

SIDE = 48  # patches along each axis, at most
MOST_PATCHES = 1 << 20  # bytes of all thumbnails of a trace: above 455 heads they are coarser
MOST_WEIGHTS = 1 << 23  # computed for one trace; of longer texts the queries are sampled
STEPS = 253  # a weight is its byte / 253
MASKED = 254  # no query of the patch may see a key of it
BROKEN = 255  # NaN in the patch
METHOD = "max"
BLOCK = 1 << 20  # of them in memory at once


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """All heads of one site.

    pixels: weight · 253, rounded, of patches of queries × keys; 254 and 255 stand for masked and NaN. Patch r of R covers
    queries r·Q//R up to (r+1)·Q//R, and columns likewise. statistics: one number per head, None where no query allows one.
    links: (query, key, weight) of the strongest link per head, positions among the tokens. sampled: how many queries all
    this was computed from; None: from every one.
    """

    pixels: UInt8[Tensor, "H R C"]
    statistics: dict[str, tuple[float | None, ...]]
    links: tuple[tuple[int, int, float] | None, ...]
    sampled: int | None = None

    @property
    def weights(self) -> Float[Tensor, "H R C"]:
        """The pooled weights; NaN where masked or NaN."""
        known = self.pixels.float() / STEPS
        return torch.where(self.pixels > STEPS, math.nan, known)


def thumbnails_of(trace: Trace) -> tuple[Thumbnails, ...]:
    """Thumbnails and statistics of every site, in the order of the trace; computed once for each trace.

    Weights are computed in blocks of queries and dropped again. Rows with no key allowed and rows of NaN are left out of
    the statistics; a trace of more than MOST_WEIGHTS weights is sampled, queries spread evenly.
    """
    if trace not in _known:
        each = MOST_WEIGHTS // max(1, sum(site.heads * site.keys for site in trace.sites))
        side = max(8, min(SIDE, math.isqrt(MOST_PATCHES // max(1, sum(site.heads for site in trace.sites)))))
        _known[trace] = tuple(
            _thumbnails(site, trace.query_tokens(site), trace.key_tokens(site), each, side) for site in trace.sites
        )
    return _known[trace]


_known: "WeakKeyDictionary[Trace, tuple[Thumbnails, ...]]" = WeakKeyDictionary()


def _thumbnails(site: Site, queries: Tokens, keys: Tokens, most: int, side: int) -> Thumbnails:
    edges = _edges(site.queries, side)
    rows = _sample(edges, most) if most < site.queries else torch.arange(site.queries)
    patch = torch.bucketize(rows, torch.from_numpy(edges[1:]), right=True)
    columns = _edges(site.keys, side)[:-1]
    pooled = torch.full((site.heads, len(edges) - 1, len(columns)), -1.0)
    pairs = Pairs(site, queries, keys)
    sums = Sums(site.heads)
    for block in query_blocks(len(rows), site.keys, site.heads, BLOCK):
        weights = site.weights(None, rows[block]).cpu()
        allowed = None if site.mask.is_empty else site.mask.allowed(rows[block], site.keys)
        sums.add(weights, allowed, pairs, rows[block], site.sinks is not None)
        cells = weights.nan_to_num(2.0)
        if allowed is not None:
            cells = cells.masked_fill(~allowed & (cells == 0), -1.0)
        cells = torch.from_numpy(np.maximum.reduceat(cells.numpy(), columns, axis=-1))
        pooled.scatter_reduce_(1, patch[block, None].expand_as(cells[0]).expand_as(cells), cells, "amax")
    pixels = (pooled.clamp(0, 1) * STEPS).round().to(torch.uint8)
    pixels[pooled < 0], pixels[pooled > 1.5] = MASKED, BROKEN
    return Thumbnails(pixels, sums.statistics, tuple(sums.links), len(rows) if len(rows) < site.queries else None)


def _edges(size: int, side: int) -> "np.ndarray":
    """Where the patches of an axis begin, and the end."""
    patches = min(side, size)
    return np.arange(patches + 1) * size // patches


def _sample(edges: "np.ndarray", most: int) -> Int[Tensor, " q"]:
    """At most about `most` queries, as many in every patch of them, spread evenly within it."""
    each = max(1, most // (len(edges) - 1))
    start, size = edges[:-1, None], np.diff(edges)[:, None]
    each = min(each, int(size.min()))
    return torch.from_numpy((start + (2 * np.arange(each) + 1) * size // (2 * each)).reshape(-1))


def describe(thumbnails: Thumbnails, tensor: str) -> dict:
    """The entries of a payload for a site's thumbnails, which are in `tensor`, and its statistics."""
    _, rows, columns = thumbnails.pixels.shape
    thumb = {"tensor": tensor, "rows": rows, "columns": columns, "method": METHOD, "range": [0, 1], "steps": STEPS}
    thumb |= {"masked": MASKED, "broken": BROKEN, "queries_sampled": thumbnails.sampled}
    return {
        "thumb": thumb,
        "stats": {name: [_short(v) for v in values] for name, values in thumbnails.statistics.items()},
        "links": [None if link is None else [link[0], link[1], _short(link[2])] for link in thumbnails.links],
    }


def words_of(every: tuple[Thumbnails, ...]) -> dict[str, dict[str, str]]:
    """Titles, units and sentences of the statistics that these have, in order."""
    return in_payload(tuple(s for s in STATISTICS if any(s.name in one.statistics for one in every)))


def _short(value: float | None) -> float | None:
    """Six significant digits."""
    return None if value is None else float(f"{value:.6g}")
