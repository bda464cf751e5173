"""Every head at a glance: a small picture of its weights, with its statistics.

A thumbnail is pooled by the largest weight of each patch: one strong link stays as dark as it is, where a mean would
thin it out with the length of the text. So a thumbnail shows where weight is, not how much of it: patches do not add up.
"""

import math
from dataclasses import dataclass, field, replace
from threading import Lock
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from attnscope.attention.precision import without_autocast
from attnscope.statistics.compute import HeadNumbers, Peaks, sums_of
from attnscope.statistics.definitions import EFFECT, ROLE, STATISTICS, in_payload
from attnscope.statistics.pairs import Pairs
from attnscope.statistics.sound import walk_along
from attnscope.statistics.totals import Means, in_order
from attnscope.tracing.badges import best_values, effects_at, kinds_of
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace

SIDE = 48  # patches along each axis, at most
MOST_PATCHES = 1 << 20  # bytes of all thumbnails of a trace: above 455 heads they are coarser
STEPS = 253  # a weight is its byte / 253
MASKED = 254  # no query of the patch may see a key of it
BROKEN = 255  # NaN in the patch
METHOD = "max"


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """All heads of one site.

    pixels: weight · 253, rounded, of patches of queries × keys; 254 and 255 stand for masked and NaN. Patch r of R covers
    queries r·Q//R up to (r+1)·Q//R, and columns likewise. statistics: one number per head, None where no query allows one.
    shown: how many queries and keys Q and K are, where they end before the silence that fills a sound up; None: all.
    links: (query, key, weight) of the strongest link per head, positions among the tokens. from_others, peaks: what each
    key gets from other tokens, and at most; see `HeadNumbers`.
    """

    pixels: UInt8[Tensor, "H R C"]
    statistics: Means
    links: tuple[tuple[int, int, float] | None, ...]
    from_others: Float[Tensor, "H K"]
    peaks: Peaks
    shown: tuple[int, int] | None

    @property
    def weights(self) -> Float[Tensor, "H R C"]:
        """The pooled weights; NaN where masked or NaN."""
        known = self.pixels.float() / STEPS
        return torch.where(self.pixels > STEPS, math.nan, known)


def thumbnails_of(trace: Trace) -> tuple[Thumbnails, ...]:
    """Thumbnails and statistics of every site, in the order of the trace, from every query.

    Weights are computed in blocks of queries and dropped again; what they come to is kept as long as the trace. Rows with
    no key allowed and rows of NaN are left out of the statistics.
    """
    return tuple(thumbnails_at(trace, index) for index in range(len(trace.sites)))


@without_autocast
def thumbnails_at(trace: Trace, index: int) -> Thumbnails:
    """Those of one site."""
    shelf = _shelf(trace)
    if index not in shelf.sites:
        site = trace.sites[index]
        numbers = sums_of(site, pairs_at(trace, index), _side(trace)).finish()
        heard = walk_along(site, trace.query_tokens(site), trace.key_tokens(site))
        shelf.sites[index] = _thumbnails(site, numbers, heard)
    found = shelf.sites[index]
    kinds, site = kinds_of(trace.badges), trace.sites[index]
    more = {
        statistic.name: values(trace.badges, site)
        for statistic, values in ((ROLE, best_values), (EFFECT, effects_at))
        if statistic.name in kinds
    }
    return replace(found, statistics={**found.statistics, **more}) if more else found


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

    sites: dict[int, Thumbnails] = field(default_factory=dict)
    pairs: dict[tuple, Pairs] = field(default_factory=dict)


_SHELVES: "WeakKeyDictionary[Trace, _Shelf]" = WeakKeyDictionary()
_LOCK = Lock()


def _shelf(trace: Trace) -> _Shelf:
    with _LOCK:
        return _SHELVES.setdefault(trace, _Shelf())


def _side(trace: Trace) -> int:
    return max(8, min(SIDE, math.isqrt(MOST_PATCHES // max(1, sum(site.heads for site in trace.sites)))))


def _thumbnails(site: Site, numbers: HeadNumbers, heard: Means) -> Thumbnails:
    pooled, visible = numbers.patches.pooled, numbers.patches.visible
    pixels = (pooled.nan_to_num(0.0).clamp(0, 1) * STEPS).round().to(torch.uint8)
    pixels[~visible & (pooled == 0)] = MASKED
    pixels[pooled.isnan()] = BROKEN
    shown = numbers.patches.queries, numbers.patches.keys
    cut = shown != (site.queries, site.keys)
    statistics = in_order({**numbers.statistics, **heard})
    return Thumbnails(pixels, statistics, numbers.links, numbers.from_others, numbers.peaks, shown if cut else None)


def describe(thumbnails: Thumbnails, tensor: str) -> dict:
    """The entries of a payload for a site's thumbnails, which are in `tensor`, and its statistics."""
    _, rows, columns = thumbnails.pixels.shape
    thumb = {"tensor": tensor, "rows": rows, "columns": columns, "method": METHOD, "range": [0, 1], "steps": STEPS}
    thumb |= {"masked": MASKED, "broken": BROKEN, "queries_sampled": None}
    if thumbnails.shown is not None:
        thumb |= dict(zip(("queries", "keys"), thumbnails.shown, strict=True))
    return {
        "thumb": thumb,
        "stats": {name: [_short(v) for v in values] for name, values in thumbnails.statistics.items()},
        "links": [None if link is None else [link[0], link[1], _short(link[2])] for link in thumbnails.links],
    }


def words_of(every: tuple[Thumbnails, ...]) -> dict[str, dict[str, str]]:
    """Titles, units and sentences of the statistics that these have, in order."""
    return in_payload(tuple(s for s in (*STATISTICS, ROLE, EFFECT) if any(s.name in one.statistics for one in every)))


def _short(value: float | None) -> float | None:
    """Six significant digits."""
    return None if value is None else float(f"{value:.6g}")
