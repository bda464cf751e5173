"""W_q, W_k and W_v found by data, against the parameters that each architecture is known to have, and against its own numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor

import attnscope
import tiny_models as tiny
from attnscope.tracing.site import Site
from closeness import close

pytestmark = pytest.mark.exactness

KEEP = {"x", "pre_rotary", "projections"}
DTYPES = [torch.float32, torch.bfloat16]


def model_of(name: str) -> Any:
    """The one that `traced` traces when nothing else is said."""
    return tiny.model(name, "eager", torch.float32)


def traced(name: str, implementation: str = "eager", dtype: torch.dtype = torch.float32) -> Any:
    inputs = {key: x.to(dtype) if x.is_floating_point() else x for key, x in tiny.inputs(name).items()}
    return attnscope.trace(tiny.model(name, implementation, dtype), None, inputs=inputs, keep=KEEP)


def kept(site: Site, letter: str) -> Tensor:
    """The vectors that the projection makes: before norm and rotary embedding, where there are such."""
    if letter == "v":
        return site.v
    for name in (f"pre_norm_{letter}", f"pre_rotary_{letter}"):
        if (found := getattr(site, name)) is not None:
            return found
    return getattr(site, letter)


@pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    ("name", "implementation"), [(name, one) for name, kind in tiny.KINDS.items() for one in kind.runs]
)
def test_x_through_the_projections_gives_q_k_and_v(name: str, implementation: str, dtype: torch.dtype) -> None:
    for site in traced(name, implementation, dtype).sites:
        assert (site.x_keys is not None) == (site.kind == "cross")
        for letter, heads in (("q", site.heads), ("k", site.kv_heads), ("v", site.kv_heads)):
            found = getattr(site, f"w_{letter}")
            assert found is not None, f"{site.name}: W_{letter}"
            x = site.x if letter == "q" or site.x_keys is None else site.x_keys
            assert x is not None
            assert found.heads == heads
            made = torch.stack([found.apply(x, head) for head in range(heads)]) * found.factor
            assert close(made, kept(site, letter), dtype)


# Where each architecture keeps them: module, which rows (columns of GPT-2's Conv1D) are those of head h of size D.
FUSED: dict[str, tuple[str, Any]] = {
    "gpt2": ("transformer.h.1.attn.c_attn", lambda part, h, D: part * 21 + h * D),
    "gpt_neox": ("gpt_neox.layers.1.attention.query_key_value", lambda part, h, D: (3 * h + part) * D),
    "modernbert": ("layers.1.attn.Wqkv", lambda part, h, D: part * 42 + h * D),
}
APART = {
    "bert": ("encoder.layer.1.attention.self.{}", ("query", "key", "value")),
    "llama": ("model.layers.1.self_attn.{}_proj", "qkv"),
    "qwen3": ("model.layers.1.self_attn.{}_proj", "qkv"),
    "gemma2": ("model.layers.1.self_attn.{}_proj", "qkv"),
    "opt": ("model.decoder.layers.1.self_attn.{}_proj", "qkv"),
}


@pytest.mark.parametrize("name", FUSED)
def test_fused_layers_are_cut_where_the_model_cuts_them(name: str) -> None:
    path, start = FUSED[name]
    model = model_of(name)
    module, site = model.get_submodule(path), traced(name).site(layer=1)
    weight = module.weight.T if name == "gpt2" else module.weight
    for part, letter in enumerate("qkv"):
        found = getattr(site, f"w_{letter}")
        assert found.parameter is module.weight, "a reference, not a copy"
        assert found.path == path
        for head in range(site.heads):
            first = start(part, head, site.head_size)
            rows = slice(first, first + site.head_size)
            assert torch.equal(found.weight(head), weight[rows])
            if module.bias is None:
                assert found.offset(head) is None
            else:
                assert torch.equal(found.offset(head), module.bias[rows])


@pytest.mark.parametrize("name", APART)
def test_three_layers_are_told_apart(name: str) -> None:
    pattern, letters = APART[name]
    model, site = model_of(name), traced(name).site(layer=1)
    for letter, own in zip("qkv", letters, strict=True):
        assert getattr(site, f"w_{letter}").parameter is model.get_submodule(pattern.format(own)).weight


def test_cross_attention_reads_the_encoder() -> None:
    model, trace = model_of("t5"), traced("t5")
    site = trace.site(1, "cross")
    assert site.w_q.parameter is model.decoder.block[1].layer[1].EncDecAttention.q.weight
    assert site.x.shape == (7, 19)
    assert site.x_keys.shape == (13, 19)


def test_what_stands_between_is_named() -> None:
    qwen, opt, llama = (traced(name).site(layer=0) for name in ("qwen3", "opt", "llama"))
    assert qwen.w_q.norm == "q_norm (Qwen3RMSNorm)"
    assert qwen.w_k.norm == "k_norm (Qwen3RMSNorm)"
    norm = model_of("qwen3").model.layers[0].self_attn.q_norm
    assert close(norm(qwen.pre_norm_q), qwen.pre_rotary_q)
    assert opt.w_q.factor == 7**-0.5
    assert opt.w_k.factor == llama.w_q.factor == 1.0
    assert llama.w_q.norm == ""
    assert llama.pre_norm_q is None


def test_what_is_not_a_linear_layer_is_not_found() -> None:
    """A clip behind the projections: what it makes is not x · W, and no W is shown."""
    from parts import Attention, Layers

    class ClippedAttention(Attention):
        def heads(self, x: Tensor) -> Tensor:
            return super().heads(x).clamp(-0.1, 0.1)

    x = torch.randn(1, 7, 15, generator=torch.Generator().manual_seed(3))
    model = Layers(ClippedAttention(), Attention())
    with torch.no_grad(), attnscope.capture(model, keep=KEEP) as recorder:
        model(x)
    clipped, plain = recorder.trace().sites
    assert clipped.w_q is clipped.w_k is clipped.w_v is None
    assert clipped.x is not None
    assert plain.w_q is not None
    assert plain.w_q.parameter is model.layers[1].q.weight


def test_a_padded_batch_and_its_second_row() -> None:
    model, batch = tiny.model("llama", "sdpa"), tiny.padded_batch("left")
    with torch.no_grad(), attnscope.capture(model, keep=KEEP) as recorder:
        model(**batch)
    site: Any = recorder.trace(index=1).site(layer=1)
    made = torch.stack([site.w_q.apply(site.x, head) for head in range(site.heads)])
    assert close(made, site.pre_rotary_q)
