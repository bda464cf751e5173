"""compare(): what differs between two traces, and a View of both."""

from dataclasses import replace
from typing import Any, Unpack

from attnscope import render
from attnscope.api.arguments import Look, check_look
from attnscope.api.live_edits import editors_of_both
from attnscope.comparing.alignment import partner
from attnscope.comparing.comparison import Comparison, comparison_of
from attnscope.comparing.head_changes import HeadChange
from attnscope.errors import InputError
from attnscope.payload import difference as pair_payload
from attnscope.tracing.site import parse_head
from attnscope.views.by_name import numbered
from attnscope.views.state import State
from attnscope.views.validate import check_compared
from attnscope.views.view import Pair, View


def compare(trace_a: Any, trace_b: Any) -> Comparison:
    """Compare `trace_a` with `trace_b`: two texts, or one text in two checkpoints.

    Tokens are aligned by their spelling in the vocabulary, layers by stack and number, heads by number. What has no
    partner is kept, and `notes` names it. The result says how much each head changed (`heads`, most changed first), gives
    the weights of B − A (`difference(layer, head)`), and shows both (`show()`).

    Raises InputError where the two have no token or no layer in common, or one is not a Trace.
    """
    return comparison_of(trace_a, trace_b)


def show_comparison(
    comparison: Comparison,
    *,
    level: str = "model",
    side: str = "difference",
    layer: int | str | None = None,
    head: int | str | None = None,
    query: int | str | None = None,
    key: int | str | None = None,
    stack: str | None = None,
    theme: str = "auto",
    static: bool = False,
    max_mb: float = 12,
    steps: str = "head",
    exact: bool = True,
    model: Any = None,
    tokenizer: Any = None,
    **look: Unpack[Look],
) -> View:
    """A View of both traces of a comparison; arguments as of `show`, places as in A.

    `side` is "a", "b" or "difference" (B − A). What you leave out is chosen: the head that changed most (of the layer,
    where you give one), and the pair of words whose weight changed most. `exact`: small differences need all digits, so
    views are not rounded while they fit `max_mb`, which is for both traces together. `model`, `tokenizer`: those of both traces, or a pair of them, for edits in
    a live view; None: it has none. Raises InputError for anything out of range.
    """
    check_look(look)
    found = numbered(comparison.b if side == "b" else comparison.a, {"sort": "change", **look})
    State(level, side=side, theme=theme, **found)  # raises for what no view can show
    layer, number = parse_head(head, layer)
    chosen = _most_changed(comparison, layer, number, stack)
    sites = comparison.site_pair(chosen.layer, chosen.stack)
    places = sites.queries.places, sites.keys.places
    if query is not None:  # positions along the merged row of tokens
        at = partner(places[0], "a", sites.queries.a.find(query, "query"), 2), None
    elif chosen.query is not None:
        at = chosen.query, chosen.key
    else:
        at = int(sites.rows()[0, 0]) if len(sites.rows()) else 0, chosen.key
    if key is not None:
        at = at[0], partner(places[1], "a", sites.keys.a.find(key, "key"), 2)
    wanted = {"a": 0, "b": 1, "difference": 2}[side]
    row, column = (
        None if one is None else partner(axis, "difference", one, wanted) for axis, one in zip(places, at, strict=True)
    )
    shown = sites.b if side == "b" else sites.a
    everything_given = layer is not None and number is not None
    state = State(
        level,
        theme=theme,
        stack=shown.stack,
        layer=shown.layer,
        head=chosen.head,
        query=row or 0,
        key=column,
        side=side,
        why="" if everything_given else "This head changed most, and here its weights did.",
        **found,
    )
    check_compared(comparison, state)
    editors = editors_of_both(model, tokenizer, comparison)
    return _view(comparison, state, static=static, max_mb=max_mb, steps=steps, exact=exact, editors=editors)


def _most_changed(comparison: Comparison, layer: int | None, head: int | None, stack: str | None) -> HeadChange:
    """The head that changed most, of this layer, head and stack where they are given."""
    found = [one for one in comparison.heads if stack in (None, one.stack)]
    if layer is not None:
        sites = comparison.site_pair(layer, stack)
        found = [one for one in found if (one.layer, one.stack) == (sites.a.layer, sites.a.stack)]
        if head is not None:
            sites.a._head(head)
    if head is not None:
        found = [one for one in found if one.head == head]
    if not found:
        missing = f"stack {stack!r}" if head is None else f"head {head}"
        there = "; ".join(comparison.notes) or repr(comparison)
        raise InputError(f"the two traces share no {missing}: {there}")
    return found[0]


def _view(comparison: Comparison, state: State, **options: Any) -> View:
    """The view of A with its partner, and the difference as a payload that holds the notes of both."""

    pair = Pair(comparison)
    view = View(comparison.a, state, render.HOSTS, pair=pair, **options)
    notes = tuple(dict.fromkeys((*view.notes, *view.other.notes)))  # what the size limit did to either
    view.pair = replace(pair, difference=pair_payload.encode(comparison, notes))
    return view
