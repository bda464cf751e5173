"""Every parameter of every public callable stands in its docstring: in backquotes, or as a line `name: …`."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import attnscope
import attnscope.attention
import attnscope.bertviz
from attnscope.api.arguments import Look
from attnscope.capturing import Recorder
from attnscope.comparing.comparison import Comparison
from attnscope.doctor import Diagnosis
from attnscope.views.state import State

CLASSES = (attnscope.Trace, attnscope.Site, attnscope.Tokens, attnscope.View, attnscope.Receipt)
CLASSES += (Recorder, Comparison, Diagnosis)
INNER = {"attnscope.bertviz.drawing", "attnscope.bertviz.given"}  # BertViz has no such modules

# Callables whose docstrings still lack a parameter. Nothing is added here: a new parameter is documented at once.
NOT_YET = frozenset(
    """
    Comparison Comparison.beside Comparison.difference Comparison.places Comparison.show Diagnosis Diagnosis.report
    Diagnosis.to_json Diagnosis.told View View.figure View.from_url View.plot View.save attnscope.check
    """.split()
)


def of_module(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The public functions and classes that a module defines or exports, by their full names."""
    for name in getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]:
        value = getattr(module, name)
        if getattr(value, "__module__", "").startswith(module.__name__) and not inspect.ismodule(value):
            yield f"{module.__name__}.{name}", value


def methods(owner: type) -> Iterator[tuple[str, Any]]:
    """The public methods that attnscope wrote, and not torch or Python."""
    for name, value in inspect.getmembers(owner, callable):
        function = inspect.unwrap(getattr(value, "__func__", value))
        written = getattr(function, "__module__", "") or ""
        if not name.startswith("_") and written.startswith("attnscope"):
            yield f"{owner.__name__}.{name}", value


def callables() -> dict[str, Callable[..., Any]]:
    found: dict[str, Any] = {f"attnscope.{name}": getattr(attnscope, name) for name in attnscope.__all__}
    for package in (attnscope.attention, attnscope.bertviz):
        found |= dict(of_module(package))
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name not in INNER:
                found |= dict(of_module(importlib.import_module(module.name)))
    classes = {value for value in found.values() if inspect.isclass(value)} | set(CLASSES)
    for owner in classes:
        found |= dict(methods(owner)) | {owner.__name__: owner}
    # Errors are raised by attnscope and made by nobody else. One object has one entry, under its shortest name.
    unique: dict[int, tuple[str, Any]] = {}
    for name, value in sorted(found.items(), key=lambda entry: len(entry[0])):
        if callable(value) and not (inspect.isclass(value) and issubclass(value, Exception)):
            unique.setdefault(id(getattr(value, "__func__", value)), (name, value))
    return dict(sorted(unique.values()))


def parameters(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters; of keywords that a TypedDict describes, each of its names."""
    names: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name.startswith("_") or name in ("self", "cls"):
            continue
        if parameter.kind is parameter.VAR_KEYWORD and typing.get_origin(parameter.annotation) is typing.Unpack:
            names += typing.get_args(parameter.annotation)[0].__annotations__
        else:
            names.append(name)
    return names


def docstring(function: Callable[..., Any]) -> str:
    """Of a class, with that of its constructor and of its call."""
    parts = [function.__doc__]
    if inspect.isclass(function):
        parts += [getattr(function, name).__doc__ for name in ("__init__", "forward") if hasattr(function, name)]
    return "\n".join(part for part in parts if part)


def lacking(function: Callable[..., Any]) -> list[str]:
    text = docstring(function)
    return [
        name
        for name in parameters(function)
        if not re.search(rf"`\**{name}(?![\w(.])[^`]*`|^\s*(- )?\**{name}( \([^)]*\))?:", text, re.M)
    ]


FOUND = callables()


def test_the_search_finds_every_public_callable() -> None:
    expected = {
        "attnscope.show", "attnscope.check", "Trace", "Trace.from_qkv", "Site.weights", "Tokens.find", "View.save",
        "Recorder.trace", "Comparison.show", "Diagnosis", "MultiHeadAttention.from_site",
        "attnscope.attention.scaled_dot_product_attention", "attnscope.bertviz.head_view", "attnscope.bertviz.neuron_view.show",
    }  # fmt: skip
    assert expected <= FOUND.keys()


@pytest.mark.parametrize("name", FOUND)
def test_every_parameter_is_documented(name: str, request: pytest.FixtureRequest) -> None:
    if name in NOT_YET:
        request.applymarker(pytest.mark.xfail(strict=False, reason="its docstring lacks a parameter"))
    function = FOUND[name]
    assert docstring(function), f"{name} has no docstring"
    assert lacking(function) == [], f"{name}: parameters that its docstring does not name"


def test_show_takes_every_field_of_a_state_but_the_side_of_a_comparison() -> None:
    fields = {field.name for field in dataclasses.fields(State)} - {"why", "side"}
    assert fields - {*parameters(attnscope.show)} == set()
    assert Look.__annotations__.keys() - fields == set()


def test_a_parameter_without_a_word_is_found() -> None:
    class Look(typing.TypedDict, total=False):
        words: bool
        theme: str

    def shown(trace: Any, layer: int, head: int = 0, *more: int, **look: typing.Unpack[Look]) -> None:
        """Show `trace` at this layer; `head=0` is the first, and more is a word like any other.

        theme: "light" or "dark".
        """

    assert lacking(shown) == ["layer", "more", "words"]
