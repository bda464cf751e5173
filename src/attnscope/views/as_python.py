"""The lines of Python that make a view again: the same as a page's "copy as Python" (frontend/src/app/python.ts)."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from attnscope.tracing.trace import ModelInfo, Trace
from attnscope.views.state import State

LOAD = frozenset(
    {"model", "task", "device", "dtype", "revision", "trust_remote_code"}
)  # arguments of load; others are trace's
HANDED_IN = ("from_qkv", "from_attentions")  # traces that nobody's text was read for
LONGEST = 92  # characters of a call on one line


def python(source: Mapping[str, Any] | None, model: ModelInfo, state: State) -> str:
    """Lines that load, trace and show; what cannot be written down (tensors, a model of the reader's own) is a comment."""
    initial = State()
    shown = []
    for name in (field.name for field in fields(State)):
        value = getattr(state, name)
        if name == "why" or (name == "key" and value is None):
            continue
        if name in ("layer", "head", "query") or value != getattr(initial, name):
            shown.append((name, value))
    lines, what, given = _opening(source, model)
    imports = ["import attnscope"]
    view = f"view = {_call(what, [*given, *_named(shown)])}"
    if state.key is None:  # show pins a key; here none is pinned, and the strongest one is followed
        imports.append("from attnscope.views.view import with_state")
        view += "\nview = with_state(view, key=None)"
    return "\n".join([*imports, "", *lines, view, "view"]) + "\n"


def python_of_comparison(a: Trace, b: Trace, state: State) -> str:
    """Lines that load, trace and compare two."""
    lines: list[str] = []
    for name, trace in (("a", a), ("b", b)):
        before, what, given = _opening(trace.source, trace.model)
        lines += [line.replace("# trace:", f"# trace_{name}:") for line in before if line not in lines]
        if what == "attnscope.show":
            lines.append(f"trace_{name} = {_call('attnscope.trace', given)}")
    initial = State(side="difference", level="model", sort="change")
    shown = [
        (name, value)
        for name, value in ((field.name, getattr(state, field.name)) for field in fields(State))
        if name not in ("why", "layer", "head", "query", "key", "stack") and value != getattr(initial, name)
    ]
    place = [(name, getattr(state, name)) for name in ("layer", "head", "query", "key", "stack")]
    view = f"view = {_call('attnscope.compare(trace_a, trace_b).show', _named(shown))}"
    moved = f"view = {_call('with_state', ['view', *_named([p for p in place if p[0] != 'stack' or p[1]])])}"
    return (
        "\n".join(["import attnscope", "from attnscope.views.view import with_state", "", *lines, view, moved, "view"])
        + "\n"
    )


def _opening(source: Mapping[str, Any] | None, model: ModelInfo) -> tuple[list[str], str, list[str]]:
    """What must be there before the view can be made, and the view's function with its first arguments."""
    name = " ".join((model.name or model.class_name).split())[:120]
    if source is None and model.name in HANDED_IN:
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
    elif not source.get("messages"):
        lines.append("# text: what the model was given to read")
        given.append("text")
    rest = [(key, value) for key, value in source.items() if key not in LOAD and key not in ("text", "inputs")]
    return lines, "attnscope.show", [*given, *_named(rest)]


def _literal(value: Any) -> str:
    """As Python writes it. A JSON string is a Python string as well."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_literal(name)}: {_literal(one)}' for name, one in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else repr(value)


def _named(given: list[tuple[str, Any]]) -> list[str]:
    return [f"{name}={_literal(value)}" for name, value in given]


def _call(what: str, parts: list[str]) -> str:
    """On one line where it fits, else an argument a line."""
    line = f"{what}({', '.join(parts)})"
    return line if len(line) <= LONGEST else f"{what}(\n{''.join(f'    {part},' + chr(10) for part in parts)})"
