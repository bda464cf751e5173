"""Layers, heads, queries and what to keep are understood as people write them, or refused with what to write."""

from typing import Any

import numpy as np
import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope import InputError, NotCaptured, Trace
from attnscope.tracing.places import parse_head, parse_keep, parse_layer, parse_layers, parse_sites
from made_traces import made_trace

WORDS = ["air", "it", "##craft", "it", "<b>&"]


def named_trace(**extras: Any) -> Trace:
    return made_trace(heads=3, queries=5, layers=2, tokens=attnscope.Tokens(tuple(WORDS)), **extras)


@pytest.mark.parametrize(
    ("layer", "expected"), [(2, 2), ("2", 2), ("L2", 2), (" l11 ", 11), (-1, -1), ("-1", -1), (np.int64(3), 3)]
)
def test_layers_understood(layer: Any, expected: int) -> None:
    assert parse_layer(layer) == expected


@pytest.mark.parametrize("layer", ["", "two", "2.0", 2.0, True, None, [2], "L"])
def test_layers_refused(layer: Any) -> None:
    with pytest.raises(InputError, match=r'expected layer as a number or a name such as "L2"'):
        parse_layer(layer)


def test_a_layer_that_names_a_head() -> None:
    with pytest.raises(InputError, match=r'"L2H3" names a head as well\. Give the layer alone: "L2"'):
        named_trace().site("L2H3")


def test_site_by_name() -> None:
    trace = named_trace()
    assert trace.site("1") is trace.site("L1") is trace.site(1)
    with pytest.raises(InputError, match="layer 2 is out of range"):
        trace.site("L2")


@pytest.mark.parametrize(
    ("layers", "expected"), [(5, (5,)), ("L5", (5,)), ([1, "3", 1], (1, 3)), (range(2), (0, 1)), (None, None)]
)
def test_several_layers(layers: Any, expected: Any) -> None:
    assert parse_layers(layers) == expected


def test_no_layers_and_no_sites_are_refused() -> None:
    for read, name in ((parse_layers, "layers"), (parse_sites, "sites")):
        with pytest.raises(InputError, match=f"{name} is empty, and then nothing is left to keep"):
            read([])


def test_sites_and_keep() -> None:
    assert parse_sites("encoder.layer.0") == ("encoder.layer.0",)
    assert parse_sites(None) is None
    assert parse_keep(None) == parse_keep(()) == frozenset()
    assert parse_keep("pre_rotary") == {"pre_rotary"}
    for wrong in ({"weights"}, "y", ["x", 3]):
        with pytest.raises(InputError, match="besides q, k and v it takes x, pre_rotary, projections"):
            parse_keep(wrong)
    with pytest.raises(InputError, match="expected keep as names"):
        parse_keep(3)
    with pytest.raises(InputError, match="expected sites as module paths"):
        parse_sites([3])
    with pytest.raises(InputError, match="expected layers as a number"):
        parse_layers([2.5])


@pytest.mark.parametrize("layers", [1, "1", "L1", ["L1"]])
def test_trace_and_capture_take_one_layer(layers: Any) -> None:
    model, ids = tiny.model("bert"), tiny.inputs("bert")
    found = attnscope.trace(model, None, inputs=ids, layers=layers, keep=None, sites=None)
    assert [site.layer for site in found.sites] == [1]
    assert found.source is not None
    assert found.source["layers"] == [1]
    with attnscope.capture(model, layers=layers, keep="x", sites="encoder") as recorder, torch.no_grad():
        model(**ids)
    assert [(site.layer, site.x is None) for site in recorder.trace().sites] == [(1, False)]


@pytest.mark.parametrize("name", ["dot", "scores", "weights", "output", "write"])
def test_queries_by_token(name: str) -> None:
    model, tokenizer = tiny.model("bert"), tiny.tokenizer()
    site = attnscope.trace(model, tokenizer, "the cat sat on it").site(1)
    ask = getattr(site, name)
    assert torch.equal(ask(queries="it"), ask(queries=5))
    assert torch.equal(ask(head=2, queries=["it", 0, "cat"]), ask(head=2, queries=[5, 0, 2]))
    with pytest.raises(InputError, match='query "ship" is not among the tokens'):
        ask(queries="ship")


