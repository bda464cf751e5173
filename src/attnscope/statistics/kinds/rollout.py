"""Attention rollout, one row of it at a time: a vector goes through the layers, and nothing of size T × T is made."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.attention.precision import without_autocast
from attnscope.errors import InputError
from attnscope.statistics.rows import Rows
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace


@without_autocast
def rollout(trace: Trace, query: Any = None, stack: str | None = None) -> Float[Tensor, " T"]:
    """How much of each input token there is in a token of the last layer, by the attention alone (Abnar and Zuidema 2020).

    `query`: a position, from 0, or a token as written; None: the mean over all tokens. `stack`: of several, as in Trace.site.
    fp64; the numbers add up to 1. Values, output projections and MLPs play no part in it: it says where attention leads, not
    what was carried.

    Raises InputError for a stack without self-attention over all of its tokens in every layer, and for a token that is not
    there.
    """
    sites = _sites(trace, stack)
    count = sites[-1].keys
    if query is None:
        row = torch.full((count,), 1 / count, dtype=torch.float64)
    else:
        row = torch.zeros(count, dtype=torch.float64)
        row[sites[-1]._row(query)] = 1.0
    for site in reversed(sites):
        row = through_layer(site, row)
    return row


def through_layer(site: Site, row: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """row · Ā: a row vector times the mean of the heads and the identity, its rows brought to the sum 1."""
    reader, made = Rows(site), torch.zeros_like(row)
    with torch.no_grad():
        for run, sight in reader.runs(slice(0, site.queries)):
            mean = torch.zeros(run.stop - run.start, sight.width, dtype=torch.float64)
            for block in reader.blocks(run, sight):
                block.clean()
                mean += block.weights.cpu().double().sum(0) / site.heads
            part = row[run] / (mean.sum(-1) + 1)
            made[sight.keys] += part @ mean
            made[run] += part
    return made


def _sites(trace: Trace, stack: str | None) -> list[Site]:
    stacks = [name for name in trace.stacks if any(s.stack == name and s.kind == "self" for s in trace.sites)]
    if stack is None and len(stacks) == 1:
        stack = stacks[0]
    if stack not in stacks:
        there = ", ".join(map(repr, stacks)) or "none"
        raise InputError(f"expected stack as one with self-attention, got {stack!r}; this trace has {there}.")
    sites = sorted((s for s in trace.sites if s.stack == stack and s.kind == "self"), key=lambda site: site.layer)
    sizes = {(site.queries, site.keys, site.query_offset) for site in sites}
    if len(sizes) != 1 or sites[0].queries != sites[0].keys:
        raise InputError(
            "expected layers that all attend from every token to every token of one text, for a rollout goes through all of "
            "them; got layers with other queries or keys, as in a cached step."
        )
    layers = [site.layer for site in sites]
    if layers != list(range(len(layers))):
        raise InputError(
            f"expected every layer from 0 on, for a rollout goes through all of them; this trace has {', '.join(map(str, layers))}."
        )
    return sites
