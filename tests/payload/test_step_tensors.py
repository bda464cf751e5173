"""The steps: every link before and after q, k and v, and what a view holds of them."""

from typing import Any

import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope.errors import InputError
from attnscope.payload.codec import decode, encode, load_trace, read
from attnscope.payload.site_requests import SiteRequest, answer
from attnscope.payload.step_tensors import sizes
from closeness import close
from made_traces import made_trace

KEEP = {"x", "pre_rotary", "projections"}


def traced(name: str, **options: Any) -> Any:  # a Trace whose optional parts are there
    return attnscope.trace(tiny.model(name), None, inputs=tiny.inputs(name), **options)


def links(site: Any, head: int = 1, query: int = 5) -> dict[str, Any]:
    return {link.name: link.value for link in site.steps(head, query)}


def test_every_link_follows_from_those_before_it():
    site = traced("llama", keep=KEEP).site(layer=1)
    found = links(site, head=4, query=5)
    assert list(found) == [
        "x",
        "query_weights",
        "projected_query",
        "pre_rotary_query",
        "query",
        "key_weights",
        "projected_keys",
        "pre_rotary_keys",
        "keys",
        "value_weights",
        "values",
        "products",
        "dot",
        "scaled",
        "masked",
        "weights",
        "output",
        "write",
    ]
    assert close(found["query_weights"] @ found["x"], found["projected_query"])
    assert close(found["projected_query"], found["pre_rotary_query"])
    assert close(site.x @ found["key_weights"].T, found["pre_rotary_keys"])
    assert close(site.x @ found["value_weights"].T, found["values"])
    assert close(found["query"].norm(), found["pre_rotary_query"].norm()), "turned, not stretched"
    assert close(found["products"].sum(-1), found["dot"])
    assert close(found["weights"] @ found["values"], found["output"])
    assert close(found["output"] @ site.output_projection()[4], found["write"])


def test_a_norm_is_a_link_of_its_own():
    found = list(links(traced("qwen3", keep=KEEP).site(layer=0)))
    assert found[:6] == [
        "x",
        "query_weights",
        "projected_query",
        "pre_norm_query",
        "pre_rotary_query",
        "query",
    ]
    formula = next(
        link.formula for link in traced("qwen3", keep=KEEP).sites[0].steps(0, 3) if link.name == "pre_rotary_query"
    )
    assert "q_norm (Qwen3RMSNorm)" in formula


def test_the_model_scales_q_itself():
    query = next(link for link in traced("opt", keep=KEEP).sites[0].steps(0, 3) if link.name == "query")
    assert "× 0.377964 by the model itself" in query.formula


def test_cross_attention_has_an_x_for_each_side():
    site = traced("t5", keep=KEEP).site(1, "cross")
    found = links(site, head=2, query=3)
    assert found["x"].shape == (19,)
    assert close(found["x_keys"] @ found["key_weights"].T, found["keys"])


def test_without_keep_the_steps_begin_at_q():
    assert next(iter(links(traced("llama").site(layer=1)))) == "query"


def test_references_only_while_they_are_asked_for():
    model = tiny.model("bert")
    plain = traced("bert").sites[0]
    assert plain.w_q is plain.x is None
    site = traced("bert", keep={"projections"}).sites[0]
    assert site.w_v.parameter is model.encoder.layer[0].attention.self.value.weight
    assert site.x is None
    assert site.nbytes == plain.nbytes


def test_the_models_outputs_stay_as_they_are():
    for name in ("gpt2", "qwen3", "t5"):
        model, inputs = tiny.model(name, "sdpa" if name != "qwen3" else "eager"), tiny.inputs(name)
        with torch.no_grad():
            expected = model(**inputs)[0]
            with attnscope.capture(model, keep=KEEP):
                seen = model(**inputs)[0]
        assert torch.equal(expected, seen)


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "gpt2", "qwen3", "opt", "t5"])
def test_a_file_with_projections_keeps_the_whole_chain(name, tmp_path):
    trace = traced(name, keep=KEEP)
    trace.save(tmp_path / "t.safetensors", projections=True)
    back = load_trace(tmp_path / "t.safetensors")
    for site, other in zip(trace.sites, back.sites, strict=True):
        pairs = list(zip(site.steps(1, 5), other.steps(1, 5), strict=True))
        assert [one.name for one, _ in pairs] == [two.name for _, two in pairs]
        assert all(close(one.value, two.value) for one, two in pairs)
        assert other.w_q.factor == site.w_q.factor
        assert other.w_q.norm == site.w_q.norm


