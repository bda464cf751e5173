"""show(): a trace, and the place and look of a View of it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Unpack

from attnscope import render
from attnscope.api.arguments import Look, check_look, check_place
from attnscope.api.badges import with_effects, with_roles
from attnscope.api.keeping import ByItself
from attnscope.api.live_edits import editors_of
from attnscope.api.stream_level import with_table
from attnscope.api.tracing import trace
from attnscope.errors import InputError
from attnscope.statistics.sink_tokens import leading_key, set_aside
from attnscope.tracing.silence import chosen_look
from attnscope.tracing.site import Site, parse_head
from attnscope.tracing.trace import Trace
from attnscope.views.by_name import numbered
from attnscope.views.default_place import choose_opening
from attnscope.views.state import State
from attnscope.views.stream_place import on_stream
from attnscope.views.validate import check_place as check_state
from attnscope.views.view import View


def show(
    model: Any,
    tokenizer: Any = None,
    text: Any = None,
    *,
    image: Any = None,
    text_pair: str | None = None,
    text_target: str | None = None,
    target_tokens: Sequence[str] | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    inputs: Mapping[str, Any] | None = None,
    generate: int | Mapping[str, Any] = 0,
    ids: Any = None,
    layers: Sequence[int | str] | int | str | None = None,
    sites: Sequence[str] | str | None = None,
    keep: Collection[str] | None = None,
    truncate: bool = False,
    part: int = 0,
    groups: Mapping[str, Any] | None = None,
    level: str = "head",
    layer: int | str | None = None,
    head: int | str | None = None,
    query: int | str | None = None,
    key: int | str | None = None,
    stack: str | None = None,
    theme: str = "auto",
    static: bool = False,
    max_mb: float = 12,
    steps: str = "head",
    exact: bool = False,
    roles: Any = None,
    effects: Any = None,
    **look: Unpack[Look],
) -> View:
    """Trace a text and return a View of the trace. A notebook cell draws it; `view.open()` and `view.save(path)` write it.

    What is traced, as in attnscope.trace: exactly one of `text`, `messages`, `inputs` and `image`.

    - `model`: a torch module, or what holds one, such as a pipeline or a SentenceTransformer. `tokenizer`: its tokenizer;
      None with `inputs`, and where what holds the model has one.
    - `image`: a picture (PIL, numpy or a path), read by the processor that stands in the tokenizer's place; a `text` may
      stand beside it.
    - `text`: what the model reads. `text_pair`: a second sentence. `text_target`: what the decoder reads;
      `target_tokens`: names for it.
    - `messages`: a chat, a list of {"role": …, "content": …}. `inputs`: ready tensors, a batch of one row.
    - `generate`: up to so many tokens that the model adds to the text, or settings of its generate(). `ids`: what a
      generate() of your own returned.
    - `layers`, `sites`: numbers and module paths of the attention to keep; None keeps all.
    - `keep`: what to keep beside q, k and v: "x", "pre_rotary", "projections", "stream". None keeps what `steps` needs, for
      texts of up to 1,024 tokens, and the stream where it takes less than 16 MB or `level` is "stream".
    - `truncate`: True cuts a text that is too long for the model.
    - `part`: of windows, frames or crops that are too many to lay out, the first that is shown, from 0.

    - `groups`: groups of tokens of your own, as in attnscope.trace.

    Where the view opens. What you leave out is chosen: a link between two different words that stands out. The view says why.

    - `level`: "stream" (at all positions where you open it here, at the last ones where you do not), "model", "head" (also "lines"), "matrix" (also "grid"), "neuron" or "steps".
    - `layer`: the layer's number, from 0; −1 is the last. `stack`: "encoder", "decoder" or "cross", where there are several.
    - `head`: the head's number, from 0, or a name such as "L2H8", which names the layer too.
    - `query`, `key`: a token's position, from 0, or the token as it is written.

    How it is shown:

    - `theme`: "auto", "light" or "dark".
    - `static`: True makes a notebook show the page in a frame, which needs no kernel, and not the live widget.
    - `max_mb`: the largest size of the numbers in a page, in MB. The app and the small pictures of all heads add 0.4 to
      1.4 MB. A view that does not fit holds the heads with the strongest links, a page coarse pictures of the others,
      and says so.
    - `exact`: True keeps the numbers as they are, as far as `max_mb` goes. Otherwise views above 3 MB are rounded to fp16.
    - `steps`: the heads whose x, q and k before rotary embedding and projections the view holds, so that the steps level
      begins at x: "head" (the one it opens on), "all" or "none".
    - `heads`: numbers of heads drawn over each other beside `head`. `average`: the mean over the "heads" of the layer,
      over this head of all "layers", over "all" heads, or "none".
    - `queries`: positions of queries selected beside `query`. `combine`: how their rows become one, "mean" or "sum".
    - `threshold`: weights below it, from 0 to 1, are not drawn at the head level, and the view says how much that is.
    - `quantity`: what the matrix shows, "weights", "scores" or "dot" (q · k). `log`: True for a logarithmic scale.
    - `words`: True draws the pieces of a word as one. `special`: "show" or "hide" special tokens (the silence behind a sound, which is hidden
      unless you say "show", is of them) and
      sink tokens: keys that most heads give much weight to, such as the first token of most causal models. What is left
      is drawn on a scale of its own, and the view says how much weight it is without.
    - `group`: the group of tokens that is looked at, by its name or its number in `trace.tokens.groups`. `pooled`: True draws each
      group as one, at the levels "head" and "matrix", but for the one that is looked at.
    - `sort`: the order of the heads at the model level, "layer", the name of a statistic, or "pair" or
      "pair_write": the weight of the query on the key, and what that writes; or "group": its weight on the group. `thumbs`: their pictures,
      "matrix" or "lines".
    - `filter`: of two texts, that of the query and then that of the keys that are shown: "aa", "ab", "ba", "bb" or "all".
    - `dim`: the dimension, from 0, that the running dot product of the steps level has reached; None: the last.
    - `target`, `against`: at the stream level, the token or label whose logit is added up, and the one whose logit is
      subtracted: as text, or an id; None: the two most probable. `lens`: True draws the lens of every position as a grid.
    - `edits`: edits of heads that hold while the live view asks the model for its predictions, as an address holds them: "off_L2H8" (docs/editing.md).
    - `roles`: a RoleTable of attnscope.roles: the model level shows the roles that it claims, and sort="role" orders by
      them.
    - `effects`: an EffectTable of attnscope.effects: the model level shows the heads that leave their band, and sort="effect" orders by
      the effect.

    Raises InputError for arguments that do not fit, and CaptureError for a model that attnscope cannot trace. Drawing and
    saving raise what View.save says.
    """
    traced = trace(
        model,
        tokenizer,
        text,
        image=image,
        text_pair=text_pair,
        text_target=text_target,
        target_tokens=target_tokens,
        messages=messages,
        inputs=inputs,
        generate=generate,
        ids=ids,
        layers=layers,
        sites=sites,
        keep=ByItself(steps, whole=level == "stream") if keep is None else keep,
        truncate=truncate,
        part=part,
        groups=groups,
    )
    if keep is None and level != "stream":
        traced = with_table(traced, level, look, few=True, max_mb=max_mb)
    return show_trace(
        traced,
        level=level,
        layer=layer,
        head=head,
        query=query,
        key=key,
        stack=stack,
        theme=theme,
        static=static,
        max_mb=max_mb,
        steps=steps,
        exact=exact,
        roles=roles,
        effects=effects,
        model=model,
        tokenizer=tokenizer,
        **look,
    )


def show_trace(
    traced: Trace,
    *,
    level: str = "head",
    layer: int | str | None = None,
    head: int | str | None = None,
    query: int | str | None = None,
    key: int | str | None = None,
    stack: str | None = None,
    theme: str = "auto",
    static: bool = False,
    max_mb: float = 12,
    steps: str = "head",
    exact: bool = False,
    roles: Any = None,
    effects: Any = None,
    model: Any = None,
    tokenizer: Any = None,
    **look: Unpack[Look],
) -> View:
    """A View of a trace; `show` says what the arguments mean. `model`, `tokenizer`: those that were traced, for edits in a live view; None: it has none. Raises
    InputError for anything out of range."""
    check_look(look)
    traced = with_table(traced, level, look, max_mb=max_mb)
    if roles is not None:
        traced = with_roles(traced, roles)
    if effects is not None:
        traced = with_effects(traced, effects)
    chosen = numbered(traced, {**chosen_look(traced.tables), **look})
    State(level, theme=theme, **chosen)  # raises for what no view can show
    check_place(layer, query, key)
    layer, number = parse_head(head, layer)
    named = number is not None
    if level == "stream":
        stack, layer, number, query = on_stream(traced, stack, layer, number, query, chosen)
    place = _place(traced, layer, number, query, key, stack)
    state = State(level, theme=theme, **chosen, **place)
    check_state(traced, state)
    editors = editors_of(model, tokenizer, traced)
    options: dict[str, Any] = {"static": static, "max_mb": max_mb, "steps": steps, "exact": exact, "chosen": named}
    return View(traced, state, render.HOSTS, editors=editors, **options)


def _place(
    traced: Trace,
    layer: int | None,
    head: int | None,
    query: int | str | None,
    key: int | str | None,
    stack: str | None,
) -> dict[str, Any]:
    """The state's stack, layer, head, query, key and why."""
    candidates = _candidates(traced, layer, stack)
    if head is not None:
        head = candidates[0]._head(head)
    row = None if query is None else _row(traced, candidates[0], query)
    opening = choose_opening(traced, candidates, head, row)
    site = opening.site
    column, why = opening.key, opening.why
    if layer is not None and head is not None and row is not None:  # nothing was left to choose but the key
        weights = site.weights(opening.head, opening.query - site.query_offset)[0]
        column = leading_key(weights, set_aside(traced, site))
        why = ""
    if key is not None:
        column = traced.key_tokens(site).find(key, "key")
    place = {"stack": site.stack, "layer": site.layer, "head": opening.head}
    return {**place, "query": opening.query, "key": column, "why": why}


def _candidates(traced: Trace, layer: int | None, stack: str | None) -> tuple[Site, ...]:
    """The sites among which a place is chosen: one layer, one stack, or all self attention."""
    if layer is not None:
        return (traced.site(layer, stack),)
    if stack is None:
        return tuple(site for site in traced.sites if site.kind == "self") or traced.sites
    found = tuple(site for site in traced.sites if site.stack == stack)
    return found or (traced.site(0, stack),)  # raises, naming the stacks there are


def _row(traced: Trace, site: Site, query: int | str) -> int:
    """The query's position in the text. Raises InputError for one that an earlier, cached pass read."""
    row = traced.query_tokens(site).find(query, "query")
    first = site.query_offset
    if row < first:
        raise InputError(
            f"query {row} is not in this pass: expected a query from {first} to {first + site.queries - 1}. "
            "The earlier ones were read by an earlier pass."
        )
    return row
