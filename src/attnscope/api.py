"""The public functions that join rooms: trace, show and compare; and what methods of a Trace reach through the door."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import nn

from attnscope import render
from attnscope.capturing import Recorder, may_attend, no_attention, rerun as rerun
from attnscope.comparing.alignment import partner
from attnscope.comparing.comparison import Comparison, comparison_of
from attnscope.errors import CaptureError, InputError
from attnscope.models.inputs import Prepared, prepare
from attnscope.models.loading import loaded_as
from attnscope.payload import difference as pair_payload
from attnscope.payload.codec import arrays as arrays, save as save
from attnscope.tracing.site import parse_head
from attnscope.tracing.trace import Trace
from attnscope.views.default_place import choose_opening
from attnscope.views.state import State
from attnscope.views.view import Pair, View

FOR_STEPS = frozenset({"x", "pre_rotary", "projections"})  # what show() keeps, for texts of up to so many tokens
KEEP_UP_TO = 1024


def trace(
    model: Any,
    tokenizer: Any,
    text: str | None = None,
    *,
    text_pair: str | None = None,
    text_target: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    inputs: Mapping[str, Any] | None = None,
    generate: int = 0,
    layers: Sequence[int] | None = None,
    sites: Sequence[str] | None = None,
    keep: Sequence[str] | frozenset[str] | set[str] = (),
    truncate: bool = False,
) -> Trace:
    """Run `model` once on a text and keep what its attention did.

    Give exactly one of `text` (with `text_pair` for two sentences), `messages` (a chat, through the tokenizer's own
    template) and `inputs` (ready tensors, one row). Encoder-decoder models read `text_target` in their decoder, or start
    from decoder_start_token_id and say so. `generate=40` lets the model continue the text greedily by up to 40 tokens
    and traces the whole in one causal pass. `layers` and `sites` limit what is kept; `keep` adds what the
    chain has before q, k and v: "x" (the input of every layer: layers × T × M numbers), "pre_rotary" (q and k before rotary
    embedding: as much as q and k) and "projections" (W_q, W_k, W_v: references to the model's parameters, no copies).
    `truncate=True` cuts a text that is too long, and says so in the trace's notes; otherwise that is an InputError.
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"the first argument must be the model, a torch module; {type(model).__name__} came. The tokenizer is the second."
        )
    if not may_attend(model):
        raise CaptureError(f"{type(model).__name__} cannot be traced: {no_attention(model)}")
    prepared = prepare(
        model, tokenizer, text=text, text_pair=text_pair, text_target=text_target, messages=messages, inputs=inputs,
        generate=generate, truncate=truncate,
    )  # fmt: skip
    kept = frozenset() if keep is FOR_STEPS and len(prepared.tokens) > KEEP_UP_TO else frozenset(keep)
    given = {
        "text": text, "text_pair": text_pair, "text_target": text_target, "messages": messages, "inputs": inputs is not None,
        "generate": generate, "layers": layers, "sites": sites, "truncate": truncate,
        "keep": None if keep is FOR_STEPS else sorted(keep),
    }  # fmt: skip
    model = getattr(model, "_orig_mod", model)
    return replace(_run(model, prepared, layers, sites, kept), source=_source(model, given))