def test_a_file_without_them_still_has_x(tmp_path):
    trace = traced("llama", keep=KEEP)
    trace.save(tmp_path / "t.safetensors")
    site: Any = load_trace(tmp_path / "t.safetensors").sites[1]
    assert torch.equal(site.x, trace.sites[1].x)
    assert torch.equal(site.pre_rotary_q, trace.sites[1].pre_rotary_q)
    assert site.w_q is None


def test_a_view_holds_those_of_its_head_only():
    trace = traced("llama", keep=KEEP)
    view = trace.show(layer=1, head=4, level="steps")
    held = [read(block.data) for block in view.blocks]
    metas = {meta_site["index"]: meta_site for meta, _ in held for meta_site in meta["sites"] if meta_site["held"]}
    assert metas[1]["steps"]["heads"] == [4]
    assert metas[0]["steps"]["heads"] == []
    tensors = {name: tensor for _, some in held for name, tensor in some.items()}
    site = trace.site(1)
    assert torch.equal(tensors["s1.x"], site.x)
    assert torch.equal(tensors["s1.w_q"], site.w_q.weight(4)[None])
    assert torch.equal(tensors["s1.w_k"], site.w_k.weight(1)[None]), "head 4 reads key/value head 1 of 2"
    assert torch.equal(tensors["s1.w_o"], site.output_projection()[4][None])
    assert torch.equal(tensors["s1.pre_rotary_q"], site.pre_rotary_q[4][None])
    assert torch.equal(tensors["s1.pre_rotary_k"], site.pre_rotary_k[1][None])
    assert not any(name.startswith("s0.") and name.split(".")[1] in ("x", "w_q", "pre_rotary_q") for name in tensors)


def test_the_size_that_is_said_is_the_size():
    for name in ("llama", "qwen3", "bert", "t5"):
        trace = traced(name, keep=KEEP)
        for index, site in enumerate(trace.sites):
            for heads, said in (([0], sizes(site)[0]), (list(range(site.heads)), sizes(site)[1])):
                _, tensors = read(encode(trace, {}, steps={index: heads}))
                bare = sum(
                    t.nbytes for key, t in tensors.items() if key.split(".")[1] not in ("b_q", "b_k", "b_v", "b_o")
                )
                assert bare == said


def test_all_heads_on_request_and_the_size_first():
    trace = traced("gpt2", keep=KEEP)
    view = trace.show(layer=1, head=2, steps="all")
    back = [decode(block.data) for block in view.blocks]
    assert {site.layer for one in back for site in one.sites if site.w_q is not None} == {0, 1}
    with pytest.raises(InputError, match=r"take 0\.02\d* MB, and max_mb is 0\.01"):
        _ = trace.show(layer=1, head=2, steps="all", max_mb=0.01).blocks
    with pytest.raises(InputError, match="steps is 'some'; it is one of 'head', 'all', 'none'"):
        trace.show(steps="some")
    assert read(trace.show(layer=1, head=2, steps="none").blocks[0].data)[0]["sites"][1]["steps"]["heads"] == []


def test_show_keeps_them_for_short_texts_only(monkeypatch):
    model, tokenizer = tiny.model("bert"), tiny.tokenizer()
    assert attnscope.show(model, tokenizer, "the cat sat").trace.sites[0].w_q is not None
    assert attnscope.show(model, tokenizer, "the cat sat", keep=()).trace.sites[0].w_q is None
    monkeypatch.setattr("attnscope.api.keeping.KEEP_UP_TO", 4)
    view = attnscope.show(model, tokenizer, "the cat sat")
    assert view.trace.sites[0].x is None
    assert attnscope.show(model, tokenizer, "the cat sat", steps="all").trace.sites[0].x is not None


def test_a_live_view_asks_for_them():
    trace = traced("llama", keep=KEEP)
    tile = answer(trace, SiteRequest.from_message({"kind": "steps", "site": 1, "head": 5}))
    meta, tensors = read(tile.data)
    assert [site["held"] for site in meta["sites"]] == [None, None]
    assert meta["sites"][1]["steps"]["heads"] == [5]
    assert torch.equal(tensors["s1.w_q"][0], trace.site(1).w_q.weight(5))
    assert meta["trace"] == read(encode(trace))[0]["trace"]
    whole = answer(trace, SiteRequest.from_message({"kind": "site", "site": 0, "head": 2}))
    assert read(whole.data)[0]["sites"][0]["steps"]["heads"] == [2]
    with pytest.raises(InputError, match="'site' or 'steps'"):
        SiteRequest.from_message({"kind": "other", "site": 0})


def test_given_tensors_have_none_of_it():
    trace = made_trace()
    assert sizes(trace.sites[0]) == (0, 0)
    meta, _ = read(trace.show(layer=0, head=1).blocks[0].data)
    assert meta["sites"][0]["steps"] == {"heads": [], "kept": [], "bytes": 0, "all_bytes": 0, "projections": {}}
