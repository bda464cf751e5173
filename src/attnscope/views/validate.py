"""Whether a trace has the place a state names: said before anything is drawn."""

from dataclasses import fields
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attnscope.comparing.comparison import Comparison
from attnscope.errors import InputError
from attnscope.statistics.definitions import EFFECT, PAIR, ROLE, STATISTICS
from attnscope.tracing.badges import kinds_of
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace
from attnscope.views.head_edits import parse_edits
from attnscope.views.state import State
from attnscope.views.stream_column import stream_of


def check_fields(url: str) -> None:
    """Raises InputError for what an address says that no state has."""
    known = [f.name for f in fields(State) if f.name != "why"]
    text = urlsplit(url).fragment if "#" in url else url
    for name, _ in parse_qsl(text.lstrip("#"), keep_blank_values=True):
        if name not in known:
            raise InputError(f"{name[:40]!r} in this address is no field of a view: it has {', '.join(known)}.")


def check_place(trace: Trace, state: State) -> None:
    """Raises InputError for a stack, layer, head, query, key, dimension or statistic that is not there, naming the range;
    NotCaptured for the level stream where the trace does not hold it."""
    site = site_at(trace, state.layer, state.stack)
    check_edits(trace, state)
    if state.level == "stream":
        stream_of(trace)
    queries = range(site.query_offset, site.query_offset + site.queries)
    kinds = kinds_of(trace.badges)
    if state.sort == EFFECT.name and "effect" not in kinds:
        raise InputError(
            f"sort is {state.sort!r}, and this view has no effects: give them, show(effects=attnscope.effects(model, tokenizer, …))."
        )
    if state.sort == ROLE.name and "role" not in kinds:
        raise InputError(
            f"sort is {state.sort!r}, and this view has no roles: give them, show(roles=attnscope.roles(model, tokenizer, …))."
        )
    orders = (*STATISTICS, *PAIR, *(s for s in (ROLE, EFFECT) if s.name in kinds))
    sorts = ("layer", *(s.name for s in orders))
    _check(state, site, site.heads, queries, site.keys, sorts, trace.key_tokens(site))


def check_compared(comparison: Comparison, state: State) -> None:
    """The same of a comparison, whose sides share their layers: in B − A, queries and keys count along the merged row."""
    if state.level == "stream":
        if state.side == "difference":
            raise InputError("a comparison shows no stream of B − A: give side='a' or 'b', or another level.")
        stream_of(comparison.a if state.side == "a" else comparison.b)
    site_at(comparison.a, state.layer, state.stack)
    check_edits(comparison.b if state.side == "b" else comparison.a, state)
    pair = comparison.site_pair(state.layer, state.stack)
    sorts = ("change", "layer", *(s.name for s in (*STATISTICS, *PAIR)))
    if state.side == "difference":
        rows = range(len(pair.queries.places))
        _check(state, pair.a, pair.heads, rows, len(pair.keys.places), sorts, comparison.a.key_tokens(pair.a))
        return
    site = pair.a if state.side == "a" else pair.b
    rows = range(site.query_offset, site.query_offset + site.queries)
    side = comparison.a if state.side == "a" else comparison.b
    _check(state, site, site.heads, rows, site.keys, sorts, side.key_tokens(site))


def check_edits(trace: Trace, state: State) -> None:
    """Raises InputError for an edit of a stack, layer, head, query or key that is not there."""
    for edit in parse_edits(state.edits):
        site = site_at(trace, edit.layer, edit.stack)
        for head in edit.heads:
            _within(f"edits: {edit}: head", head, 0, site.heads, site.name)
        if edit.query is not None:
            _within(f"edits: {edit}: query", edit.query, site.query_offset, site.query_offset + site.queries, site.name)
        if edit.key is not None:
            _within(f"edits: {edit}: key", edit.key, 0, site.keys, site.name)


def site_at(trace: Trace, layer: int, stack: str | None) -> Site:
    """The site of a layer counted from 0, as every state counts. Raises InputError, naming the layers there are."""
    site = trace.site(layer, stack)
    if layer < 0:  # Trace.site itself takes -1 for the last
        there = ", ".join(str(one.layer) for one in trace.sites if one.stack == site.stack)
        raise InputError(f"layer {layer} is out of range: a view counts layers from 0, and has {there}.")
    return site


def _check(
    state: State, site: Site, heads: int, rows: range, keys: int, sorts: tuple[str, ...], tokens: Tokens
) -> None:
    for name, head in (("head", state.head), *(("heads: head", one) for one in state.heads)):
        _within(name, head, 0, heads, site.name)
    for name, query in (("query", state.query), *(("queries: query", one) for one in state.queries)):
        _within(name, query, rows.start, rows.stop, site.name)
    if state.key is not None:
        _within("key", state.key, 0, keys, site.name)
    if state.group is not None:
        groups = len(tokens.groups)
        if state.group >= groups:
            there = f"the text has {groups}, 0 to {groups - 1}" if groups else "this text has no groups"
            raise InputError(f"group {state.group} is out of range: {there}.")
    elif state.sort == "group":
        raise InputError("sort is 'group', and no group is looked at: give group=, its name or its number.")
    if state.dim is not None and not site.weights_only:
        _within("dim", state.dim, 0, site.head_size, site.name)
    if state.sort not in sorts:
        raise InputError(f"sort is {state.sort!r}; it is one of {', '.join(map(repr, sorts))}.")


def _within(name: str, value: Any, start: int, stop: int, where: str) -> None:
    if not start <= value < stop:
        raise InputError(f"{name} {value} is out of range: {where} goes from {start} to {stop - 1}.")
