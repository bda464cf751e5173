"""How much a head changed between two traces: numbers, and a small picture of B − A.

Weights are computed in blocks of queries, placed along the merged row of tokens, and dropped again.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attnscope.attention.precision import without_autocast
from attnscope.comparing.alignment import Alignment
from attnscope.errors import NotCaptured
from attnscope.statistics.thumbnails import MASKED, MOST_PATCHES, SIDE
from attnscope.text.status import status
from attnscope.tracing.query_blocks import query_blocks
from attnscope.tracing.site import Site

BLOCK = 1 << 20  # weights in memory at once
MANY = 1 << 28  # weights of one trace that take some seconds, so that a line says what is done
ZERO = 127  # the byte of no difference in a picture; 127 ± 126 are the largest there is


@dataclass(frozen=True)
class HeadChange:
    """How one head changed from A to B.

    change: the mean, over the queries that both texts have, of the total-variation distance between the two rows of
    weights, ½ Σ |w_B − w_A| over every key of either text (a key that a text lacks has no weight there; a sink counts as
    one more key): 0 is no change, 1 is all weight elsewhere. largest: the w_B − w_A of the largest magnitude between two
    tokens that are not special, at `query` and `key` of the merged row (`Alignment.merged`). turned: the mean of 1 − cos between the head's outputs z in A and
    in B; None where they are unknown or of different sizes. Queries whose row holds NaN, or that may see no key in one
    of the traces, are left out; None where none is left.
    """

    stack: str | None
    layer: int
    head: int
    change: float | None
    largest: float | None = None
    query: int | None = None
    key: int | None = None
    turned: float | None = None

    @property
    def name(self) -> str:
        return f"{self.stack + ' ' if self.stack else ''}L{self.layer}H{self.head}"


@dataclass(frozen=True, eq=False)
class SiteChange:
    """All heads of one layer. picture: pooled differences of patches of the merged rows, NaN where no query has a row."""

    heads: tuple[HeadChange, ...]
    picture: Float[Tensor, "H R C"]


@dataclass(frozen=True, eq=False)
class SitePair:
    """The same layer in both traces, with the alignments of its queries and of its keys."""

    a: Site
    b: Site
    queries: Alignment
    keys: Alignment

    @property
    def heads(self) -> int:
        return min(self.a.heads, self.b.heads)

    def rows(self) -> Int[Tensor, "q 3"]:
        """Place in the merged row, row of A, row of B, of the queries that both sites have."""
        found = []
        for place, (i, j) in enumerate(self.queries.places):
            if i is None or j is None:
                continue
            i, j = i - self.a.query_offset, j - self.b.query_offset
            if 0 <= i < self.a.queries and 0 <= j < self.b.queries:
                found.append((place, i, j))
        return torch.tensor(found, dtype=torch.long).reshape(-1, 3)

    def columns(self, side: int) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
        """Places in the merged row of the keys of A (0) or B (1), and those keys."""
        most = (self.a, self.b)[side].keys
        found = []
        for place, positions in enumerate(self.keys.places):
            key = positions[side]
            if key is not None and key < most:
                found.append((place, key))
        places, keys = torch.tensor(found, dtype=torch.long).reshape(-1, 2).unbind(1)
        return places, keys


def side_of(site_pairs: tuple[SitePair, ...]) -> int:
    """Patches along each axis of a picture: fewer where there are very many heads."""
    return max(8, min(SIDE, math.isqrt(MOST_PATCHES // max(1, sum(one.heads for one in site_pairs)))))


@without_autocast
def changes_of(site_pairs: tuple[SitePair, ...]) -> tuple[SiteChange, ...]:
    """Every layer, from every query that both have: some 25 ns of a processor for each weight of a trace."""
    side = side_of(site_pairs)
    weights = sum(one.heads * len(one.queries.places) * len(one.keys.places) for one in site_pairs)
    with status("comparing every weight of both traces …", quiet=weights < MANY):
        return tuple(_change(one, side) for one in site_pairs)


def _change(pair: SitePair, side: int) -> SiteChange:
    a, b, heads, width = pair.a, pair.b, pair.heads, len(pair.keys.places)
    rows, height = pair.rows(), len(pair.queries.places)
    patches = min(side, height)
    starts = np.arange(min(side, width)) * width // min(side, width)
    patch = ((rows[:, 0] + 1) * patches - 1) // height
    picture = torch.full((heads, patches, len(starts)), math.nan)
    columns = [[_run(index) for index in pair.columns(one)] for one in (0, 1)]
    special = [torch.tensor(axis.merged.special, dtype=torch.bool) for axis in (pair.queries, pair.keys)]
    total, count = torch.zeros(heads, dtype=torch.float64), torch.zeros(heads, dtype=torch.float64)
    turned, turns = torch.zeros(heads, dtype=torch.float64), torch.zeros(heads, dtype=torch.float64)
    best: list[tuple[float, int, int] | None] = [None] * heads
    for block in query_blocks(len(rows), 2 * width, heads, BLOCK):
        place, row_a, row_b = rows[block].unbind(1)
        (before, z_a), (after, z_b) = _weights(a, row_a, heads), _weights(b, row_b, heads)
        there = _counted(a, before, row_a, heads) & _counted(b, after, row_b, heads)  # [H, q]
        delta = torch.zeros(heads, len(place), width)
        delta[..., columns[1][0]] = after[..., columns[1][1]]
        delta[..., columns[0][0]] -= before[..., columns[0][1]]
        if not bool(there.all()):
            delta.masked_fill_(~there[..., None], math.nan)
        sink = _sink(b, after) - _sink(a, before)
        size = delta.abs()
        apart = 0.5 * (size.sum(-1) + sink.abs())
        total += torch.where(there, apart, 0.0).sum(-1, dtype=torch.float64)
        count += there.sum(-1)
        if z_a is not None and z_b is not None and z_a.shape == z_b.shape:
            turn = 1 - _cosine(z_a, z_b)
            finite = there & turn.isfinite()
            turned += torch.where(finite, turn, 0.0).sum(-1, dtype=torch.float64)
            turns += finite.sum(-1)
        size[:, special[0][place]] = -1.0
        size[..., special[1]] = -1.0
        highest = size.nan_to_num_(-1.0).amax((1, 2)).tolist()
        for head, one in enumerate(highest):
            known = best[head]
            if one >= 0 and (known is None or one > abs(known[0])):
                row, key = divmod(int(size[head].argmax()), width)
                best[head] = (float(delta[head, row, key]), int(place[row]), key)
        _pool(picture, delta, patch[block], starts)
    found = tuple(
        HeadChange(
            a.stack,
            a.layer,
            head,
            float(total[head] / count[head]) if count[head] else None,
            *(best[head] or (None, None, None)),
            turned=float(turned[head] / turns[head]) if turns[head] else None,
        )
        for head in range(heads)
    )
    return SiteChange(found, picture)


def _run(index: Int[Tensor, " k"]) -> slice | Int[Tensor, " k"]:
    """The same as a slice where the places follow one another, which copies nothing."""
    first = int(index[0]) if len(index) else 0
    return slice(first, first + len(index)) if torch.equal(index, first + torch.arange(len(index))) else index


def _weights(
    site: Site, rows: Int[Tensor, " q"], heads: int
) -> tuple[Float[Tensor, "H q K"], Float[Tensor, "H q Dv"] | None]:
    """Weights, and the outputs where there are vectors, of the first `heads`."""
    try:
        chain = site.chain(None, rows)
    except NotCaptured:
        return site.weights(None, rows)[:heads].cpu(), None
    return chain.weights[:heads].cpu(), chain.output[:heads].cpu()


def _counted(site: Site, weights: Float[Tensor, "H q K"], rows: Int[Tensor, " q"], heads: int) -> Tensor:
    """Rows that are numbers, and in which some key may be seen: [H, q]."""
    known = weights.sum(-1).isfinite()
    if site.mask.is_empty:
        return known
    seen = site.mask.allowed(rows, site.keys).any(-1).cpu()
    return known & (seen[:heads] if seen.dim() > 1 and len(seen) >= heads else seen)


def _sink(site: Site, weights: Float[Tensor, "H q K"]) -> Float[Tensor, "H q"]:
    return (1 - weights.sum(-1)).clamp_min(0) if site.sinks is not None else torch.zeros(weights.shape[:2])


def _cosine(a: Float[Tensor, "H q D"], b: Float[Tensor, "H q D"]) -> Float[Tensor, "H q"]:
    same = (a == b).all(-1)
    return torch.where(same, 1.0, torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1)).float()


def _pool(picture: Tensor, delta: Float[Tensor, "H q K"], patch: Int[Tensor, " q"], starts: "np.ndarray") -> None:
    """Into each patch the difference of the largest magnitude, with its sign."""
    known = delta.nan_to_num(0.0).numpy()
    high = np.maximum.reduceat(known, starts, axis=-1)
    low = np.minimum.reduceat(known, starts, axis=-1)
    pooled = torch.from_numpy(np.where(high >= -low, high, low))
    blank = delta.isnan().all(-1)
    for row, at in enumerate(patch.tolist()):
        here = picture[:, at]
        take = ~blank[:, row, None] & ~(here.abs() >= pooled[:, row].abs())  # NaN gives way to any number
        picture[:, at] = torch.where(take, pooled[:, row], here)


def pixels(picture: Float[Tensor, "H R C"], full: float) -> Tensor:
    """Bytes of a picture: 127 is no difference, 127 ± 126 are ± full, 254 stands for no query with a row in both."""
    found = (ZERO + (picture.nan_to_num(0.0) / (full or 1.0) * (ZERO - 1)).round()).clamp(1, 2 * ZERO - 1)
    return torch.where(picture.isnan(), MASKED, found).to(torch.uint8)
