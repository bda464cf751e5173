"""Every architecture against transformers itself: weights against its own output_attentions (eager), outputs against
what its implementation handed to the output projection, and W_O against the module's real output."""

from typing import Any

import pytest
import torch
from torch import Tensor

import attnscope
import tiny_models as tiny
from attnscope import NotCaptured, Trace
from closeness import close, same_weights, through_softmax, tolerance

pytestmark = pytest.mark.exactness

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
RUNS = [(name, implementation) for name, kind in tiny.KINDS.items() for implementation in kind.runs]


def inputs_of(name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: x.to(dtype) if x.is_floating_point() else x for key, x in tiny.inputs(name).items()}


@torch.no_grad()
def own_weights(model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    """The model's own attention weights [B, H, Q, K], in the order in which its attention ran."""
    output = model(**inputs, output_attentions=True)
    if getattr(output, "attentions", None) is not None:
        return list(output.attentions)
    pairs = zip(output.decoder_attentions, output.cross_attentions, strict=True)
    return [*output.encoder_attentions, *(weights for pair in pairs for weights in pair)]


@pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", tiny.KINDS)
def test_weights_are_the_models_own(name: str, dtype: torch.dtype) -> None:
    model, inputs = tiny.model(name, "eager", dtype), inputs_of(name, dtype)
    trace = attnscope.trace(model, None, inputs=inputs)
    theirs = own_weights(model, inputs)
    assert len(trace.sites) == len(theirs)
    for site, weights in zip(trace.sites, theirs, strict=True):
        assert weights.max() > 3 / site.keys, "nearly uniform weights would agree with almost anything"
        assert same_weights(site, weights[0], dtype)
        assert close(site.weights(head=1, queries=slice(2, 5)), site.weights()[1, 2:5])


@pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(("name", "implementation"), RUNS)
def test_receipt(name: str, implementation: str, dtype: torch.dtype) -> None:
    trace = attnscope.trace(tiny.model(name, implementation, dtype), None, inputs=inputs_of(name, dtype))
    receipt = trace.verify()
    assert receipt.passed
    assert receipt.max_error <= tolerance(dtype), "3e-7, 1.1e-2 and 1.6e-3 on one machine"
    assert receipt.rows == receipt.of == sum(site.queries for site in trace.sites)
    named = {"eager": "softmax", "sdpa": "F.scaled_dot_product_attention"} if name in tiny.OWN_CODE else {}
    assert trace.model.implementation == named.get(implementation, implementation)
    assert not trace.unrecorded


def t5_projections() -> list[str]:
    encoder = [f"encoder.block.{i}.layer.0.SelfAttention.o" for i in range(2)]
    return encoder + [
        f"decoder.block.{i}.layer.{j}.{kind}.o"
        for i in range(2)
        for j, kind in enumerate(("SelfAttention", "EncDecAttention"))
    ]


def projections(name: str) -> list[str]:
    return t5_projections() if name == "t5" else tiny.projection_paths(name)


@pytest.mark.parametrize(("name", "implementation"), [run for run in RUNS if run[0] != "vit"])
def test_output_and_projection(name: str, implementation: str) -> None:
    """z is what goes into the model's own output projection, and the heads' writes plus b_O are what comes out of it."""
    model, inputs = tiny.model(name, implementation), inputs_of(name, torch.float32)
    paths = projections(name)
    seen, stop = tiny.watch(model, paths)
    try:
        trace = attnscope.trace(model, None, inputs=inputs)
    finally:
        stop()
    calls: dict[str, int] = {}
    for site, path in zip(trace.sites, paths, strict=True):
        z, written = seen[path][calls.get(path, 0)]
        calls[path] = calls.get(path, 0) + 1
        assert close(site.output().transpose(0, 1).flatten(1), z[0])
        assert site.projection is not None, path
        assert site.projection.parameter is model.get_submodule(path).weight, "a reference, not a copy"
        bias = 0 if site.projection.bias is None else site.projection.bias
        assert close(site.write().sum(0) + bias, written[0])
        assert close(site.write(head=1), site.write()[1])


def test_vit_has_a_projection() -> None:
    trace = attnscope.trace(tiny.model("vit"), None, inputs=tiny.inputs("vit"))
    for site in trace.sites:
        assert site.write().shape == (3, 26, 21)
    assert trace.tokens[:3] == ("[CLS]", "patch 0,0", "patch 0,1")


@pytest.mark.parametrize(("name", "implementation"), [run for run in RUNS if tiny.KINDS[run[0]].reads == "text"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(name: str, implementation: str, side: str) -> None:
    """A padded batch: each row as the model saw it, and each word as if it had come alone."""
    model, batch = tiny.model(name, implementation), tiny.padded_batch(side)
    if name == "gpt2" and implementation == "eager" and side == "left" and tiny.OWN_CODE:
        pytest.skip(
            "adds its causal mask twice: rows without a key spread over those before them, and the receipt says so"
        )
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(**batch)
    theirs = own_weights(model, batch) if implementation == "eager" else None
    for index in (0, 1):
        trace = recorder.trace(index=index)
        assert trace.verify().passed
        assert trace.verify().max_error <= tolerance()
        for number, site in enumerate(trace.sites):
            empty = ~site.mask.allowed(torch.arange(site.queries), site.keys).any(-1)
            receipt = site.verify()
            assert receipt.no_key_rows == int(empty.sum())
            if theirs is not None:  # eager's rows without a key are left out and counted: they mean nothing
                ours = site.weights()[:, ~empty]
                size = through_softmax(site.scores())
                assert close(ours, theirs[number][index][:, ~empty], magnitude=size)
                assert len(ours[0]) + receipt.no_key_rows == site.queries
            if bool(empty.any()):
                rows = site.weights()[:, empty]
                expected = 1 / site.keys if site.mask.uniform_empty_rows and site.sinks is None else 0.0
                assert close(rows, torch.full_like(rows, expected))
    assert _no_key_rows(recorder.trace(index=0)) == 0
    # With padding on the left, later tokens are all that the first ones could see; a window may hold padding alone.
    windowed = "window" in str(tiny.KINDS[name].options) or name == "modernbert"
    assert (_no_key_rows(recorder.trace(index=1)) > 0) == (windowed or (side == "left" and tiny.KINDS[name].causal))


def _no_key_rows(trace: Trace) -> int:
    return sum(site.no_key_rows for site in trace.verify().sites)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("implementation", tiny.KINDS["t5"].runs)
def test_padding_of_both_stacks(side: str, implementation: str) -> None:
    model, batch = tiny.model("t5", implementation), tiny.padded_batch(side)
    decoder = tiny.padded_batch(side, length=7, shorter=3)
    batch |= {f"decoder_{name}": x for name, x in decoder.items()}
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(**batch)
    theirs = own_weights(model, batch) if implementation == "eager" else None
    for index in (0, 1):
        trace = recorder.trace(index=index)
        assert trace.verify().passed, str(trace.verify())
        assert (len(trace.tokens), len(trace.target or ())) == (13, 7)
        for number, site in enumerate(trace.sites):
            if theirs is not None:
                assert same_weights(site, theirs[number][index])
        if index:
            padding = slice(None, 5) if side == "left" else slice(8, None)
            assert float(trace.site(0, "cross").weights()[..., padding].max()) == 0


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["bert", "electra", "albert"])
def test_text_pair(name: str, implementation: str) -> None:
    """Two sentences: token types reach the model, and the tokens know their sentence."""
    model, tokenizer = tiny.model(name, implementation), tiny.tokenizer()
    trace = attnscope.trace(model, tokenizer, "the cat sat", text_pair="a dog ran to it")
    assert trace.tokens.segments == (0,) * 5 + (1,) * 6
    assert trace.verify().max_error <= tolerance()
    encoded = tokenizer("the cat sat", "a dog ran to it", return_tensors="pt")
    assert encoded["token_type_ids"].tolist()[0] == list(trace.tokens.segments)
    reference = tiny.model(name, "eager")
    for site, weights in zip(trace.sites, own_weights(reference, dict(encoded)), strict=True):
        assert same_weights(site, weights[0])
    one_type = {**encoded, "token_type_ids": torch.zeros_like(encoded["token_type_ids"])}
    assert same_weights(trace.sites[0], own_weights(reference, one_type)[0][0]).difference > 1e-3, "they must matter"


def test_t5_bias_is_kept_by_diagonals() -> None:
    trace = attnscope.trace(tiny.model("t5"), None, inputs=tiny.inputs("t5"))
    for stack, queries in (("encoder", 13), ("decoder", 7)):
        first, second = (trace.site(layer, stack).position_bias for layer in (0, 1))
        assert first is not None
        assert second is not None
        if "t5" not in tiny.OWN_CODE:
            assert first is second, "kept once for the stack"
        assert first.cells is None
        assert first.diagonals.shape == (3, 2 * queries - 1)
    assert all(site.scaling == 1.0 and site.scaled_by_model for site in trace.sites)


def test_albert_counts_the_calls_of_its_one_module() -> None:
    trace = attnscope.trace(tiny.model("albert"), None, inputs=tiny.inputs("albert"))
    assert len({site.path for site in trace.sites}) == 1
    assert [(site.call, site.layer) for site in trace.sites] == [(0, 0), (1, 1), (2, 2)]


def test_windows_are_rules() -> None:
    for name, expected in (("mistral", (-4, 0)), ("modernbert", (-3, 3))):
        for implementation in ("eager", "sdpa"):
            site = attnscope.trace(tiny.model(name, implementation), None, inputs=tiny.inputs(name)).sites[1]
            assert (site.mask.lower, site.mask.upper, site.mask.packed) == (*expected, None)


def test_grouped_queries_keep_fewer_keys() -> None:
    site = attnscope.trace(tiny.model("llama"), None, inputs=tiny.inputs("llama")).site(layer=1)
    assert (site.q.shape, site.k.shape, site.v.shape) == ((6, 13, 10), (2, 13, 10), (2, 13, 10))


def test_sinks_take_a_part() -> None:
    site = attnscope.trace(tiny.model("gpt_oss"), None, inputs=tiny.inputs("gpt_oss")).site(layer=0)
    total = site.weights().sum(-1)
    assert site.sinks is not None
    assert float(total.max()) <= 1 + tolerance()
    assert float(total.min()) < 0.9


def test_softcap_is_kept() -> None:
    site = attnscope.trace(tiny.model("gemma2"), None, inputs=tiny.inputs("gemma2")).site(layer=1)
    assert site.softcap == 2.0
    chain = site.chain()
    assert float(chain.scaled.abs().max()) > 1.2
    assert float(chain.capped.abs().max()) < 2


@pytest.mark.parametrize("field", ["q", "k", "v", "scaling", "mask"])
def test_receipt_fails_when_something_is_wrong(field: str) -> None:
    from dataclasses import replace

    from attnscope.tracing.masks import NO_MASK

    trace = attnscope.trace(tiny.model("llama"), None, inputs=tiny.inputs("llama"))
    site = trace.site(layer=1)
    wrong = {"scaling": site.scaling * 1.01, "mask": NO_MASK}.get(
        field, getattr(site, field) * 1.01 if field in "qkv" else None
    )
    receipt = trace.replace_sites([trace.sites[0], replace(site, **{field: wrong})]).verify()
    assert not receipt
    assert [part.status for part in receipt.sites] == ["exact", "failed"]
    assert "DOES NOT MATCH" in str(receipt)


def test_without_a_plain_projection_write_is_not_captured() -> None:
    from parts import Gated

    model = Gated()
    with attnscope.capture(model) as recorder:
        model(torch.randn(1, 7, 15))
    site = recorder.trace().site(layer=0)
    assert site.verify().status == "exact"
    with pytest.raises(NotCaptured, match="projections=True"):
        site.write(head=0)
