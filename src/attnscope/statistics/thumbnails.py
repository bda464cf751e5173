"""Every head at a glance: a small picture of its weights, with its statistics.

A thumbnail is pooled by the largest weight of each patch: one strong link stays as dark as it is, where a mean would
thin it out with the length of the text. So a thumbnail shows where weight is, not how much of it: patches do not add up.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from threading import Lock
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from attnscope.attention.precision import without_autocast
from attnscope.statistics.compute import HeadNumbers, Peaks, sums_of
from attnscope.statistics.definitions import EFFECT, ROLE, STATISTICS, in_payload
from attnscope.statistics.pairs import Pairs
from attnscope.statistics.patches import edges_of
from attnscope.statistics.sound import walk_along
from attnscope.statistics.totals import Means, in_order
from attnscope.tracing.badges import best_values, effects_at, kinds_of
from attnscope.tracing.query_blocks import BLOCK_CELLS, query_blocks
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace

SIDE = 48  # patches along each axis, at most
FINER = 4  # times as many along each axis in the picture of a head, which comes from the same pass
MOST_PATCHES = 1 << 20  # bytes of all thumbnails of a trace: above 455 heads they are coarser
STEPS = 253  # a weight is its byte / 253
MASKED = 254  # no query of the patch may see a key of it
BROKEN = 255  # NaN in the patch
METHOD = "max"
MOST_WEIGHTS = (
    1 << 33
)  # of all heads: beyond, a view is made from some of the queries (8 billion are about ten seconds)


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """All heads of one site.

    picture: the same as pixels in finer patches, `FINER` times as many along each axis where there are so many queries or
    keys. pixels: weight · 253, rounded, of patches of queries × keys; 254 and 255 stand for masked and NaN. Patch r of R covers
    queries r·Q//R up to (r+1)·Q//R, and columns likewise. statistics: one number per head, None where no query allows one.
    shown: how many queries and keys Q and K are, where they end before the silence that fills a sound up; None: all.
    links: (query, key, weight) of the strongest link per head, positions among the tokens. from_others, peaks: what each
    key gets from other tokens, and at most; see `HeadNumbers`. sampled: of how many queries all this is, None: of all.
    """

    pixels: UInt8[Tensor, "H R C"]
    picture: UInt8[Tensor, "H r c"]
    statistics: Means
    links: tuple[tuple[int, int, float] | None, ...]
    from_others: Float[Tensor, "H K"]
    peaks: Peaks
    shown: tuple[int, int] | None
    sampled: int | None = None

    @property
    def weights(self) -> Float[Tensor, "H R C"]:
        """The pooled weights; NaN where masked or NaN."""
        known = self.pixels.float() / STEPS
        return torch.where(self.pixels > STEPS, math.nan, known)


def thumbnails_of(trace: Trace) -> tuple[Thumbnails, ...]:
    """Thumbnails and statistics of every site, in the order of the trace, from every query; of a trace of more than
    MOST_WEIGHTS weights from a run of queries in each row of patches.

    Weights are computed in blocks of queries and dropped again; what they come to is kept as long as the trace. Rows with
    no key allowed and rows of NaN are left out of the statistics.
    """
    return tuple(thumbnails_at(trace, index) for index in range(len(trace.sites)))


@without_autocast
def thumbnails_at(trace: Trace, index: int, exact: bool = False) -> Thumbnails:
    """Those of one site. `exact`: from every query, at any length."""
    shelf, runs = _shelf(trace), runs_at(trace, index)
    place = (index, exact or runs is None)
    if place not in shelf.sites:
        site, pairs, side = trace.sites[index], pairs_at(trace, index), side_of(trace)
        sums = sums_of(site, pairs, FINER * side, None if exact else runs)
        heard = walk_along(site, trace.query_tokens(site), trace.key_tokens(site))
        sampled = None if exact or runs is None else sum(run.stop - run.start for run in runs)
        shelf.sites[place] = replace(_thumbnails(site, sums.finish(), heard, side), sampled=sampled)
    found = shelf.sites[place]
    kinds, site = kinds_of(trace.badges), trace.sites[index]
    more = {
        statistic.name: values(trace.badges, site)
        for statistic, values in ((ROLE, best_values), (EFFECT, effects_at))
        if statistic.name in kinds
    }
    return replace(found, statistics={**found.statistics, **more}) if more else found


def runs_at(trace: Trace, index: int) -> tuple[slice, ...] | None:
    """The runs of queries that a view of a very long trace is made from: in the middle of each row of
    patches of a picture. None: all."""
    site, every = trace.sites[index], sum(one.heads * one.queries * one.keys for one in trace.sites)
    if every <= MOST_WEIGHTS or site.weights_only:
        return None
    edges = edges_of(pairs_at(trace, index).shown[0], FINER * side_of(trace)).tolist()
    each = max(1, int(site.queries * MOST_WEIGHTS / every / (len(edges) - 1)))
    middles = [(first, stop, max(first, (first + stop - each) // 2)) for first, stop in pairwise(edges)]
    return tuple(slice(start, min(start + each, stop)) for _, stop, start in middles)


def blocks_in(runs: tuple[slice, ...] | None, site: Site, heads: int = 1, cells: int = BLOCK_CELLS) -> Iterator[slice]:
    """Blocks of the queries in `runs`, None: of all of the site; `heads`, `cells`: see `query_blocks`."""
    for run in runs or (slice(0, site.queries),):
        for block in query_blocks(run.stop - run.start, site.keys, heads, cells):
            yield slice(run.start + block.start, run.start + block.stop)


def pairs_at(trace: Trace, index: int) -> Pairs:
    """The pairs that the statistics of one site ask for; sites with the same tokens share them."""
    site, shelf = trace.sites[index], _shelf(trace)
    queries, keys = trace.query_tokens(site), trace.key_tokens(site)
    name = (id(queries), id(keys), site.kind, site.query_offset, site.keys)
    if name not in shelf.pairs:
        shelf.pairs[name] = Pairs(site, queries, keys)
    return shelf.pairs[name]


def index_of(trace: Trace, site: Site) -> int:
    """Its place among the sites of the trace."""
    return next(index for index, other in enumerate(trace.sites) if other is site)


def share(trace: Trace, other: Trace) -> None:
    """What is known of a trace is known of another with the same sites."""
    shelf = _shelf(trace)
    with _LOCK:
        _SHELVES[other] = shelf


@dataclass(frozen=True)
class _Shelf:
    """What is known of one trace."""

    sites: dict[tuple[int, bool], Thumbnails] = field(default_factory=dict)
    pairs: dict[tuple, Pairs] = field(default_factory=dict)


_SHELVES: "WeakKeyDictionary[Trace, _Shelf]" = WeakKeyDictionary()
_LOCK = Lock()


def _shelf(trace: Trace) -> _Shelf:
    with _LOCK:
        return _SHELVES.setdefault(trace, _Shelf())


def side_of(trace: Trace) -> int:
    """Patches along each axis of a thumbnail, at most."""
    return max(8, min(SIDE, math.isqrt(MOST_PATCHES // max(1, sum(site.heads for site in trace.sites)))))


def coarser(picture: UInt8[Tensor, "H r c"], side: int) -> UInt8[Tensor, "H R C"]:
    """A picture in at most `side` patches along each axis, whose edges are edges of its own patches."""
    order = picture.to(torch.int16)
    order[order == MASKED] = -1  # NaN is seen, then the largest; masked only where all is
    for axis in (1, 2):
        edges = edges_of(order.shape[axis], side).tolist()
        parts = [order.narrow(axis, start, stop - start).amax(axis) for start, stop in pairwise(edges)]
        order = torch.stack(parts, axis)
    return torch.where(order < 0, MASKED, order).to(torch.uint8)


def _thumbnails(site: Site, numbers: HeadNumbers, heard: Means, side: int) -> Thumbnails:
    pooled, visible = numbers.patches.pooled, numbers.patches.visible
    picture = (pooled.nan_to_num(0.0).clamp(0, 1) * STEPS).round().to(torch.uint8)
    picture[~visible & (pooled == 0)] = MASKED
    picture[pooled.isnan()] = BROKEN
    pixels, shown = coarser(picture, side), (numbers.patches.queries, numbers.patches.keys)
    cut = shown != (site.queries, site.keys)
    statistics = in_order({**numbers.statistics, **heard})
    return Thumbnails(
        pixels, picture, statistics, numbers.links, numbers.from_others, numbers.peaks, shown if cut else None
    )


def describe_pixels(thumbnails: Thumbnails, pixels: UInt8[Tensor, "h R C"], tensor: str) -> dict:
    """How bytes of these thumbnails, or of their pictures, are read, which are in `tensor`."""
    _, rows, columns = pixels.shape
    found = {"tensor": tensor, "rows": rows, "columns": columns, "method": METHOD, "range": [0, 1], "steps": STEPS}
    found |= {"masked": MASKED, "broken": BROKEN, "queries_sampled": thumbnails.sampled}
    if thumbnails.shown is not None:
        found |= dict(zip(("queries", "keys"), thumbnails.shown, strict=True))
    return found


def describe(thumbnails: Thumbnails, tensor: str) -> dict:
    """The entries of a payload for a site's thumbnails, which are in `tensor`, and its statistics."""
    return {
        "thumb": describe_pixels(thumbnails, thumbnails.pixels, tensor),
        "stats": {name: [_short(v) for v in values] for name, values in thumbnails.statistics.items()},
        "links": [None if link is None else [link[0], link[1], _short(link[2])] for link in thumbnails.links],
    }


def words_of(every: tuple[Thumbnails, ...]) -> dict[str, dict[str, str]]:
    """Titles, units and sentences of the statistics that these have, in order."""
    return in_payload(tuple(s for s in (*STATISTICS, ROLE, EFFECT) if any(s.name in one.statistics for one in every)))


def _short(value: float | None) -> float | None:
    """Six significant digits."""
    return None if value is None else float(f"{value:.6g}")
