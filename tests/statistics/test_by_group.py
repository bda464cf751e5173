"""Trace.groups beside sums by hand over whole matrices."""

import json
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings, strategies as st

import attnscope
from attnscope.statistics.group_sums import key_sums
from attnscope.statistics.group_table import ASIDE, SINK
from attnscope.statistics.sink_tokens import set_aside
from attnscope.tracing import query_blocks
from attnscope.tracing.masks import MaskRule
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import tokens_of_strings
from attnscope.tracing.trace import Trace
from chats import NEEDLE, chat, traced
from drawn_sites import sites, weights_of


@pytest.fixture(scope="module")
def trace() -> Trace:
    return traced(chat([("system", "Be terse. Never guess."), ("user", NEEDLE)], answer="It is 7412."))


@settings(max_examples=25, deadline=None)
@given(sites(), st.integers(0, 99))
def test_sums_of_any_site_equal_those_over_the_whole_matrix(make: Any, seed: int) -> None:
    site = make()
    assume(not site.mask.uniform_empty_rows)
    draw = torch.Generator().manual_seed(seed)
    counts = torch.rand(site.keys, generator=draw) > 0.3
    rows = (torch.rand(site.queries, generator=draw) > 0.4).nonzero()[:, 0].tolist() or [0]
    weights, sinks = weights_of(site)
    weights, allowed = weights[:, rows], site.mask.allowed(torch.tensor(rows), site.keys)
    seeing = allowed.any(-1)
    number = max(1, int(seeing.sum()))
    found = key_sums(site, rows, counts)
    torch.testing.assert_close(found.weight, weights.sum(1) / number, rtol=1e-3, atol=1e-4)
    spread = (weights * counts).sum(-1, keepdim=True)
    even = spread * (allowed & counts) / (allowed & counts).sum(-1, keepdim=True).clamp_min(1)
    torch.testing.assert_close(found.even, even.sum(1) / number, rtol=1e-3, atol=1e-4)
    if site.sinks is not None:
        torch.testing.assert_close(found.sink, (sinks[:, rows] * seeing).sum(1) / number, rtol=1e-3, atol=1e-4)
    size = weights * site.v.double().norm(dim=-1).repeat_interleave(site.heads // site.kv_heads, 0)[:, None]
    share = size / size.sum(-1, keepdim=True).clamp_min(1e-300)
    assert found.share is not None
    torch.testing.assert_close(found.share, share.sum(1) / number, rtol=2e-3, atol=1e-4)


def test_blocks_of_queries_change_nothing(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    site, counts = trace.sites[0], ~set_aside(trace, trace.sites[0])
    whole = key_sums(site, range(3, site.queries), counts)
    monkeypatch.setattr(query_blocks.query_blocks, "__defaults__", (1, 7 * site.keys))
    parts = key_sums(site, range(3, site.queries), counts)
    torch.testing.assert_close(parts.weight, whole.weight)
    torch.testing.assert_close(parts.even, whole.even)


def test_the_top_groups_and_what_is_set_aside_are_all_of_the_weight(trace: Trace) -> None:
    table = trace.groups(query="answer", heads="all")
    assert table.queries == tuple(range(trace.tokens.border - 1, len(trace.tokens) - 1))  # type: ignore[operator]
    for head in ("L0H0", "L1H2"):
        rows = [row for row in table if row.head_name == head and row.depth == 0]
        assert sum(row.weight for row in rows) == pytest.approx(1, abs=1e-5)
        assert sum(row.share or 0 for row in rows) == pytest.approx(1, abs=1e-5)
        counted = sum(row.even for row in rows if row.even is not None)
        assert counted == pytest.approx(1 - next(row.weight for row in rows if row.name == ASIDE), abs=1e-5)


def test_a_row_is_a_sum_of_weights_and_a_mean_over_heads(trace: Trace) -> None:
    group = trace.tokens.groups["document 2"]
    at = len(trace.tokens) - 1
    by_head = trace.groups(query=-1, heads="all", special="show").named("document 2")
    weights = torch.stack([site.weights(None, at)[:, 0, group.positions].sum(-1) for site in trace.sites]).flatten()
    assert [row.weight for row in by_head] == pytest.approx(weights.tolist(), abs=1e-5)
    shares = torch.stack([site.share(None, at)[:, group.positions].sum(-1) for site in trace.sites]).flatten()
    assert [row.share for row in by_head] == pytest.approx(shares.tolist(), abs=1e-5)
    one = trace.groups(query=-1, special="show")["document 2"]
    assert one.weight == pytest.approx(float(weights.mean()), abs=1e-5)
    assert one.even == pytest.approx(len(group) / len(trace.tokens), abs=1e-5)  # the last token sees all of them
    assert one.ratio == pytest.approx(one.weight / one.even)
    assert one.head_name is None
    some = trace.groups(query=-1, heads=["L1H2", "L0H1"], special="show").named("document 2")
    assert [row.head_name for row in some] == ["L0H1", "L1H2"]
    assert some[1].weight == pytest.approx(float(weights[5]), abs=1e-5)


def test_queries_are_a_position_a_token_a_group_a_slice_or_several(trace: Trace) -> None:
    system = trace.tokens.groups["system"]
    assert trace.groups(query="system").queries == tuple(range(system.start, system.stop))
    assert trace.groups(query=system).queries == tuple(range(system.start, system.stop))
    assert trace.groups(query=[2, -1, slice(5, 8)]).queries == (2, 5, 6, 7, len(trace.tokens) - 1)
    assert trace.groups(query="harbour").queries == (trace.tokens.find("harbour"),)
    asks = traced(chat([("user", NEEDLE)]))
    assert asks.groups().queries == (len(asks.tokens) - 1,)  # no answer yet: the token that it will be written from
    assert trace.with_groups({"answer": (3, 6)}).groups(query="answer").queries == (3, 4, 5)


def test_a_table_is_sorted_printed_and_written(trace: Trace) -> None:
    table = trace.groups(query=-1, kind="document")
    assert [row.name for row in table][:2] == ["document 1", "document 2"]
    assert table.sort("ratio")[0].ratio == max(row.ratio for row in table if row.ratio)
    assert table.sort("weight", ascending=True)[0].weight == min(row.weight for row in table)
    read = json.loads(table.to_json())
    assert read[1]["name"] == "document 2"
    assert read[1]["ratio"] == pytest.approx(table[1].ratio)
    assert list(table.to_frame()["weight"]) == [row.weight for row in table]
    printed = repr(table)
    assert "from token" in printed
    assert "mean over 6 heads" in printed
    assert "Document 2: The code is 7412." in printed
    assert "<td>document 2</td>" in table._repr_html_()
    with pytest.raises(attnscope.InputError, match='no group "document 9"; it has document 1'):
        table.named("document 9")
    with pytest.raises(attnscope.InputError, match="expected a column of this table"):
        table.sort("name")


def test_learned_sinks_and_weights_alone_have_rows_of_what_is_known() -> None:
    tokens = chat([("user", "One. Two.")])
    count = len(tokens)
    site = Site(
        *(torch.randn(2, count, 3) for _ in "qkv"), scaling=1.0, mask=MaskRule(upper=0), sinks=torch.tensor([1.0, 2.0])
    )
    with_sinks = Trace((site,), tokens).groups(heads="all")
    expected = 1 - site.weights(None, count - 1)[:, 0].sum(-1)
    assert [row.weight for row in with_sinks if row.name == SINK] == pytest.approx(expected.tolist(), abs=1e-5)
    weights = torch.rand(2, count, count).tril()
    alone = Trace.from_attentions(weights / weights.sum(-1, keepdim=True), tokens).groups(query=-1)
    assert all(row.share is None for row in alone)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"query": "nowhere"}, r'query "nowhere" is not among the tokens'),
        ({"query": 9999}, r"out of range"),
        ({"query": None}, r"expected query as a position"),
        ({"query": []}, r"names no token"),
        ({"heads": "L9H9"}, r'expected heads as names from "L0H0" to "L1H2"'),
        ({"heads": []}, r"heads is empty"),
        ({"kind": "chapter"}, r"expected kinds of groups"),
        ({"kind": "image"}, r"no groups of kind image; it has message"),
        ({"special": "dim"}, r"special 'dim' is not one of"),
        ({"control": 3}, r"give model="),
        ({"control": -1}, r"control from 0"),
        ({"stack": "encoder"}, r"no stack 'encoder'"),
        ({"model": torch.nn.Linear(2, 2), "query": 3}, r'ask for query="answer"'),
    ],
)
def test_what_does_not_fit_is_refused(trace: Trace, given: dict[str, Any], message: str) -> None:
    with pytest.raises(attnscope.InputError, match=message):
        trace.groups(**given)


def test_texts_without_groups_and_models_without_an_answer() -> None:
    def plain(words: str, mask: MaskRule) -> Trace:
        tokens = tokens_of_strings(words.split())
        return Trace((Site(*(torch.randn(2, len(tokens), 3) for _ in "qkv"), scaling=1.0, mask=mask),), tokens)

    with pytest.raises(attnscope.InputError, match="this text has no groups: it is one passage"):
        plain("the cat sat", MaskRule(upper=0)).groups()
    with pytest.raises(attnscope.InputError, match="is of causal models"):
        plain("a b . c d .", MaskRule()).groups()
    assert plain("a b . c d .", MaskRule()).groups(query=2)["sentence 2"].even == pytest.approx(0.5)
    with pytest.raises(attnscope.NotCaptured, match="runs the model again on the ids"):
        plain("a b . c d .", MaskRule(upper=0)).groups(model=torch.nn.Linear(2, 2))
