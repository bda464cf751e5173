"""What the second net reads, against torch: nn.MultiheadAttention's own weights, the formula of
scaled_dot_product_attention in float64, and the attentions that transformers' hand-written models return."""

import math
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import attnscope
from attnscope import CaptureError
from closeness import close, through_softmax

pytestmark = pytest.mark.exactness

B, T, S, M, H, D = 2, 7, 11, 15, 3, 5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 1.7


# --- scaled_dot_product_attention -------------------------------------------------------------------------------------


class Call(nn.Module):
    """One call, with whatever it is given."""

    def forward(self, **call: Any) -> Tensor:
        return F.scaled_dot_product_attention(**call)


def captured(call: dict[str, Any], index: int = 0) -> attnscope.Trace:
    model = Call()
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(**call)
    return recorder.trace(index=index)


def by_formula(call: dict[str, Any]) -> Tensor:
    """[B, H, Q, K] weights in float64, as torch's documentation writes them."""
    q, k = call["query"].double(), call["key"].double()
    if call.get("enable_gqa"):
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    scale = call.get("scale")
    scores = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    mask = call.get("attn_mask")
    if call.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).nan_to_num(0.0)


def check(call: dict[str, Any]) -> None:
    theirs = by_formula(call)
    for index in range(len(theirs)):
        trace = captured(call, index)
        (site,) = trace.sites
        assert trace.verify().passed
        assert close(site.weights(), theirs[index])


def tensors(queries: int = T, keys: int = S, kv_heads: int = H) -> dict[str, Tensor]:
    return {
        "query": random(B, H, queries, D, seed=1),
        "key": random(B, kv_heads, keys, D, seed=2),
        "value": random(B, kv_heads, keys, 13, seed=3),
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 0.31},
        {"is_causal": True},
        {"attn_mask": random(T, S)},
        {"attn_mask": random(T, S) > 0},
        {"attn_mask": random(H, T, S) > 0},
        {"attn_mask": random(B, 1, 1, S) > -1},
        {"attn_mask": random(B, H, T, S)},
        {"attn_mask": torch.zeros(T, S).masked_fill(random(T, S) > 0.5, -math.inf)},
    ],
    ids=["plain", "scale", "causal", "float", "bool", "bool of heads", "padding", "float of all", "-inf"],
)
def test_arguments(options: dict[str, Any]) -> None:
    check({**tensors(), **options})


@pytest.mark.parametrize(("queries", "keys"), [(1, S), (S, T), (T, T), (1, 1)])
def test_causal_is_aligned_to_the_upper_left(queries: int, keys: int) -> None:
    check({**tensors(queries, keys), "is_causal": True})


def test_grouped_queries() -> None:
    call = {**tensors(kv_heads=1), "enable_gqa": True}
    check(call)
    assert captured(call).sites[0].kv_heads == 1


def test_arguments_by_position() -> None:
    class Positions(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v, random(T, S) > 0, 0.0, False, scale=0.2)

    given_tensors = list(tensors().values())
    model = Positions()
    with attnscope.capture(model) as recorder:
        model(*given_tensors)
    assert recorder.trace().verify().passed


@pytest.mark.parametrize("shape", [(T, D), (4, T, D), (2, 3, H, T, D)])
def test_other_numbers_of_axes(shape: tuple[int, ...]) -> None:
    q, k, v = (random(*shape, seed=seed) for seed in range(3))
    trace = captured({"query": q, "key": k, "value": v, "is_causal": True}, index=0)
    (site,) = trace.sites
    assert trace.verify().passed
    theirs = by_formula({"query": q, "key": k, "is_causal": True})
    theirs = theirs[(0,) * (theirs.ndim - 3)] if theirs.ndim > 3 else theirs[None] if theirs.ndim == 2 else theirs[:1]
    weights = site.weights()
    if len(shape) == 5:  # (2, 3): two inputs of three parts each, which do not see each other
        assert not weights[:, :T, T:].any()
        weights = weights[:, :T, :T]
    assert close(weights, theirs)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_mask(data: st.DataObject) -> None:
    queries, keys = data.draw(st.integers(1, 13)), data.draw(st.integers(1, 13))
    shape = data.draw(
        st.sampled_from([(queries, keys), (1, keys), (H, queries, keys), (B, 1, queries, keys), (B, H, 1, keys)])
    )
    allowed = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape)))
    ).reshape(shape)
    mask = allowed
    if data.draw(st.booleans()):
        mask = random(*shape, seed=9).masked_fill(~allowed, -math.inf)
    check({**tensors(queries, keys), "attn_mask": mask})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    call = {name: x.to(dtype) for name, x in tensors().items()}
    trace = captured(call)
    assert trace.verify().passed
    assert trace.model.dtype == str(dtype).removeprefix("torch.")


