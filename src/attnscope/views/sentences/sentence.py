"""A view in words and numbers, for hosts that cannot draw: a terminal, a page without scripts, a screen reader."""

from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor

from attnscope.errors import InputError
from attnscope.statistics.group_sums import key_sums
from attnscope.statistics.sink_tokens import set_aside, sink_tokens_of
from attnscope.text.format import fixed, number, percent, percent_in_words, significant
from attnscope.text.spelling import labels, spelled
from attnscope.tracing.receipts import SiteReceipt
from attnscope.tracing.site import Site
from attnscope.views.sentences.labels import as_text
from attnscope.views.sentences.notes import note
from attnscope.views.sentences.pair import PairRow, Side, sentence_of_pair
from attnscope.views.sentences.query import QueryRow, sentence_of_query
from attnscope.views.sentences.stream import sentence_of_stream
from attnscope.views.stream_column import Column, column_of
from attnscope.views.view import View


@dataclass(frozen=True)
class Row:
    """One key of the view's query, as text."""

    key: int
    token: str
    dot: str
    score: str
    weight: str
    share: str
    value: float


def strongest(view: View, rows: int) -> list[Row]:
    """The keys of the view's query by weight, strongest first, without those that the view leaves out. In a comparison
    they are those of A.
    """
    site, state = view.trace.sites[view.site_index], view.own
    row = state.query - site.query_offset
    tokens = spelled(view.trace.key_tokens(site))
    weights = site.weights(state.head, row)[0]
    order = weights.nan_to_num(-1.0).argsort(descending=True, stable=True).tolist()
    if state.special == "hide":
        aside = set_aside(view.trace, site)
        order = [k for k in order if not aside[k]]
    order = order[:rows]
    if site.weights_only:
        return [Row(k, tokens[k], "–", "–", percent(float(weights[k])), "–", float(weights[k])) for k in order]
    chain, share = site.chain(state.head, row), site.share(state.head, row)
    masked = _masked(site, state.head, row)

    def part(value: Tensor, k: int) -> str:
        """A weight or a share; a masked key has none, unless the implementation spreads it over masked keys."""
        return "masked" if masked[k] and not float(value[k]) else percent(float(value[k]))

    return [
        Row(
            key=k,
            token=tokens[k],
            dot=number(float(chain.dot[0, k])),
            score="masked" if masked[k] else number(float(chain.masked[0, k])),
            weight=part(weights, k),
            share=part(share, k),
            value=float(weights[k]),
        )
        for k in order
    ]


def writes(site: Site, head: int, row: int) -> str | None:
    """How long what a head writes for a query is, as a sentence; None where W_O is not known."""
    if site.projection is None:
        return None
    return note("writes", length=significant(float(site.write(head, row).norm()), 2))


def title(view: View) -> str:
    """The place, then the sentence that the page shows for this query (or, in a comparison, for what changed)."""
    here = view.other if view.pair is not None and view.state.side == "b" else view
    site, state = here.trace.sites[here.site_index], here.state
    changed = view.pair is not None and view.state.side == "difference"
    column = None if changed else stream_shown(here)
    if column is not None:
        token = spelled(here.trace.query_tokens(site))[here.own.query]
        return f"the stream at “{token}” (position {here.own.query}): {as_text(sentence_of_stream(column))}"
    parts = sentence_of_pair(pair_row(view)) if changed else sentence_of_query(query_row(here))
    return f"{site.name}, head {state.head} (counted from 0): {as_text(parts)}{'' if changed else _of_group(here)}"


def stream_shown(view: View) -> Column | None:
    """The column that the level stream shows; None at other levels, and where the stream of the query is not held."""
    if view.state.level == "stream":
        with suppress(InputError):
            return column_of(view.trace, view.own)
    return None


def _of_group(view: View) -> str:
    """What the query gives to the group that is looked at, as the page's sentence ends with it."""
    site, state = view.trace.sites[view.site_index], view.own
    if state.group is None:
        return ""
    group = view.trace.key_tokens(site).groups[state.group]
    sums = key_sums(site, [state.query - site.query_offset], ~set_aside(view.trace, site))
    weight, even = (values[state.head, group.positions] for values in (sums.weight, sums.even))
    counts = ~set_aside(view.trace, site)[group.positions]
    own = float(weight[counts].sum())
    share = 0.0 if sums.share is None else float(sums.share[state.head, group.positions][counts].sum())
    ratio = fixed(own / float(even.sum()), 1) if float(even.sum()) else "0.0"
    told = {"name": group.name, "part": percent_in_words(own), "share": percent_in_words(share), "ratio": ratio}
    return f" {note('group', **told)}"


def receipt(view: View) -> str:
    """The receipt of the site on view, of the numbers that the view holds."""
    found: SiteReceipt = view.receipts.sites[view.site_index]
    mark = {"exact": "✓", "failed": "✕"}.get(found.status, "–")
    return f"{mark} {found}"


def query_row(view: View) -> QueryRow:
    """The numbers behind the sentence of the view's query."""
    site, state = view.trace.sites[view.site_index], view.own
    row = state.query - site.query_offset
    queries, keys = view.trace.query_tokens(site), view.trace.key_tokens(site)
    weights = site.weights(state.head, row)[0].tolist()
    outside = None
    if state.filter != "all":
        wanted = "ab"[queries.segments[state.query]] == state.filter[0]
        passing = [wanted and "ab"[keys.segments[k]] == state.filter[1] for k in range(site.keys)]
        outside = sum(weight for weight, passes in zip(weights, passing, strict=True) if not passes)
    more = {}
    if not site.weights_only:
        empty = all(_masked(site, state.head, row))
        more = {
            "share": site.share(state.head, row).tolist(),
            "norms": site.norms(state.head)[1].tolist(),
            "dot": site.chain(state.head, row).dot[0].tolist(),
            "sink": None if site.sinks is None else max(0.0, 1 - sum(weights)),
            "empty": None if not empty else "uniform" if site.mask.uniform_empty_rows else "zero",
        }
    return QueryRow(
        labels(queries)[state.query],
        labels(keys)[: site.keys],
        weights,
        own=state.query if site.kind == "self" else None,
        outside=outside,
        sink_tokens=sink_tokens_of(view.trace, site),
        without=state.special == "hide",
        **more,
    )


def pair_row(view: View) -> PairRow:
    """The numbers behind the sentence of a comparison's query, along the merged row of tokens."""
    assert view.pair is not None
    state = view.state
    queries, keys = view.pair.axes(state)
    return PairRow(
        labels(queries.merged)[state.query],
        labels(keys.merged),
        *(
            _side(trace, state, side, queries.places[state.query][side], keys.places)
            for side, trace in enumerate((view.trace, view.pair.other))
        ),
        own=state.query if view.trace.sites[view.site_index].kind == "self" else None,
        pinned=state.key,
    )


def _side(trace, state, side: int, query: int | None, places) -> Side | None:
    """The row of weights of one trace, by the places of the merged row; None where it has no such query."""
    site = trace.site(state.layer, state.stack)
    row = -1 if query is None else query - site.query_offset
    if not 0 <= row < site.queries:
        return None
    weights, masked = site.weights(state.head, row)[0].tolist(), _masked(site, state.head, row)
    there = [None if place[side] is None or place[side] >= site.keys else place[side] for place in places]
    return Side([None if k is None else weights[k] for k in there], [k is not None and masked[k] for k in there])


def _masked(site: Site, head: int, row: int) -> list[bool]:
    """True at the keys that this query may not see."""
    if site.mask.is_empty:
        return [False] * site.keys
    return (~site.mask.allowed(site._rows(row), site.keys, head)[0]).tolist()
