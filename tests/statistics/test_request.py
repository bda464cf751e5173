"""trace.statistics(): names, order, and what is said where there is nothing."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import attnscope
from attnscope.errors import InputError, NotCaptured
from attnscope.statistics.definitions import CHANGES, PAIR, STATISTICS
from attnscope.statistics.further.entries import FURTHER
from attnscope.statistics.kinds.definitions import KINDS
from attnscope.statistics.request import EVERY
from attnscope.statistics.thumbnails import thumbnails_of
from attnscope.tracing.masks import causal_rule
from attnscope.tracing.output_projection import Projection
from attnscope.tracing.trace import Trace
from head_cases import QUERIES, given, made, tokens_of
from tiny_models import model, tokenizer


def trace() -> Trace:
    site = replace(made(mask=causal_rule(QUERIES, QUERIES)), projection=Projection(torch.randn(5, 21)))
    return Trace((site, replace(site, layer=1, q=-site.q)), tokens_of(QUERIES))


def test_every_statistic_has_a_sentence_and_a_formula():
    every = (*STATISTICS, *PAIR, *CHANGES, *EVERY.values(), *KINDS)
    for statistic in every:
        assert statistic.formula, statistic.name
        assert statistic.about.endswith("."), statistic.name
        assert statistic.title, statistic.name
    names = [statistic.name for statistic in (*EVERY.values(), *KINDS)]
    assert len(set(names)) == len(names)


def test_the_table_has_what_was_asked_for_in_that_order():
    found = trace().statistics(["share_first", "entropy", "induction_abs"])
    assert found.names == ("share_first", "entropy", "induction_abs")
    assert [row.name for row in found] == ["L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    assert found[1]["entropy"] == thumbnails_of(trace())[0].statistics["entropy"][1]
    frame = found.to_frame()
    assert list(frame.columns) == ["stack", "layer", "head", "share_first", "entropy", "induction_abs"]
    assert json.loads(found.to_json()) == found.records()
    assert "<th>L1H2</th>" in found._repr_html_()


def test_sorting_puts_heads_without_a_number_last():
    found = trace().statistics("entropy")
    values = [row["entropy"] for row in found.sort("entropy")]
    assert values == sorted(values, reverse=True)
    assert [row["entropy"] for row in found.sort("entropy", ascending=True)] == sorted(values)
    mixed = replace(found, rows=(replace(found[0], values={"entropy": None}), *found[1:]))
    for ascending in (False, True):
        assert mixed.sort("entropy", ascending)[-1]["entropy"] is None
    with pytest.raises(InputError, match="a statistic of this table, got 'x'; it has entropy"):
        found.sort("x")


def test_all_that_a_trace_can_have():
    found = trace().statistics()
    there = {*found.names}
    assert {*FURTHER} - {"newline"} <= there
    assert not {"newline", "sink", "patch_distance", "copying"} & there
    alone = Trace((given(),), tokens_of(QUERIES)).statistics()
    assert "entropy_normalised" in alone.names
    assert not {"share_first", "share_most"} & {*alone.names}


def test_what_every_key_receives():
    one = trace()
    found = one.statistics(["received_most", "share_most"])
    weights = one.sites[1].weights().double()
    expected = weights.sum(1) / torch.arange(QUERIES, 0, -1)
    assert torch.allclose(found.by_key["received_most"][None, 1].double(), expected, atol=1e-6)
    assert found[3]["received_most"] == pytest.approx(float(expected[0].max()), abs=1e-6)
    sizes = weights * one.sites[1].norms()[1][:, None].double()
    shares = (sizes / sizes.sum(-1, keepdim=True)).sum(1) / torch.arange(QUERIES, 0, -1)
    assert torch.allclose(found.by_key["share_most"][None, 1].double(), shares, atol=1e-6)


@pytest.mark.parametrize("names", ["entropi", ["entropy", "x"], [], 5, ["entropy", 3]])
def test_names_that_are_none(names):
    with pytest.raises(InputError, match="expected names of statistics, got"):
        trace().statistics(names)


def test_what_a_trace_does_not_hold_is_said():
    with pytest.raises(NotCaptured, match="share_first needs W_O"):
        Trace((made(),), tokens_of(QUERIES)).statistics(["entropy", "share_first"])
    assert Trace((made(),), tokens_of(QUERIES)).statistics("sink")[0]["sink"] is None


def test_cross_attention_and_stacks():
    from tiny_models import inputs, model

    found = attnscope.trace(model("t5"), inputs=inputs("t5")).statistics()
    cross = [row for row in found if row.stack == "cross"]
    assert cross
    assert all(row["induction_mul"] is None and row["distance_variance"] is None for row in cross)
    assert all(row["entropy_normalised"] is not None for row in cross)
    assert cross[0].name.startswith("cross L0H")


def test_steps_with_a_cache_have_no_square_patterns():
    step = made(queries=19, mask=causal_rule(19, QUERIES, offset=QUERIES - 19))
    found = Trace((step,), tokens_of(QUERIES)).statistics()
    assert "distance_variance" in found.names
    assert not any(name.endswith(("_mul", "_abs")) for name in found.names)


@pytest.mark.source
def test_the_page_of_statistics_is_what_the_registries_give():
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("statistics_page", root / "tools/statistics_page.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text = tool.PAGE.read_text(encoding="utf-8")
    assert text == tool.page(text), "docs/statistics.md is stale; run: python tools/statistics_page.py"
    assert {name for name in (*EVERY, *(kind.name for kind in KINDS)) if f"| `{name}` |" not in text} == set()


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_weights_as_a_frame(kind):
    """A row for each pair that the mask allows; of a decoder with an encoder, in its own tokens."""
    built = model(kind)
    text = {"text_target": "the dog ran"} if kind == "t5" else {}
    trace = attnscope.trace(built, tokenizer(), "the cat sat on a mat", **text)
    frame = trace.to_frame()
    for site in trace.sites:
        here = frame[
            (frame.layer == site.layer) & (frame["stack"].eq(site.stack) if site.stack else frame["stack"].isna())
        ]
        table = np.zeros((site.heads, site.queries, site.keys), dtype=np.float32)
        table[here["head"], here["query"], here.key] = here.weight
        np.testing.assert_allclose(table, site.weights().numpy(), atol=1e-7)
        assert here.query_token.iloc[-1] == trace.query_tokens(site).shown[site.queries - 1]
    stack = {"stack": "cross"} if kind == "t5" else {}
    one = trace.to_frame(1, 2, **stack)
    assert set(zip(one.layer, one["head"], strict=True)) == {(1, 2)}
    site = trace.site(1, **stack)
    assert len(one) == (site.queries * site.keys if kind == "t5" else site.queries * (site.queries + 1) // 2)
    with pytest.raises(InputError, match="expected layer beside head"):
        trace.to_frame(head=2)


def test_a_frame_of_too_many_weights_is_refused(monkeypatch):
    monkeypatch.setattr("attnscope.statistics.weights_frame.MOST", 100)
    q = torch.zeros(3, 7, 2)
    trace = attnscope.Trace.from_qkv(q, q, q)
    with pytest.raises(InputError, match="at most 100 weights in a data frame, got 147"):
        trace.to_frame()
    assert len(trace.to_frame(0, 1)) == 49