# --- nn.MultiheadAttention --------------------------------------------------------------------------------------------


def attention(**options: Any) -> nn.MultiheadAttention:
    torch.manual_seed(5)
    module = nn.MultiheadAttention(M, H, **options).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4)
    return module


def run(module: nn.Module, index: int = 0, **call: Any) -> tuple[attnscope.Trace, Any]:
    with torch.no_grad(), attnscope.capture(module) as recorder:
        result = module(**call)
    return recorder.trace(index=index), result


def inputs(batch_first: bool, cross: bool, batch: int = B) -> dict[str, Tensor]:
    read, asked = random(batch, S, M, seed=1), random(batch, T, M, seed=2)
    read, asked = (x if batch_first else x.transpose(0, 1) for x in (read, asked))
    return {"query": asked if cross else read, "key": read, "value": read}


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cross", [True, False])
@pytest.mark.parametrize("masks", ["none", "padding", "bool", "float", "both", "of heads"])
def test_multihead_attention(masks: str, cross: bool, batch_first: bool, need_weights: bool) -> None:
    module, call = attention(batch_first=batch_first), inputs(batch_first, cross)
    queries = T if cross else S
    padding = torch.zeros(B, S, dtype=torch.bool)
    padding[1, -3:] = True
    if masks in ("padding", "both"):
        call["key_padding_mask"] = padding
    if masks in ("bool", "both"):
        call["attn_mask"] = torch.ones(queries, S, dtype=torch.bool).triu(1)
    if masks == "float":
        call["attn_mask"] = random(queries, S, seed=4)
    if masks == "of heads":
        call["attn_mask"] = random(B * H, queries, S, seed=4).masked_fill(random(B * H, queries, S) > 1, -math.inf)
    with torch.no_grad():
        result, own = module(**call, need_weights=True, average_attn_weights=False)
    for index in range(B):
        trace, (out, _) = run(module, index, **call, need_weights=need_weights)
        (site,) = trace.sites
        assert trace.verify().passed
        assert trace.verify().rows == queries
        assert site.kind == ("cross" if cross else "self")
        assert close(site.weights(), own[index])
        assert close(out, result)
        row = out[index] if batch_first else out[:, index]
        assert close(site.write().sum(0) + module.out_proj.bias, row)


@pytest.mark.parametrize("need_weights", [True, False])
def test_causal_hint(need_weights: bool) -> None:
    module, call = attention(batch_first=True), inputs(True, False)
    mask = nn.Transformer.generate_square_subsequent_mask(S)
    trace, _ = run(module, **call, attn_mask=mask, is_causal=True, need_weights=need_weights)
    own = module(**call, attn_mask=mask, average_attn_weights=False)[1]
    assert trace.sites[0].mask.describe() == "causal"
    assert close(trace.sites[0].weights(), own[0])
    assert trace.verify().passed


