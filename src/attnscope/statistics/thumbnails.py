"""Every head at a glance: a small picture of its weights, and a few numbers that say what kind of head it is.

A thumbnail is pooled by the largest weight of each patch: one strong link stays as dark as it is, where a mean would
thin it out with the length of the text. So a thumbnail shows where weight is, not how much of it: patches do not add up.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

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


@dataclass(frozen=True)
class Statistic:
    """What a number of a head means: its name, how it is called on screen, its unit ("part": of one), one sentence."""

    name: str
    title: str
    unit: str
    words: str


_OVER = "averaged over the queries that may see one"
STATISTICS = (
    Statistic("entropy", "entropy", "nats", "How widely a query spreads its weight: −Σ w ln w, averaged over the queries; 0 is one key alone (Clark et al. 2019). A sink counts as one more key."),
    Statistic("confidence", "largest weight", "part", "The largest weight of a query, averaged over the queries (confidence in Voita et al. 2019)."),
    Statistic("distance", "mean distance", "tokens", "How far a query looks: Σ w · |query − key| / Σ w, in tokens, special tokens included (Vig and Belinkov 2019)."),
    Statistic("itself", "on itself", "part", "The weight of a query on its own token, averaged over the queries that may see it (Clark et al. 2019)."),
    Statistic("previous", "on the previous token", "part", f"The weight of a query on the token before it, {_OVER} (Clark et al. 2019)."),
    Statistic("next", "on the next token", "part", f"The weight of a query on the token after it, {_OVER} (Clark et al. 2019)."),
    Statistic("first", "on the first token", "part", "The weight of a query on the first key, averaged over the queries that may see it (Gu et al. 2024 call it a sink)."),
    Statistic("special", "on special tokens", "part", f"The weight of a query on special tokens together, {_OVER} (delimiters in Clark et al. 2019)."),
    Statistic("same", "on earlier copies", "part", f"The weight of a query on earlier places of the same token, special tokens left out, {_OVER} (duplicate-token heads)."),
    Statistic("induction", "after earlier copies", "part", f"The weight of a query on what followed earlier places of the same token, special tokens left out, {_OVER} (prefix matching in Olsson et al. 2022)."),
    Statistic("sink", "on the sink", "part", "The weight that goes to the learned logit without a token, averaged over the queries."),
    Statistic("link", "strongest link", "part", "The largest weight between two different tokens, neither of them special."),
)  # fmt: skip


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
    """Thumbnails and statistics of every site, in the order of the trace.

    Weights are computed in blocks of queries and dropped again. Rows with no key allowed and rows of NaN are left out of
    the statistics; a trace of more than MOST_WEIGHTS weights is sampled, queries spread evenly.
    """
    each = MOST_WEIGHTS // max(1, sum(site.heads * site.keys for site in trace.sites))
    side = max(8, min(SIDE, math.isqrt(MOST_PATCHES // max(1, sum(site.heads for site in trace.sites)))))
    return tuple(
        _thumbnails(site, trace.query_tokens(site), trace.key_tokens(site), each, side) for site in trace.sites
    )


def _thumbnails(site: Site, queries: Tokens, keys: Tokens, most: int, side: int) -> Thumbnails:
    edges = _edges(site.queries, side)
    rows = _sample(edges, most) if most < site.queries else torch.arange(site.queries)
    patch = torch.bucketize(rows, torch.from_numpy(edges[1:]), right=True)
    columns = _edges(site.keys, side)[:-1]
    pooled = torch.full((site.heads, len(edges) - 1, len(columns)), -1.0)
    pairs = _Pairs(site, queries, keys)
    sums = _Sums(site.heads)
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


class _Pairs:
    """Which pairs of a query and a key the statistics ask for, by positions and tokens."""

    def __init__(self, site: Site, queries: Tokens, keys: Tokens) -> None:
        self.site = site
        self.crossing = site.kind == "cross"
        self.positions = torch.arange(site.keys)
        self.special = torch.tensor(keys.special[: site.keys], dtype=torch.bool)
        self.query_special = torch.tensor(queries.special, dtype=torch.bool)
        names: dict[int | str, int] = {}
        self.names = torch.tensor([names.setdefault(name, len(names)) for name in (keys.ids or keys.strings)])

    @cached_property
    def asked(self) -> tuple[str, ...]:
        own = () if self.crossing else ("itself", "previous", "next", "same", "induction")
        return (*own, "first", *(("special",) if bool(self.special.any()) else ()))

    def masks(self, rows: Int[Tensor, " q"]) -> Bool[Tensor, "n q K"]:
        """True at the pairs of each statistic in `asked`."""
        count, keys = len(rows), self.positions
        found = {"first": (keys == 0).expand(count, -1), "special": self.special.expand(count, -1)}
        if not self.crossing:
            query = (rows + self.site.query_offset)[:, None]
            name = self.names[query]
            real = ~self.query_special[query]
            before = torch.cat([torch.tensor([-1]), self.names[: len(keys) - 1]])
            found |= {"itself": keys == query, "previous": keys == query - 1, "next": keys == query + 1}
            found["same"] = (self.names[: len(keys)] == name) & (keys < query) & real
            found["induction"] = (before == name) & (keys <= query) & real
        return torch.stack([found[name] for name in self.asked])

    def links(self, rows: Int[Tensor, " q"]) -> Bool[Tensor, "q K"]:
        """True between two different tokens, neither of them special."""
        query = (rows + self.site.query_offset)[:, None]
        real = ~self.special & ~self.query_special[query]
        return real if self.crossing else real & (self.positions != query)

    def distance(self, rows: Int[Tensor, " q"]) -> Float[Tensor, "q K"]:
        return (self.positions - (rows + self.site.query_offset)[:, None]).abs().float()


class _Sums:
    """Sums over the rows seen so far, per head, and what they come to."""

    def __init__(self, heads: int) -> None:
        self.totals: dict[str, tuple[Tensor, Tensor]] = {}
        self.heads = heads
        self.links: list[tuple[int, int, float] | None] = [None] * heads

    def add(
        self,
        weights: Float[Tensor, "H q K"],
        allowed: Bool[Tensor, "*h q K"] | None,
        pairs: _Pairs,
        rows: Int[Tensor, " q"],
        sinks: bool,
    ) -> None:
        mass = weights.sum(-1)
        counted = mass.isfinite()
        if allowed is not None:
            counted &= allowed.any(-1)
        clean = weights if bool(counted.all()) else torch.where(counted[..., None], weights, 0.0)
        mass = torch.where(counted, mass, 0.0)
        entropy = torch.special.entr(clean).sum(-1)
        if sinks:
            rest = torch.where(counted, (1 - mass).clamp_min(0), 0.0)
            entropy += torch.special.entr(rest)
            self._sum("sink", rest, counted)
        self._sum("entropy", entropy, counted)
        self._sum("confidence", clean.amax(-1), counted)
        masks = pairs.masks(rows)
        some = masks.float()
        values = torch.einsum("hqk,nqk->nhq", clean, some)
        seen = masks.any(-1)[:, None] if allowed is None else self._seen(allowed, masks)
        for index, name in enumerate(pairs.asked):
            self._sum(name, values[index], counted & seen[index])
        if not pairs.crossing:
            self._sum("distance", torch.einsum("hqk,qk->hq", clean, pairs.distance(rows)), mass)
        self._strongest(clean * pairs.links(rows), rows + pairs.site.query_offset)

    @staticmethod
    def _seen(allowed: Bool[Tensor, "*h q K"], masks: Bool[Tensor, "n q K"]) -> Bool[Tensor, "n h q"]:
        """Whether the query may see one of the pairs: the same for every head (h = 1), unless masks differ."""
        by_head = allowed.reshape(-1, *masks.shape[1:])
        return torch.stack([(by_head & mask).any(-1) for mask in masks])

    def _sum(self, name: str, values: Float[Tensor, "H q"], of: Tensor) -> None:
        value, count = self.totals.get(name, (torch.zeros(self.heads, dtype=torch.float64),) * 2)
        kept = torch.where(of > 0, values, 0.0) if of.dtype == torch.bool else values
        self.totals[name] = (value + kept.sum(-1, dtype=torch.float64), count + of.sum(-1, dtype=torch.float64))

    def _strongest(self, weights: Float[Tensor, "H q K"], queries: Int[Tensor, " q"]) -> None:
        best, place = weights.flatten(1).max(-1)
        for head, (weight, at) in enumerate(zip(best.tolist(), place.tolist(), strict=True)):
            known = self.links[head]
            if weight > (known[2] if known else 0.0):
                row, key = divmod(at, weights.shape[-1])
                self.links[head] = (int(queries[row]), key, weight)

    @property
    def statistics(self) -> dict[str, tuple[float | None, ...]]:
        """By name, in the order of STATISTICS; a statistic that no head has is left out."""
        found: dict[str, tuple[float | None, ...]] = {}
        for name, (value, count) in self.totals.items():
            found[name] = tuple(v / c if c else None for v, c in zip(value.tolist(), count.tolist(), strict=True))
        found["link"] = tuple(None if link is None else link[2] for link in self.links)
        kept = (s.name for s in STATISTICS if any(v is not None for v in found.get(s.name, ())))
        return {name: found[name] for name in kept}


def describe(thumbnails: Thumbnails, tensor: str) -> dict:
    """What a payload says of a site's thumbnails and statistics."""
    _, rows, columns = thumbnails.pixels.shape
    return {
        "thumb": {
            "tensor": tensor, "rows": rows, "columns": columns, "method": METHOD, "range": [0, 1], "steps": STEPS,
            "masked": MASKED, "broken": BROKEN, "queries_sampled": thumbnails.sampled,
        },
        "stats": {name: [_short(v) for v in values] for name, values in thumbnails.statistics.items()},
        "links": [None if link is None else [link[0], link[1], _short(link[2])] for link in thumbnails.links],
    }  # fmt: skip


def words_of(every: tuple[Thumbnails, ...]) -> dict[str, dict[str, str]]:
    """Titles, units and sentences of the statistics that these have, in order."""
    there = [s for s in STATISTICS if any(s.name in one.statistics for one in every)]
    return {
        "stat_words": {s.name: s.words for s in there},
        "stat_titles": {s.name: s.title for s in there},
        "stat_units": {s.name: s.unit for s in there},
    }


def _short(value: float | None) -> float | None:
    """Six significant digits."""
    return None if value is None else float(f"{value:.6g}")
