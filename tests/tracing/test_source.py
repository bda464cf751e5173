"""What a trace says of where it came from: the arguments that make it again."""

import json

import torch

import attnscope
from attnscope.models.loading import loaded_as
from attnscope.payload.codec import encode, read

TEXT = 'She said "naïve"\nand left.'


def rebuilt(source):
    """The trace that a source describes."""
    given = dict(source)
    model, tokenizer = attnscope.load(given.pop("model"), **{k: given.pop(k) for k in ("dtype", "task") if k in given})
    return attnscope.trace(model, tokenizer, **given)


def test_a_trace_says_what_was_traced(demo):
    trace = attnscope.trace(*demo, TEXT, text_pair="Then it rained.", layers=(1, 3), keep={"x", "pre_rotary"})
    assert trace.source == {
        "model": "demo",
        "text": TEXT,
        "text_pair": "Then it rained.",
        "layers": [1, 3],
        "keep": ["pre_rotary", "x"],
    }
    again = rebuilt(trace.source)
    assert again.tokens == trace.tokens
    assert again.source == trace.source
    for one, other in zip(trace.sites, again.sites, strict=True):
        assert torch.equal(one.q, other.q)


def test_it_is_saved_and_loaded_and_stands_in_every_payload(demo_trace, tmp_path):
    assert demo_trace.source["model"] == "demo"
    demo_trace.save(tmp_path / "a.safetensors")
    assert attnscope.load_trace(tmp_path / "a.safetensors").source == demo_trace.source
    for block in demo_trace.show(layer=2, head=8).blocks:
        assert read(block.data)[0]["source"] == demo_trace.source


def test_load_remembers_what_it_was_given(demo):
    model, _ = attnscope.load("demo", dtype="bfloat16", task="feature-extraction")
    assert loaded_as(model) == {"model": "demo", "task": "feature-extraction", "dtype": "bfloat16"}
    assert loaded_as(demo[0]) == {"model": "demo"}
    assert loaded_as(torch.nn.Linear(2, 3)) == {}


def test_what_has_no_spelling_is_named(demo):
    model, tokenizer = demo
    trace = attnscope.trace(model, tokenizer, inputs=tokenizer("a b c", return_tensors="pt"))
    assert trace.source == {"model": "demo", "inputs": True}
    assert "text" not in trace.source


def test_a_model_of_ones_own_has_no_name():
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=22, num_hidden_layers=1, num_attention_heads=2, intermediate_size=11, vocab_size=31)
    trace = attnscope.trace(BertModel(config).eval(), None, inputs={"input_ids": torch.tensor([[3, 5, 7]])})
    assert trace.source == {"inputs": True}


def test_tensors_have_no_source():
    q = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    trace = attnscope.Trace.from_qkv(q, q, q)
    assert trace.source is None
    text = json.loads(json.dumps(read(encode(trace))[0]))
    assert text["source"] is None