@pytest.mark.parametrize("need_weights", [True, False])
def test_other_sizes_and_no_batch(need_weights: bool) -> None:
    module = attention(kdim=13, vdim=19, bias=False)
    call = {"query": random(T, M, seed=1), "key": random(S, 13, seed=2), "value": random(S, 19, seed=3)}
    trace, _ = run(module, **call, need_weights=need_weights)
    assert trace.verify().passed
    assert close(trace.sites[0].weights(), module(**call, average_attn_weights=False)[1])


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_zero_attention_is_a_sink(causal: bool, need_weights: bool) -> None:
    module, call = attention(batch_first=True, add_zero_attn=True), inputs(True, False)
    if causal:
        call["attn_mask"] = nn.Transformer.generate_square_subsequent_mask(S)
    trace, _ = run(module, **call, is_causal=causal, need_weights=need_weights)
    own = module(**call, average_attn_weights=False)[1]
    site = trace.sites[0]
    assert trace.verify().passed
    if need_weights or not causal:  # torch drops the mask for its causal hint, and with it the key of zeros
        assert close(site.weights(), own[0, ..., :S])
        assert float(site.weights().sum(-1).min()) < 0.98


@pytest.mark.parametrize("need_weights", [True, False])
def test_keys_of_their_own_are_refused_by_name(need_weights: bool) -> None:
    with pytest.raises(CaptureError, match=r"does not know \(bias_k, bias_v\)"):
        run(attention(batch_first=True, add_bias_kv=True), **inputs(True, False), need_weights=need_weights)


@pytest.mark.parametrize("need_weights", [True, False])
def test_queries_without_a_key(need_weights: bool) -> None:
    """With need_weights torch gives NaN there, without it zeros; neither is taken for an error."""
    mask = torch.zeros(S, S, dtype=torch.bool)
    mask[[2, 5]] = True
    trace, (out, _) = run(attention(batch_first=True), **inputs(True, False), attn_mask=mask, need_weights=need_weights)
    receipt = trace.verify()
    assert receipt.passed
    assert receipt.rows == (S - 2 if need_weights else S)
    assert bool(out[0, 2].isnan().all()) == need_weights
    assert ("2 queries come out of the module as NaN" in trace.sites[0].note) == need_weights


