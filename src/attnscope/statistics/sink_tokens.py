"""Sink tokens: keys that most heads give much weight to, whatever the query is. In nearly every causal model the first
token is one. A view treats them as it treats special tokens: they are no finding.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attnscope.statistics.thumbnails import index_of, thumbnails_at
from attnscope.tracing.query_blocks import query_blocks
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
        dues[name] = _due(site)
    even, asking = dues[name]
    others = thumbnails_at(trace, index).from_others
    return Received((others / max(1.0, asking)).float(), even)


def _due(site: Site) -> tuple[Float[Tensor, "h K"], float]:
    """What keys would receive from others if weight were spread evenly, and how many queries see a key beside themselves."""
    keys, even, asking = torch.arange(site.keys), torch.zeros(1, site.keys, dtype=torch.float64), 0
    for block in query_blocks(site.queries, site.keys, site.heads if site.weights_only else 1, 1 << 18):
        chosen = torch.arange(site.queries)[block]
        other = torch.ones(len(chosen), site.keys, dtype=torch.bool)
        if site.kind == "self":
            other = keys != (chosen + site.query_offset)[:, None]
        allowed = torch.ones(1, len(chosen), site.keys, dtype=torch.bool)
        if site.weights_only:
            allowed = (
                site.weights(None, chosen).cpu().nan_to_num(0.0) > 0
            )  # what the mask was is seen in its zeros alone
        elif not site.mask.is_empty:
            allowed = site.mask.allowed(chosen, site.keys).cpu().reshape(-1, len(chosen), site.keys)
        asking += int((allowed & other).any(-1).any(0).sum())
        shares = allowed / allowed.sum(-1, keepdim=True, dtype=torch.float32).clamp_min(1)
        even = even + (shares * other).sum(1)
    return (even / max(1, asking)).float(), float(asking)
