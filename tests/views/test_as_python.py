"""The code that makes a view again is the page's in every case: tests/cases/as_python.json, which vitest reads too."""

import ast
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

import attnscope
import tiny_models as tiny
from attnscope import Tokens, Trace
from attnscope.tracing.trace import ModelInfo
from attnscope.views.as_python import python, python_of_comparison
from attnscope.views.state import CHOICES, State
from attnscope.views.view import View
from made_streams import streamed

CASES = json.loads((Path(__file__).parents[1] / "cases" / "as_python.json").read_text("utf-8"))


def model(given: dict[str, str]) -> ModelInfo:
    return ModelInfo(given["name"], given["class"])


@pytest.mark.parametrize("case", CASES["views"], ids=lambda case: case["name"])
def test_a_view(case: dict[str, Any]) -> None:
    given = State(**case["state"])
    badges = [badge for site in case.get("sites", []) for head in site["roles"] for badge in head]
    kinds = {badge.get("kind", "role") for badge in badges}
    code = python(case["source"], model(case["model"]), given, case.get("look"), kinds)
    assert code == case["said"]
    ast.parse(code)


@pytest.mark.parametrize("case", CASES["pairs"], ids=lambda case: case["name"])
def test_a_comparison(case: dict[str, Any]) -> None:
    sides = []
    for side in case["sides"]:
        length = side.get("tokens", 5)
        made = Trace.from_qkv(*torch.zeros(3, 1, 2, length, 7).unbind(), tokens=[*map(str, range(length))])
        sides.append(dataclasses.replace(made, source=side["source"], model=model(side["model"])))
    a, b = sides
    code = python_of_comparison(a, b, State(**case["state"]))
    assert code == case["said"]
    ast.parse(code)


def test_the_cases_have_every_field() -> None:
    names = {row.name for row in State.table() if row.name not in ("why", "side")}
    assert any(names <= case["state"].keys() for case in CASES["views"])
    assert any({*names, "side"} - {"filter"} <= case["state"].keys() for case in CASES["pairs"])


TIMES = ["0.00 s", "0.02 s", "0.04 s", "silence 0.06 s", "silence 0.08 s"]


def of_sound() -> Trace:
    """As a model that hears: most of what it reads may be silence."""
    tokens = Tokens(tuple(TIMES), special=(False,) * 3 + (True,) * 2)
    return Trace.from_qkv(
        *torch.randn(3, 3, 2, 5, 7, generator=torch.Generator().manual_seed(0)).unbind(), tokens=tokens
    )


def of_words() -> Trace:
    return attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "the cat", text_pair="a dog sat")


def of_two_stacks() -> Trace:
    return attnscope.trace(tiny.model("t5"), None, inputs=tiny.inputs("t5", 5))


def of_stream() -> Trace:
    return dataclasses.replace(streamed(), model=ModelInfo("from_qkv", ""))


MADE = {"sound": of_sound(), "words": of_words(), "stacks": of_two_stacks(), "stream": of_stream()}


@st.composite
def places(draw: Any, names: Any = tuple(MADE)) -> tuple[str, State]:
    """A trace, and a state that a page of it can reach."""
    name = draw(st.sampled_from(names))
    site = draw(st.sampled_from(MADE[name].sites))
    heads, rows = st.integers(0, site.heads - 1), st.integers(0, site.queries - 1)
    several = {"heads": heads, "queries": rows}
    fields: dict[str, Any] = {
        row.name: draw(st.sampled_from(row.metadata["choices"]))
        for row in State.table()
        if row.metadata["choices"] and row.name != "side"
    }
    if fields["level"] == "stream" and name != "stream":
        fields["level"] = "head"
    ids = st.none() | st.integers(0, 40)
    fields |= {"target": draw(ids), "against": draw(ids), "lens": draw(st.booleans())}
    fields |= {field: tuple(draw(st.lists(one, max_size=3, unique=True))) for field, one in several.items()}
    state = State(
        **fields,
        stack=site.stack,
        layer=site.layer,
        head=draw(heads),
        query=draw(rows),
        key=draw(st.none() | st.integers(0, site.keys - 1)),
        threshold=draw(st.floats(0, 1)),
        log=draw(st.booleans()),
        words=draw(st.booleans()),
        sort=draw(st.sampled_from(["layer", "entropy", "pair"])),
        dim=draw(st.none() | st.integers(0, site.head_size - 1)),
    )
    return name, state


def run(code: str, **known: Any) -> Any:
    found = {"text": ["the cat"], **known}
    exec(code, found)
    return found["view"]


@settings(max_examples=60, deadline=None)
@given(places())
def test_the_code_makes_the_view_again(place: tuple[str, State]) -> None:
    """A page's address, the view there, the code that it copies, and the view which that makes."""
    name, state = place
    trace = MADE[name]
    view = View.from_url(f"page.html#{state.fragment}", trace)
    assert view.state == state
    code = view.code
    model = {"sound": None, "stream": None, "words": tiny.model("bert"), "stacks": tiny.model("t5")}[name]
    inputs = tiny.inputs("t5", 5) if name == "stacks" else None
    again = run(code, trace=trace, model=model, tokenizer=tiny.tokenizer(), inputs=inputs)
    assert dataclasses.replace(again.state, why="") == state


@settings(max_examples=60, deadline=None)
@given(places(("words",)), st.sampled_from(CHOICES["side"]))
def test_the_code_makes_the_view_of_a_comparison_again(place: tuple[str, State], side: str) -> None:
    state = dataclasses.replace(place[1], side=side)
    moved = MADE["words"].replace_sites([dataclasses.replace(site, q=site.q * 1.5) for site in MADE["words"].sites])
    view = attnscope.compare(MADE["words"], moved).show().at(**dataclasses.asdict(state))
    code = view.code
    again = run(
        code[: code.index("trace_a =")] + code[code.index("view = ") :],
        trace_a=MADE["words"],
        trace_b=moved,
    )
    assert dataclasses.replace(again.state, why="") == dataclasses.replace(state, why="")
