"""Whether a trace has the place a state names: said before anything is drawn."""

from dataclasses import fields
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attnscope.errors import InputError
from attnscope.state import State
from attnscope.thumbnails import STATISTICS
from attnscope.tracing import Trace


def check_fields(url: str) -> None:
    """Raises InputError for what an address says that no state has."""
    known = [f.name for f in fields(State) if f.name != "why"]
    text = urlsplit(url).fragment if "#" in url else url
    for name, _ in parse_qsl(text.lstrip("#"), keep_blank_values=True):
        if name not in known:
            raise InputError(f"{name[:40]!r} in this address is no field of a view: it has {', '.join(known)}.")


def check_place(trace: Trace, state: State) -> None:
    """Raises InputError for a stack, layer, head, query, key, dimension or statistic that is not there, naming the range."""
    site = trace.site(state.layer, state.stack)
    first = site.query_offset
    _within("head", state.head, 0, site.heads, site.name)
    for head in state.heads:
        _within("heads: head", head, 0, site.heads, site.name)
    _within("query", state.query, first, first + site.queries, site.name)
    for query in state.queries:
        _within("queries: query", query, first, first + site.queries, site.name)
    if state.key is not None:
        _within("key", state.key, 0, site.keys, site.name)
    if state.dim is not None and not site.weights_only:
        _within("dim", state.dim, 0, site.head_size, site.name)
    known = ("layer", *(s.name for s in STATISTICS))
    if state.sort not in known:
        raise InputError(f"sort is {state.sort!r}; it is one of {', '.join(map(repr, known))}.")


def _within(name: str, value: Any, start: int, stop: int, where: str) -> None:
    if not start <= value < stop:
        raise InputError(f"{name} {value} is out of range: {where} goes from {start} to {stop - 1}.")