def test_share_and_steps_by_token() -> None:
    site = named_trace().site(0)
    each = site.share(query="it")
    assert each.shape == (3, 5)
    assert torch.equal(each[2], site.share(2, 1))
    assert torch.equal(site.steps(head=2, query="it")[0].value, site.q[2, 1])
    weights, norms = site.weights(2, 1)[0].double(), site.v[2].double().norm(dim=-1)
    expected = weights * norms / (weights * norms).sum()
    assert torch.allclose(each[2].double(), expected, rtol=1e-5)
    with pytest.raises(InputError, match="query None is out of range"):
        site.share(2)


def test_a_token_that_an_earlier_pass_read() -> None:
    """With a cache a site holds the last queries only: a token is found in the whole text."""
    site = Trace.from_attentions(torch.rand(3, 2, 5).softmax(-1), WORDS).sites[0]
    assert site.query_offset == 3
    assert torch.equal(site.weights(1, "<b>&"), site.weights(1, 1))
    with pytest.raises(InputError, match=r'query "air" is token 0, which is not in this pass.*from 3 to 4'):
        site.weights(1, "air")
    with pytest.raises(NotCaptured, match="size of the values"):
        site.share(1, "<b>&")


def test_a_site_without_a_trace_has_no_tokens() -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match=r"this site has no tokens\. Give a row, 0 to 4"):
        replace(named_trace().site(0), query_tokens=None).weights(0, "it")


@pytest.mark.parametrize("query", [5, -6, 1.5, True, [0, 5], "x" * 3])
def test_queries_refused(query: Any) -> None:
    with pytest.raises(InputError, match="query"):
        named_trace().site(0).weights(0, query)


def test_decoder_and_cross_sites_know_their_side() -> None:
    trace = attnscope.trace(tiny.model("t5"), tiny.tokenizer(), "the cat sat", text_target="a dog")
    assert trace.target is not None
    for stack in ("decoder", "cross"):
        assert trace.site(0, stack).query_tokens is trace.target
    assert trace.site(0, "encoder").query_tokens is trace.tokens


def test_reprs_are_one_line_and_tables_hold_text() -> None:
    trace = named_trace()
    for shown in (trace.tokens, trace.verify(), trace.verify().sites[0]):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 200
        assert shown._repr_html_().count("<table>") == 1
    assert repr(trace.tokens) == 'Tokens(5: "air" "it" "##craft" "it" "<b>&")'
    assert "<td>&lt;b&gt;&amp;</td>" in trace.tokens._repr_html_()
    assert "<b>" not in trace.tokens._repr_html_()
    assert "✓ 2 of 2 sites match" in repr(trace.verify())
    assert repr(trace.verify().sites[0]).startswith("SiteReceipt(✓ exact: error ")
    bare = Trace.from_attentions(torch.rand(3, 5, 5).softmax(-1), WORDS).verify()
    assert "none of 1 sites could be checked" in repr(bare)
    assert "weights_only" in bare._repr_html_()


def test_a_control_character_stays_on_its_line() -> None:
    tokens = attnscope.Tokens(("a\nb", "c"))
    assert repr(tokens) == 'Tokens(2: "a↵b" "c")'
    assert "and 2 more tokens" in attnscope.Tokens(tuple("ab" * 25))._repr_html_()


def test_show_and_plot_have_the_defaults_of_a_state() -> None:
    from inspect import signature

    from attnscope.views.state import State

    for function in (Trace.show, Trace.plot):
        given = {name: part.default for name, part in signature(function).parameters.items()}
        for row in State.table():
            if row.name == "special" and function is Trace.show:  # None: hidden where they fill up a sound, else shown
                assert given[row.name] is None
            elif row.name == "edits" and function is Trace.plot:  # a figure asks no model
                assert row.name not in given
            elif row.name not in ("why", "side", "layer", "head", "query", "key", "stack"):
                assert given[row.name] == row.default, row.name


def test_a_head_and_a_layer_that_disagree():
    with pytest.raises(InputError, match=r'head "L2H3" is in layer 2; expected one of layer 1'):
        parse_head("L2H3", 1)
    assert parse_head("L2H3", "L2") == (2, 3)