class Direct(nn.Module):
    """The function behind nn.MultiheadAttention by itself, as attention pools call it: its masks come as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = attention()

    def forward(self, x: Tensor, **masks: Any) -> Tensor:
        inner = self.inner
        return F.multi_head_attention_forward(
            x,
            x,
            x,
            M,
            H,
            inner.in_proj_weight,
            inner.in_proj_bias,
            None,
            None,
            False,
            0.0,
            inner.out_proj.weight,
            inner.out_proj.bias,
            training=False,
            need_weights=False,
            **masks,
        )[0]


def test_boolean_masks_say_what_is_hidden() -> None:
    module, x = Direct(), random(S, B, M, seed=1)
    padding = torch.zeros(B, S, dtype=torch.bool)
    padding[0, -3:] = True
    masks = {"key_padding_mask": padding, "attn_mask": torch.ones(S, S, dtype=torch.bool).triu(1)}
    trace, _ = run(module, x=x, **masks)
    own = module.inner(x, x, x, **masks, average_attn_weights=False)[1]
    assert close(trace.sites[0].weights(), own[0])
    assert trace.verify().passed


def test_training_and_gradients() -> None:
    grads = []
    for watched in (False, True):
        module = attention(batch_first=True, dropout=0.3).train()
        torch.manual_seed(11)
        call = inputs(True, False)
        if watched:
            with attnscope.capture(module) as recorder:
                module(**call)[0].square().sum().backward()
            assert recorder.trace().verify().sites[0].status == "unverified"
        else:
            module(**call)[0].square().sum().backward()
        grads.append([p.grad for p in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def ulp(a: Tensor, b: Tensor) -> float:
    """The largest difference, in units of the last place of the largest number."""
    return float((a - b).abs().max() / (b.abs().max() * torch.finfo(b.dtype).eps))


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_transformer_encoder_whose_fast_path_is_off(padded: bool, norm_first: bool) -> None:
    torch.manual_seed(2)
    layer = nn.TransformerEncoderLayer(14, 2, 31, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=not norm_first).eval()
    x = random(B, S, 14)
    padding = torch.zeros(B, S, dtype=torch.bool)
    padding[1, 8:] = padded
    call = {"src": x, "src_key_padding_mask": padding if padded else None}
    with torch.no_grad():
        plain = encoder(**call)
    for index, keys in ((0, S), (1, 8 if padded else S)):
        trace, out = run(encoder, index, **call)
        assert [site.path for site in trace.sites] == [f"layers.{i}.self_attn" for i in range(3)]
        assert trace.verify().passed
        assert ulp(out[index, :keys], plain[index, :keys]) <= 4
        assert bool((trace.sites[2].weights()[..., keys:] == 0).all())
        assert any("4 ulp" in note for note in trace.notes)
    # The first layer's weights are those of its own nn.MultiheadAttention.
    first = encoder.layers[0]
    normed = first.norm1(x) if norm_first else x
    own = first.self_attn(normed, normed, normed, padding if padded else None, average_attn_weights=False)[1]
    assert close(trace.sites[0].weights(), own[1])


def test_whole_transformer() -> None:
    torch.manual_seed(2)
    model = nn.Transformer(14, 2, 2, 3, 31, batch_first=True).eval()
    call = {
        "src": random(1, S, 14),
        "tgt": random(1, T, 14, seed=1),
        "tgt_mask": nn.Transformer.generate_square_subsequent_mask(T),
        "tgt_is_causal": True,
    }
    trace = attnscope.trace(model, None, inputs=call)
    assert trace.stacks == {"encoder": 2, "decoder": 3, "cross": 3}
    assert trace.verify().passed
    assert trace.site(1, "decoder").mask.describe() == "causal"
    assert (len(trace.tokens), len(trace.target or ())) == (S, T)


# --- transformers' models that attend by hand -------------------------------------------------------------------------

_SMALL = {
    "vocab_size": 97,
    "hidden_size": 22,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 53,
    "max_position_embeddings": 67,
    "pad_token_id": 1,
}
_GPT = {"vocab_size": 97, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 67, "n_ctx": 67}
HAND_WRITTEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "deberta": ("DebertaConfig", "DebertaModel", _SMALL | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "deberta_v2": ("DebertaV2Config", "DebertaV2Model", _SMALL | {"relative_attention": True}),
    "mpnet": ("MPNetConfig", "MPNetModel", _SMALL),
    "xlnet": ("XLNetConfig", "XLNetModel", {"vocab_size": 97, "d_model": 22, "n_layer": 3, "n_head": 2, "d_inner": 31}),
    "bloom": ("BloomConfig", "BloomModel", {"vocab_size": 97, "hidden_size": 22, "n_layer": 3, "n_head": 2}),
    "mpt": ("MptConfig", "MptModel", {"vocab_size": 97, "d_model": 22, "n_layers": 3, "n_heads": 2, "max_seq_len": 67}),
    "gptj": ("GPTJConfig", "GPTJModel", _GPT | {"rotary_dim": 4}),
    "codegen": ("CodeGenConfig", "CodeGenModel", _GPT | {"rotary_dim": 4}),
    "xlm": ("XLMConfig", "XLMModel", {"vocab_size": 97, "emb_dim": 22, "n_layers": 3, "n_heads": 2}),
    "fsmt": (
        "FSMTConfig",
        "FSMTModel",
        {
            "src_vocab_size": 97,
            "tgt_vocab_size": 97,
            "langs": ["en", "de"],
            "d_model": 22,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 31,
            "decoder_ffn_dim": 31,
            "max_position_embeddings": 67,
        },
    ),
}


def hand_written(name: str) -> tuple[Any, dict[str, Any]]:
    config, kind, options = HAND_WRITTEN[name]
    torch.manual_seed(1)
    model = getattr(transformers, kind)(getattr(transformers, config)(**options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(
                    30 if name == "xlnet" else 7
                )  # a fresh model's attention is nearly uniform, and agrees with almost anything
    ids = torch.randint(3, 97, (1, 13), generator=torch.Generator().manual_seed(3))
    call: dict[str, Any] = {"input_ids": ids}
    if name == "fsmt":
        call |= {"decoder_input_ids": ids[:, :5], "use_cache": False}  # with a cache it masks nothing
    return model, call


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_hand_written_models_are_followed_from_q_and_k_to_their_own_weights(name: str) -> None:
    model, call = hand_written(name)
    model.set_attn_implementation("eager")  # later releases have some of these in the interface: sdpa gives no weights
    trace = attnscope.trace(model, None, inputs=call)
    with torch.no_grad():
        plain = model(**call)[0]
        own = model(**call, output_attentions=True)
        with attnscope.capture(model):
            assert torch.equal(model(**call)[0], plain)
    kinds = ("attentions", "encoder_attentions", "decoder_attentions", "cross_attentions")
    theirs = [weights for kind in kinds for weights in getattr(own, kind, None) or ()]
    assert len(theirs) == len(trace.sites) == 3
    order = {None: 0, "encoder": 0, "decoder": 1, "cross": 2}
    for site, weights in zip(sorted(trace.sites, key=lambda site: order[site.stack]), theirs, strict=True):
        assert not site.weights_only
        assert close(site.weights(), weights[0], magnitude=through_softmax(site.scores()))
        assert float(weights.max()) > 1.5 / site.keys
    assert trace.verify().passed
    assert not trace.unrecorded
    assert not any("Weights only" in note for note in trace.notes)


def test_falcon_calls_torch_and_is_exact() -> None:
    torch.manual_seed(1)
    config = {"vocab_size": 97, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    model = transformers.FalconModel(transformers.FalconConfig(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(7)
    ids = torch.randint(3, 97, (1, 13), generator=torch.Generator().manual_seed(3))
    trace = attnscope.trace(model, None, inputs={"input_ids": ids})
    assert trace.verify().passed
    config = transformers.FalconConfig(**config)
    config._attn_implementation = "eager"
    eager = transformers.FalconModel(config).eval()
    eager.load_state_dict(model.state_dict())
    by_hand = attnscope.trace(eager, None, inputs={"input_ids": ids})
    for site, other in zip(trace.sites, by_hand.sites, strict=True):
        assert not other.weights_only
        assert close(site.weights(), other.weights(), magnitude=through_softmax(site.scores()))
    generated = model.config  # cached steps see earlier keys, and are no cross-attention
    assert generated.use_cache
    with torch.no_grad(), attnscope.capture(model, keep_passes=2) as recorder:
        first = model(input_ids=ids, use_cache=True)
        model(input_ids=ids[:, -1:], past_key_values=first.past_key_values, use_cache=True)
    step = recorder.trace()
    assert [(site.kind, site.queries, site.keys) for site in step.sites] == [("self", 1, 14)] * 2
    assert step.verify().passed


def test_siglips_pooling_head() -> None:
    """The interface has the layers, the net the head: nn.MultiheadAttention with one query of the model's own."""
    options = {"hidden_size": 22, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 31}
    config = transformers.SiglipVisionConfig(**options, image_size=32, patch_size=8)
    model = transformers.SiglipVisionModel(config).eval()
    trace = attnscope.trace(model, None, inputs={"pixel_values": torch.randn(1, 3, 32, 32)})
    assert [*trace.stacks.values()] == [2, 1]  # older releases have a "vision_model" around the layers
    assert "cross" in trace.stacks
    assert trace.verify().passed
    assert trace.site(0, "cross").queries == 1
    assert trace.key_tokens(trace.site(0, "cross"))[1] == "patch 0,1"
    assert not trace.unrecorded


def test_attention_of_landmarks_is_no_trace() -> None:
    """Its weights are no shares: an inverse stands between the pieces."""
    model = transformers.NystromformerModel(
        transformers.NystromformerConfig(**_SMALL, num_landmarks=4, segment_means_seq_len=16)
    )
    with pytest.raises(CaptureError, match="Modules that look like attention"):
        attnscope.trace(model, None, inputs={"input_ids": torch.randint(3, 97, (1, 16))})
