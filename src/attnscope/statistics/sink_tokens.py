"""Sink tokens: keys that most heads give much weight to, whatever the query is. In nearly every causal model the first
token is one. A view treats them as it treats special tokens: they are no finding.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attnscope.statistics.sight import seen_keys
from attnscope.statistics.thumbnails import blocks_in, index_of, runs_at, thumbnails_at
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace

TAKES = 0.3  # of the weight of the other tokens, on average: more than that is much
BEYOND = 1.5  # times what equal weights would give it: few keys have much anyhow
MOST = 0.5  # of the heads


@dataclass(frozen=True, eq=False)
class Received:
    """What the keys of one site receive on average from the queries beside themselves.

    weight: per head. even: what they would receive if every query spread its weight evenly over the keys that it may see.
    """

    weight: Float[Tensor, "H K"]
    even: Float[Tensor, "h K"]

    @property
    def much(self) -> Bool[Tensor, "H K"]:
        """Where a head gives a key much more than its due."""
        return (self.weight > TAKES) & (self.weight > BEYOND * self.even)


_received: WeakKeyDictionary[Trace, tuple[Received, ...]] = WeakKeyDictionary()
_sinks: WeakKeyDictionary[Trace, tuple[tuple[int, ...], ...]] = WeakKeyDictionary()


def received(trace: Trace, site: Site) -> Received:
    """The mean weight of each key, over the queries that see a key beside themselves. Computed once for a trace."""
    return _of(trace)[index_of(trace, site)]


def sink_tokens(trace: Trace) -> tuple[tuple[int, ...], ...]:
    """Of each site, in the order of the trace: the positions of the sink tokens among its keys.

    A token is one where it takes more than TAKES of the weight of the other tokens, and more than BEYOND times an even
    share, in more than half of the heads of its stack. Special tokens are counted too.
    """
    known = _sinks.get(trace)
    if known is None:
        known = _sinks[trace] = _found(trace)
    return known


def sink_tokens_of(trace: Trace, site: Site) -> tuple[int, ...]:
    """Those of one site of the trace."""
    return sink_tokens(trace)[index_of(trace, site)]


def set_aside(trace: Trace, site: Site) -> Bool[Tensor, " K"]:
    """True at the keys of a site that are special or sink tokens. In self attention its queries are the same tokens."""
    aside = torch.tensor(trace.key_tokens(site).special[: site.keys], dtype=torch.bool)
    aside[list(sink_tokens_of(trace, site))] = True
    return aside


def leading_key(weights: Float[Tensor, " K"], aside: Bool[Tensor, " K"]) -> int:
    """The strongest key of a row that is not set aside; the strongest of all where those have no weight."""
    clean = weights.nan_to_num(0.0).cpu()
    words = torch.where(aside, 0.0, clean)
    return int((words if bool(words.max() > 0) else clean).argmax())


def _found(trace: Trace) -> tuple[tuple[int, ...], ...]:
    groups: dict[tuple[str | None, str, int], list[int]] = {}
    for index, site in enumerate(trace.sites):
        groups.setdefault((site.stack, site.kind, site.keys), []).append(index)
    found: list[tuple[int, ...]] = [()] * len(trace.sites)
    for indices in groups.values():
        much = torch.cat([_of(trace)[index].much for index in indices])
        keys = tuple((much.float().mean(0) > MOST).nonzero()[:, 0].tolist())
        for index in indices:
            found[index] = keys
    return tuple(found)


def _of(trace: Trace) -> tuple[Received, ...]:
    known = _received.get(trace)
    if known is None:
        dues: dict[tuple, tuple[Tensor, float]] = {}  # sites that share a mask share what is due
        known = _received[trace] = tuple(_computed(trace, index, dues) for index in range(len(trace.sites)))
    return known


def _computed(trace: Trace, index: int, dues: dict[tuple, tuple[Tensor, float]]) -> Received:
    site = trace.sites[index]
    name = (id(site if site.weights_only else site.mask), site.kind, site.queries, site.keys)
    if name not in dues:
        dues[name] = _due(site, runs_at(trace, index))
    even, asking = dues[name]
    others = thumbnails_at(trace, index).from_others
    return Received((others / max(1.0, asking)).float(), even)


def _due(site: Site, runs: tuple[slice, ...] | None) -> tuple[Float[Tensor, "h K"], float]:
    """What keys would receive from others if weight were spread evenly, and how many queries see a key beside themselves;
    of the queries in `runs`, None: of all.
    """
    if not site.weights_only and site.mask.packed is None:
        return _due_by_rule(site, runs)
    keys, even, asking = torch.arange(site.keys), torch.zeros(1, site.keys, dtype=torch.float64), 0
    for block in blocks_in(runs, site, site.heads if site.weights_only else 1, 1 << 18):
        chosen = torch.arange(site.queries)[block]
        other = torch.ones(len(chosen), site.keys, dtype=torch.bool)
        if site.kind == "self":
            other = keys != (chosen + site.query_offset)[:, None]
        allowed = seen_keys(site, chosen)
        asking += int((allowed & other).any(-1).any(0).sum())
        shares = allowed / allowed.sum(-1, keepdim=True, dtype=torch.float32).clamp_min(1)
        even = even + (shares * other).sum(1)
    return (even / max(1, asking)).float(), float(asking)


def _due_by_rule(site: Site, runs: tuple[slice, ...] | None) -> tuple[Float[Tensor, "1 K"], float]:
    """The same where a query sees one run of keys, in time that grows with Q + K: what a query gives each begins at the first of them and ends behind
    the last."""
    mask, count, query = site.mask, site.keys, torch.arange(site.queries)
    open_keys = torch.ones(count, dtype=torch.bool) if mask.keys is None else mask.keys[:count].cpu()
    first = torch.zeros_like(query) if mask.lower is None else (query + mask.lower).clamp(0, count)
    stop = torch.full_like(query, count) if mask.upper is None else (query + mask.upper + 1).clamp(0, count)
    stop = torch.maximum(first, stop)
    before = torch.cat([torch.zeros(1, dtype=torch.int64), open_keys.cumsum(0)])
    seen = before[stop] - before[first]
    if mask.rows is not None:
        seen = seen * mask.rows.cpu()
    if runs is not None:
        chosen = torch.zeros(site.queries, dtype=torch.bool)
        for run in runs:
            chosen[run] = True
        seen = seen * chosen
    share = torch.where(seen > 0, 1 / seen.clamp_min(1).double(), 0.0)
    change = torch.zeros(count + 1, dtype=torch.float64)
    even = change.index_add(0, first, share).index_add(0, stop, -share).cumsum(0)[:count] * open_keys
    if site.kind == "self":
        own = (query + site.query_offset).clamp_max(count - 1)
        itself = (first <= own) & (own < stop) & open_keys[own] & (seen > 0) & (query + site.query_offset < count)
        even = even.index_add(0, own, -share * itself)
        seen = seen - itself.long()
    asking = int((seen > 0).sum())
    return (even / max(1, asking)).clamp_min(0).float()[None], float(asking)
