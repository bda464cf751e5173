"""How differently heads spread the weight of the same queries: Jensen-Shannon divergence, on a sample of queries."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.attention.precision import without_autocast
from attnscope.errors import InputError
from attnscope.statistics.frames import data_frame
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace

QUERIES = 64  # of the sample
CELLS = 1 << 21  # of mixed rows held at once


@dataclass(frozen=True, eq=False, repr=False)
class HeadDistances:
    """`distances`: [N, N], in nats, from 0 to ln 2. `heads`: (layer, head) of each row. `queries`: the positions that were
    looked at."""

    distances: Float[Tensor, "N N"]
    heads: tuple[tuple[int, int], ...]
    queries: tuple[int, ...]

    def __repr__(self) -> str:
        return f"HeadDistances({len(self.heads)} heads, {len(self.queries)} queries)"

    def to_frame(self) -> Any:
        """The distances as a pandas DataFrame with the heads' names. Raises MissingDependency without pandas."""
        names = [f"L{layer}H{head}" for layer, head in self.heads]
        return data_frame(self.distances.numpy(), index=names, columns=names)


@without_autocast
def head_distances(trace: Trace, stack: str | None = None, queries: int = QUERIES) -> HeadDistances:
    """The Jensen-Shannon divergence of every two heads of a stack, averaged over a sample of the queries.

    `stack`: of several, as in Trace.site. `queries`: how many, spread evenly over the text; all where it has fewer.

    A learned sink counts as one more key. Queries whose row is empty or NaN in some head are left out. Raises InputError where
    the layers of a stack have different queries or keys, and for a number of queries below 1.
    """
    if not isinstance(queries, int) or isinstance(queries, bool) or queries < 1:
        raise InputError(f"expected queries as a number from 1, got {queries!r}.")
    stack = trace.sites[0].stack if stack is None and len(trace.stacks) == 1 else stack
    sites = [site for site in trace.sites if site.stack == stack]
    if len({(site.queries, site.keys, site.kind) for site in sites}) != 1:
        there = ", ".join(map(repr, trace.stacks))
        raise InputError(
            f"expected a stack whose layers all have the same queries and keys, got {stack!r}; this trace has {there}."
        )
    wanted = sample(sites[0].queries, queries)
    rows = torch.cat([_rows(site, wanted) for site in sites])
    counted = rows.sum(-1).isfinite().all(0) & (rows.sum(-1) > 0.5).all(0)
    rows = rows[:, counted]
    heads = tuple((site.layer, head) for site in sites for head in range(site.heads))
    offset = sites[0].query_offset
    chosen = tuple(row + offset for row, keep in zip(wanted, counted.tolist(), strict=True) if keep)
    return HeadDistances(divergences(rows), heads, chosen)


def sample(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, evenly spread."""
    number = min(count, most)
    return [(2 * i + 1) * count // (2 * number) for i in range(number)] if number < count else list(range(count))


def divergences(rows: Float[Tensor, "N S K"]) -> Float[Tensor, "N N"]:
    """Between every two of N lists of S distributions: the mean over the list. NaN of empty lists."""
    number, queries, keys = rows.shape
    own = torch.special.entr(rows).sum(-1)
    found = torch.zeros(number, number, dtype=torch.float64)
    step = max(1, CELLS // max(1, queries * keys))
    for head in range(number):
        for first in range(head + 1, number, step):
            others = slice(first, min(first + step, number))
            mixed = torch.special.entr((rows[others] + rows[head]) / 2).sum(-1)
            found[head, others] = (mixed - (own[others] + own[head]) / 2).mean(-1)
    return (found + found.T).clamp_min(0)


def _rows(site: Site, wanted: list[int]) -> Float[Tensor, "H S K"]:
    """The weights of these queries, and the sink's as one more key."""
    weights = site.weights(None, torch.tensor(wanted)).cpu().double()
    if site.sinks is None:
        return weights
    return torch.cat([weights, (1 - weights.sum(-1, keepdim=True)).clamp_min(0)], -1)
