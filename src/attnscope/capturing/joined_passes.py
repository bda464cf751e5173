"""The passes of one generation as one trace: the prompt's, and a step for each token, put together through the cache."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from jaxtyping import Bool
from torch import Tensor

from attnscope.errors import CaptureError, InputError
from attnscope.tracing.masks import MaskRule, rule_of
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace

Of = Callable[[int, int], Trace]  # (pass, row of the batch)


def joined_passes(of: Of, passes: Sequence[int], row: int, batch: int) -> Trace:
    """One trace of `passes`, each of which goes on where the one before it ended: queries of all, keys and values as the cache had them.

    `of`: the trace of one pass and row. `row`: of the last pass, out of `batch`. Beams change places: earlier passes are read from the row whose
    keys the later one goes on from.

    Raises CaptureError where a pass does not go on from the one before it, and for what cannot be put together.
    """
    traces = [of(passes[-1], row)]
    for number in reversed(passes[:-1]):
        traces.insert(0, _before(of, number, row, batch, traces[0]))
    last = traces[-1]
    sites = tuple(_site([trace.sites[index] for trace in traces]) for index in range(len(last.sites)))
    first, start = traces[0].sites[0], traces[0].sites[0].query_offset
    tokens = last.tokens
    if tokens.border is None and last.target is None and start == 0 and len(traces) > 1:
        tokens = replace(tokens, border=first.queries)
    note = f"{len(traces)} passes through the cache as one: {first.queries} tokens, then {sum(t.sites[0].queries for t in traces[1:])}."
    return replace(
        last, sites=sites, tokens=tokens, notes=(*last.notes, note), streams=(), stream_table=None, inputs=None
    )


def _before(of: Of, number: int, row: int, batch: int, after: Trace) -> Trace:
    """The trace of an earlier pass that `after` goes on from."""
    for other in (row, *(other for other in range(batch) if other != row)):
        try:
            trace = of(number, other)
        except InputError:  # the batch was smaller
            continue
        if _goes_on(trace, after):
            return trace
    raise CaptureError(
        f"pass {number} cannot be joined with the one after it: none of its rows holds the keys that the later pass went on from. Name passes of one "
        "generation that follow each other, such as forward=slice(2, None)."
    )


def _goes_on(before: Trace, after: Trace) -> bool:
    """Whether the keys of each site begin with those of the pass before; a window may have dropped some."""
    if [(one.path, one.call) for one in before.sites] != [(one.path, one.call) for one in after.sites]:
        return False
    for one, other in zip(before.sites, after.sites, strict=True):
        if one.kind == "cross":
            continue
        stop = one.query_offset + one.queries
        if one.weights_only or other.weights_only or other.query_offset != stop or one.keys < stop:
            return False
        own, kept = one.k[:, one.query_offset : stop], other.k[:, one.query_offset : stop]
        dropped = (kept == 0).flatten(2).all(-1).all(0)
        if not torch.equal(own[:, ~dropped], kept[:, ~dropped]):
            return False
    return True


def _site(parts: Sequence[Site]) -> Site:
    """One site out of those of several passes."""
    first, last = parts[0], parts[-1]
    if any(part.position_bias is not None for part in parts) and len(parts) > 1:
        raise CaptureError(
            f"{last.name} adds a position bias to its scores, and passes with one are not joined: trace the whole text, attnscope.trace(…, generate=20)."
        )
    k, v = last.k, last.v
    if last.kind == "self":
        before = first.query_offset
        own = [slice(part.query_offset, part.query_offset + part.queries) for part in parts]
        k = torch.cat([first.k[:, :before], *(part.k[:, rows] for part, rows in zip(parts, own, strict=True))], 1)
        v = torch.cat([first.v[:, :before], *(part.v[:, rows] for part, rows in zip(parts, own, strict=True))], 1)
    starts = accumulate((part.queries for part in parts[:-1]), initial=0)
    z = [part.z for part in parts if part.z is not None]
    rows = [part.z_rows + at for part, at in zip(parts, starts, strict=True) if part.z_rows is not None]
    whole = len(z) == len(rows) == len(parts)
    nothing = dict.fromkeys(
        ("x", "x_keys", "pre_rotary_q", "pre_rotary_k", "pre_norm_q", "pre_norm_k", "written", "written_rows")
    )
    return replace(
        last,
        **nothing,
        q=torch.cat([part.q for part in parts], 1),
        k=k,
        v=v,
        mask=_mask(parts, k.shape[1]),
        offset=first.query_offset if last.kind == "self" else None,
        z=torch.cat(z, 1) if whole else None,
        z_rows=torch.cat(rows) if whole else None,
    )


def _mask(parts: Sequence[Site], keys: int) -> MaskRule:
    """The rule that gives each pass its own mask: the first one's, going on; where that does not fit, packed bits."""
    first, last = parts[0].mask, parts[-1].mask
    uniform = any(part.mask.uniform_empty_rows for part in parts)
    upper = first.upper
    if parts[0].kind == "self" and first.packed is None and upper is None:
        upper = parts[0].query_offset
    if first.packed is None and last.packed is None:
        rule = MaskRule(first.lower, upper, last.keys, uniform_empty_rows=uniform)
        at = 0
        for part, allowed in zip(parts, _allowed(parts, keys), strict=True):
            if not torch.equal(rule.allowed(torch.arange(at, at + part.queries), keys), allowed):
                break
            at += part.queries
        else:
            return rule
    several = [one if one.ndim == 3 else one[None] for one in _allowed(parts, keys)]
    heads = max(map(len, several))
    return rule_of(torch.cat([one.expand(heads, -1, -1) for one in several], 1), uniform)


def _allowed(parts: Sequence[Site], keys: int) -> Iterator[Bool[Tensor, "*H q K"]]:
    """What each pass allows, over all keys: later ones were not there."""
    for part in parts:
        allowed = part.mask.allowed(torch.arange(part.queries), part.keys)
        yield torch.nn.functional.pad(allowed, (0, keys - part.keys))
