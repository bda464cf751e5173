"""The sentence of a query is the page's in every case: tests/cases/sentences.json, which vitest reads too."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import attnscope
from attnscope import Trace
from attnscope.text.spelling import Label
from attnscope.views.sentences.labels import as_text
from attnscope.views.sentences.pair import PairRow, Side, sentence_of_pair
from attnscope.views.sentences.query import QueryRow, sentence_of_query
from attnscope.views.sentences.sentence import query_row, strongest, title

CASES = json.loads((Path(__file__).parents[1] / "cases" / "sentences.json").read_text("utf-8"))


def numbers(values: list[Any] | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]


@pytest.mark.parametrize("case", CASES["queries"], ids=lambda case: case["name"])
def test_a_query(case: dict[str, Any]) -> None:
    keys = [Label(**label) for label in case["keys"]]
    row = QueryRow(
        keys[case["who"]],
        keys,
        numbers(case["weights"]) or [],
        dot=numbers(case["dot"]),
        **{name: case[name] for name in ("own", "share", "norms", "sink", "empty", "outside")},
        **{name: case[name] for name in ("sink_tokens", "without") if name in case},
    )
    assert as_text(sentence_of_query(row)) == case["said"]


@pytest.mark.parametrize("case", CASES["pairs"], ids=lambda case: case["name"])
def test_a_query_in_two_traces(case: dict[str, Any]) -> None:
    keys = [Label(text) for text in case["keys"]]

    def side(given: dict[str, Any] | None) -> Side | None:
        if given is None:
            return None
        return Side([None if one is None else float(one) for one in given["weights"]], given["masked"])

    row = PairRow(keys[case["who"]], keys, side(case["a"]), side(case["b"]), case["own"], case["pinned"])
    assert as_text(sentence_of_pair(row)) == case["said"]


def values(keys: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(1, keys, 5, generator=generator) for _ in range(3))


def test_what_a_view_says_of_masked_keys() -> None:
    trace = Trace.from_qkv(*values(7), tokens=list("abcdefg"), is_causal=True)
    view = trace.show(layer=0, head=0, query=0)
    assert title(view).endswith("“a” attends most to itself with 100 % of its weight.")
    assert [row.weight for row in strongest(view, 3)] == ["100.0 %", "masked", "masked"]
    assert "masked" not in title(trace.show(layer=0, head=0, query=1))


def test_no_key_allowed() -> None:
    mask = torch.ones(7, 7, dtype=torch.bool)
    mask[3] = False
    view = Trace.from_qkv(*values(7), tokens=list("abcdefg"), mask=mask).show(layer=0, head=0, query=3)
    assert "“d” may look at no key at all" in title(view)


def test_nan() -> None:
    q, k, v = values(7)
    k[0, 2] = torch.nan
    said = title(Trace.from_qkv(q, k, v, tokens=list("abcdefg")).show(layer=0, head=0, query=3))
    assert said.endswith("“d” has weights that are not numbers: the model's own query or key vectors hold NaN.")
    weights = torch.full((1, 5, 5), torch.nan)
    view = Trace.from_attentions(weights, list("abcde")).show(layer=0, head=0, query=1)
    assert "they were captured as NaN, and nothing before them is known" in title(view)


def test_words_are_spelled_as_in_the_text(demo: Any) -> None:
    view = attnscope.show(*demo, "The café was unhappily placed.", layer=0, head=0, query="cafe")
    assert "“café” attends" in title(view)
    pieces = [label.text for label in query_row(view).keys]
    assert "café" in pieces
    assert not any(text.startswith("##") for text in pieces)


def test_the_filter_of_a_pair(demo: Any) -> None:
    trace = attnscope.trace(*demo, "A cat sat.", text_pair="It slept well.")
    view = trace.show(layer=2, head=3, query=1, filter="ab")
    site, weights = trace.sites[2], trace.sites[2].weights(3, 1)[0]
    outside = sum(float(weights[k]) for k in range(site.keys) if trace.tokens.segments[k] == 0)
    assert query_row(view).outside == pytest.approx(outside, abs=1e-6)
    assert title(view).endswith("of its weight lies outside the filter.")


def test_a_comparison_says_what_changed(texts: Any) -> None:
    view = texts.show("neuron")
    assert "of its weight has moved." in title(view) or "is a query only in" in title(view)
    site, state = view.trace.sites[view.site_index], view.at(side="b", query="flies", key=None).state
    other = texts.b.site(state.layer, state.stack).weights(state.head, state.query)[0]
    said = title(view.at(side="b", query="flies", key=None))
    assert f"{site.name}, head {state.head}" in said
    assert f"{100 * float(other.max()):.0f} %" in said