def _source(model: Any, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What was traced, as arguments that Python can be given again; None where they cannot be written as JSON."""
    said = {**loaded_as(model), **{name: value for name, value in given.items() if value}}
    try:
        return json.loads(json.dumps(said, default=list))
    except (TypeError, ValueError):
        return None


def _run(
    model: Any, prepared: Prepared, layers: Sequence[int] | None, sites: Sequence[str] | None, keep: frozenset[str]
) -> Trace:
    """One forward pass in eval mode, without gradients and without a cache."""
    recorder = Recorder(model, keep=keep, layers=layers, sites=sites, own_thread=True)
    notes = list(prepared.notes)
    was_training = model.training
    if was_training:
        notes.append("The model was in training mode; it was put in eval mode for this pass, so dropout is off.")
        model.eval()
    recorder.open()
    try:
        with torch.no_grad():
            model(**prepared.inputs)
    finally:
        recorder.close()
        if was_training:
            model.train()
    _one_row(prepared.inputs, recorder.rows())
    return recorder.trace(
        tokens=prepared.tokens if len(prepared.tokens) else None,  # None: positions get numbers for names
        target=prepared.target,
        name=prepared.name,
        notes=notes,
        inputs=prepared.inputs,
    )


def _one_row(inputs: Mapping[str, Any], rows: int) -> None:
    """Refuse a batch in inputs of a model's own, whose axes only its attention tells."""
    for name, value in inputs.items() if rows > 1 else ():
        # [B, …], or [T, B, M] as nn.MultiheadAttention has it
        if isinstance(value, torch.Tensor) and rows in value.shape[: 2 if value.ndim == 3 else 1]:
            raise InputError(
                f"inputs[{name!r}] has shape {list(value.shape)}, and attention ran on a batch of {rows} rows; a trace is of "
                "one: pass one row, or use attnscope.capture and recorder.trace(index=…)."
            )


def show(
    model: Any,
    tokenizer: Any,
    text: str | None = None,
    *,
    level: str = "neuron",
    layer: int | None = None,
    head: int | str | None = None,
    query: int | str | None = None,
    key: int | str | None = None,
    stack: str | None = None,
    theme: str = "auto",
    static: bool = False,
    max_mb: float = 12,
    steps: str = "head",
    exact: bool = False,
    **options: Any,
) -> View:
    """Trace a text and look at it: `show_trace(trace(model, tokenizer, text, **options), …)`.

    For texts of up to 1,024 tokens it also keeps x, q and k before rotary embedding, and the projections of every head
    (references, no copies), so that the steps level begins at x. `steps` says for whom the view holds them: "head" (the
    one it opens on), "all" or "none".
    """
    look = {name: options.pop(name) for name in [*options] if name in State.__dataclass_fields__}
    keep = options.pop("keep", {"head": FOR_STEPS, "all": set(FOR_STEPS)}.get(steps, ()))
    traced = trace(model, tokenizer, text, keep=keep, **options)
    return show_trace(
        traced, level=level, layer=layer, head=head, query=query, key=key, stack=stack, theme=theme, static=static,
        max_mb=max_mb, steps=steps, exact=exact, **look,
    )  # fmt: skip


def show_trace(
    traced: Trace,
    *,
    level: str = "neuron",
    layer: int | None = None,
    head: int | str | None = None,
    query: int | str | None = None,
    key: int | str | None = None,
    stack: str | None = None,
    theme: str = "auto",
    filter: str = "all",
    static: bool = False,
    max_mb: float = 12,
    steps: str = "head",
    exact: bool = False,
    **look: Any,
) -> View:
    """A View of a trace; draws nothing by itself.

    Layers and heads count from 0; `head` may be a name such as "L2H8". `query` and `key` are positions or tokens as
    written. What is not given is chosen: the strongest link between two different words, and the view says so. `look`
    takes the other fields of `attnscope.views.state.State`: heads, average, queries, combine, threshold, quantity, log, words,
    special, sort, thumbs, dim. `max_mb` is the size of the numbers in a page, in MB; the app and the small pictures of all
    heads add 0.4 to 1.4. Above 3 MB they are rounded to fp16; `exact=True` keeps them as they are, as far as `max_mb` goes. Raises InputError for anything out of range.
    """
    _check_look(look)
    State(level, theme=theme, filter=filter, **look)  # raises for what no view can be asked
    for name, value in (("layer", layer), ("query", query), ("key", key)):
        if isinstance(value, bool) or not (
            value is None or hasattr(value, "__index__") or (isinstance(value, str) and name != "layer")
        ):
            kinds = "a number" if name == "layer" else "a position or a token as written"
            raise InputError(f"{name} must be {kinds}; {value!r} came.")
    layer, number = parse_head(head, layer)
    state = _place(traced, layer, number, query, key, stack)
    return View(
        traced,
        State(level, theme=theme, filter=filter, **look, **state),
        render.HOSTS,
        static=static,
        max_mb=max_mb,
        steps=steps,
        exact=exact,
    )


def compare(trace_a: Any, trace_b: Any) -> Comparison:
    """Lay two traces beside each other: two texts, or two checkpoints (a model and what training made of it).

    Tokens are aligned by their spelling in the vocabulary, layers by stack and number, heads by number; what has no
    partner is kept, and said. The result tells how much each head changed (`heads`, most changed first), the weights of
    B − A (`difference(layer, head)`), and shows both (`show()`). Raises InputError where the two have no token or no layer
    in common.
    """
    return comparison_of(trace_a, trace_b)


def show_comparison(
    comparison: Comparison,
    *,
    level: str = "model",
    side: str = "difference",
    layer: int | None = None,
    head: int | str | None = None,
    query: int | str | None = None,
    key: int | str | None = None,
    stack: str | None = None,
    sort: str = "change",
    static: bool = False,
    max_mb: float = 12,
    steps: str = "head",
    exact: bool = True,
    **look: Any,
) -> View:
    """A View of both traces of a comparison; arguments as of `show_trace`, places as in A.

    What is not given is chosen: the head that changed most (of the layer, where there is one), and the pair of words whose
    weight changed most. `exact`: small differences need all digits, so views are not rounded while they fit `max_mb`, which
    is for both traces together.
    """
    _check_look(look)
    State(level, side=side, sort=sort, **look)
    layer, number = parse_head(head, layer)
    found = [one for one in comparison.heads if stack in (None, one.stack)]
    if layer is not None:
        sites = comparison.site_pair(layer, stack)
        found = [one for one in found if (one.layer, one.stack) == (sites.a.layer, sites.a.stack)]
        if number is not None:
            sites.a._head(number)
            found = [one for one in found if one.head == number]
    elif number is not None:
        found = [one for one in found if one.head == number]
    if not found:
        raise InputError(f"the two traces share no {'head ' + str(number) if number is not None else 'stack ' + repr(stack)}: {'; '.join(comparison.notes) or repr(comparison)}")  # fmt: skip
    chosen = found[0]
    sites = comparison.site_pair(chosen.layer, chosen.stack)
    places = sites.queries.places, sites.keys.places
    first = int(sites.rows()[0, 0]) if len(sites.rows()) else 0
    at = (first if chosen.query is None else chosen.query), chosen.key
    if query is not None:
        wanted = partner(places[0], "a", sites.queries.a.find(query, "query"), 2)
        at = wanted, None
    if key is not None:
        at = at[0], partner(places[1], "a", sites.keys.a.find(key, "key"), 2)
    number_of = {"a": 0, "b": 1, "difference": 2}[side]
    here = [None if one is None else partner(axis, "difference", one, number_of) for axis, one in zip(places, at, strict=True)]  # fmt: skip
    other = sites.b if side == "b" else sites.a
    why = "" if layer is not None and number is not None else "This head changed most, and here its weights did."
    state = State(
        level, stack=other.stack, layer=other.layer, head=chosen.head, query=here[0] or 0, key=here[1], sort=sort, side=side,
        why=why, **look,
    )  # fmt: skip
    pair = Pair(comparison)
    view = View(comparison.a, state, render.HOSTS, static=static, max_mb=max_mb, steps=steps, exact=exact, pair=pair)
    notes = tuple(dict.fromkeys((*view.notes, *view.other.notes)))  # what the size limit did to either
    view.pair = replace(pair, difference=pair_payload.encode(comparison, notes))
    return view


def _place(
    traced: Trace,
    layer: int | None,
    head: int | None,
    query: int | str | None,
    key: int | str | None,
    stack: str | None,
) -> dict[str, Any]:
    """The state's stack, layer, head, query, key and why."""
    if layer is not None:
        candidates = (traced.site(layer, stack),)
    elif stack is not None:
        candidates = tuple(site for site in traced.sites if site.stack == stack)
        if not candidates:
            traced.site(0, stack)  # raises, naming the stacks there are
    else:
        candidates = tuple(site for site in traced.sites if site.kind == "self") or traced.sites
    if head is not None:
        head = candidates[0]._head(head)
    row = None
    if query is not None:
        row = traced.query_tokens(candidates[0]).find(query, "query")
        first = candidates[0].query_offset
        if row < first:
            raise InputError(
                f"query {row} is not in this pass: it holds the queries {first} to {first + candidates[0].queries - 1}."
            )
    opening = choose_opening(traced, candidates, head, row)
    site = opening.site
    chosen_all = layer is not None and head is not None and row is not None
    if chosen_all:
        column = int(site.weights(opening.head, opening.query - site.query_offset)[0].nan_to_num(0.0).argmax())
    else:
        column = opening.key
    if key is not None:
        column = traced.key_tokens(site).find(key, "key")
    return {
        "stack": site.stack, "layer": site.layer, "head": opening.head, "query": opening.query, "key": column,
        "why": "" if chosen_all else opening.why,
    }  # fmt: skip


def _check_look(look: Mapping[str, Any]) -> None:
    known = {field.name for field in fields(State)} - {"why"}
    for name in look:
        if name not in known:
            raise InputError(
                f"show() has no argument {name!r}; it takes {', '.join(sorted(known))}, static and max_mb."
            )
