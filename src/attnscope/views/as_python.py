"""The lines of Python that make a view again, as the page's "Copy as Python" writes them.

The page has its own copy in scene/as-python.ts; tests/cases/as_python.json holds the two together.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attnscope.text.characters import printable
from attnscope.tracing.trace import ModelInfo, Trace
from attnscope.views.head_edits import parse_edits
from attnscope.views.state import State, number

# Arguments of attnscope.load; all others are arguments of attnscope.trace.
LOAD = frozenset({"model", "task", "device", "dtype", "revision", "trust_remote_code"})
OTHER_READING = frozenset("text_target target_tokens messages inputs image generate ids truncate".split())
FROM_TENSORS = ("from_qkv", "from_attentions")  # traces without a text
PLACE = ("layer", "head", "query", "key", "stack")
OF_THE_PLACE = ("heads", "queries", "dim")  # of a comparison: what may not be there at the place that show chooses
_C1 = re.compile(
    "[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)  # what JSON leaves as it is and a terminal acts on
LONGEST = 92  # characters of a call on one line


def python(
    source: Mapping[str, Any] | None,
    model: ModelInfo,
    state: State,
    chosen: Mapping[str, Any] | None = None,
    kinds: Collection[str] = (),
) -> str:
    """Lines that load, trace and show. What cannot be written down (tensors, your own model) is a comment.

    `chosen`: fields that `show` sets by itself for this trace; they are written where the state has another value. `kinds`:
    of the badges that the view shows.
    """
    chosen = chosen or {}
    shown = [
        (row.name, value)
        for row in State.table()
        if row.name != "why"
        and ((value := getattr(state, row.name)) != chosen.get(row.name, row.default) or row.metadata["always"])
    ]
    lines, what, given = _opening(source, model)
    if "role" in kinds:
        lines.append("# table: the roles of its heads, as you made it with attnscope.roles")
        given.append("roles=table")
    if "effect" in kinds:
        lines.append("# effects: of its heads, as you measured them with attnscope.effects")
        given.append("effects=effects")
    view = f"view = {_call(what, [*given, *_named(shown)])}"
    if state.key is None:  # show pins a key; at(key=None) lets it go, and the strongest one is followed
        view += "\nview = view.at(key=None)"
    edits = [] if what == "trace.show" else edited(state, source or {}, "view.trace")
    return "\n".join(["import attnscope", "", *lines, view, "view", *edits]) + "\n"


def edited(
    state: State, source: Mapping[str, Any], trace: str, other: str = "trace", before: Sequence[str] = ()
) -> list[str]:
    """Lines that make the edits of a state, and ask for their effect on a text; none without edits.

    `source`: of the text. `trace`: the name of its trace; `other`: what stands in the brackets of a patch. `before`: lines that load the model anew.
    """
    if not state.edits:
        return []
    text = isinstance(source.get("text"), str) and not source.keys() & OTHER_READING
    given = [_literal(source["text"])] if text else [f"inputs={trace}.inputs"]
    given += _named([("text_pair", source["text_pair"])]) if text and source.get("text_pair") else []
    asked = [(name, getattr(state, name)) for name in ("target", "against")]
    given += _named([*((name, value) for name, value in asked if value is not None), ("control", 20)])
    call = _call("effect = edit.effect", given).replace("\n", "\n    ")
    return [
        "",
        *before,
        "with attnscope.edit(model, tokenizer) as edit:",
        *(f"    {one.code(other)}" for one in parse_edits(state.edits)),
        f"    {call}",
        "print(effect)",
    ]


def python_of_comparison(a: Trace, b: Trace, state: State) -> str:
    """Lines that load, trace and compare two."""
    lines: list[str] = []
    loads: list[list[str]] = []
    for name, trace in (("a", a), ("b", b)):
        before, what, given = _opening(trace.source, trace.model)
        loads.append([line for line in before if line.startswith(("model, tokenizer", "# model, tokenizer"))])
        lines += [line.replace("# trace:", f"# trace_{name}:") for line in before if line not in lines]
        if what == "attnscope.show":
            lines.append(f"trace_{name} = {_call('attnscope.trace', given)}")
    initial = State(side="difference", level="model", sort="change")
    names = [row.name for row in State.table() if row.name != "why"]
    look = [name for name in names if name not in PLACE and getattr(state, name) != getattr(initial, name)]
    place = [name for name in PLACE if name != "stack" or state.stack]
    place += [name for name in look if name in OF_THE_PLACE]
    look = [name for name in look if name not in OF_THE_PLACE]
    shown, moved = ([(name, getattr(state, name)) for name in some] for some in (look, place))
    view = f"view = {_call('attnscope.compare(trace_a, trace_b).show', _named(shown))}"
    moved = f"view = {_call('view.at', _named(moved))}"
    side, other, trace = ("b", "a", b) if state.side == "b" else ("a", "b", a)
    own = loads["ab".index(side)] if loads[0] != loads[1] else []
    patch = f"trace_{other}"
    if len(a.tokens) != len(b.tokens):
        pairs = "attnscope.compare(trace_a, trace_b).alignment.pairs"
        patch += f", align=dict({pairs})" if side == "a" else f", align={{b: a for a, b in {pairs}}}"
    edits = edited(state, trace.source or {}, f"trace_{side}", patch, own) if loads["ab".index(side)] else []
    return "\n".join(["import attnscope", "", *lines, view, moved, "view", *edits]) + "\n"


def _opening(source: Mapping[str, Any] | None, model: ModelInfo) -> tuple[list[str], str, list[str]]:
    """The lines before the view, the function that makes it, and that function's first arguments."""
    name = printable(" ".join((model.name or model.class_name).split())[:120])
    if source is None and model.name in FROM_TENSORS:
        return [f"# trace: as you made it with Trace.{name}"], "trace.show", []
    source = source or {}
    load = [(key, value) for key, value in source.items() if key in LOAD and key != "model"]
    if isinstance(source.get("model"), str):
        lines = [f"model, tokenizer = {_call('attnscope.load', [_literal(source['model']), *_named(load)])}"]
    else:
        lines = [f"# model, tokenizer: {name}, as you loaded them"]
    given = ["model", "tokenizer"]
    if source.get("inputs"):
        lines.append("# inputs: the tensors that the model was given")
        given.append("inputs=inputs")
    elif isinstance(source.get("text"), str):
        given.append(_literal(source["text"]))
    elif not (source.get("messages") or source.get("image")):
        lines.append("# text: what the model was given to read")
        given.append("text")
    rest = [(key, value) for key, value in source.items() if key not in LOAD and key not in ("text", "inputs")]
    return lines, "attnscope.show", [*given, *_named(rest)]


def _literal(value: Any) -> str:
    """As Python writes it. A JSON string is a Python string as well."""
    if isinstance(value, str):
        return _C1.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_literal(name)}: {_literal(one)}' for name, one in value.items())}}}"
    return number(value) if isinstance(value, float) else repr(value)


def _named(given: list[tuple[str, Any]]) -> list[str]:
    return [f"{name}={_literal(value)}" for name, value in given]


def _call(what: str, parts: list[str]) -> str:
    """On one line where it fits, else an argument a line."""
    line = f"{what}({', '.join(parts)})"
    return line if len(line) <= LONGEST else f"{what}(\n{''.join(f'    {part},' + chr(10) for part in parts)})"
