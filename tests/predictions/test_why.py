"""Why a head attends: the split of q · k against hand-written sums, and its receipt."""

import pytest
import torch
from torch import Tensor

import attnscope
import tiny_models as tiny
from attnscope import CaptureError, InputError, NotCaptured, Trace
from attnscope.tracing.frozen import Linear, Scale
from attnscope.tracing.stream import reached
from followed_models import inputs_of, traced


@pytest.mark.exactness
def test_llama_by_hand() -> None:
    """q and k of each part, through the frozen norm, W_Q or W_K, and the model's own rotary embedding."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    model, seen = tiny.model("llama"), {}
    block = model.model.layers[0]
    later = model.model.layers[1]
    handles = [
        module.register_forward_hook(lambda _, args, out, name=name: seen.update({name: (args, out)}))
        for name, module in {
            "o_proj": block.self_attn.o_proj,
            "mlp": block.mlp,
            "embedding": model.model.embed_tokens,
            "rotary": model.model.rotary_emb,
            "norm": later.input_layernorm,
        }.items()
    ]
    with torch.no_grad():
        model(**inputs_of("llama"))
        for handle in handles:
            handle.remove()
        z, weight = seen["o_proj"][0][0][0], block.self_attn.o_proj.weight
        writes = {f"L0H{h}": p @ w.T for h, (p, w) in enumerate(zip(z.chunk(6, -1), weight.chunk(6, -1), strict=True))}
        parts = {"embedding": seen["embedding"][1][0], **writes, "L0 MLP": seen["mlp"][1][0]}
        x = seen["norm"][0][0][0]
        scale = later.input_layernorm.weight / (x.square().mean(-1, keepdim=True) + model.config.rms_norm_eps).sqrt()
        cos, sin = seen["rotary"][1]

        def turned(part: Tensor, w: Tensor) -> Tensor:
            made = (part * scale @ w.T).unflatten(-1, (-1, 10)).transpose(0, 1)[None]
            return apply_rotary_pos_emb(made, made, cos, sin)[0][0]

        q = {name: turned(part, later.self_attn.q_proj.weight)[4, 9] for name, part in parts.items()}
        k = {name: turned(part, later.self_attn.k_proj.weight)[1, 3] for name, part in parts.items()}
    found = traced("llama").why("L1H4", 9, 3)  # heads 3 to 5 share key/value head 1
    assert [one.name for one in found.query_sources] == [one.name for one in found.key_sources] == list(parts)
    for i, row in enumerate(q.values()):
        for j, column in enumerate(k.values()):
            assert float(found.table[i, j]) == pytest.approx(float(row @ column) * 10**-0.5, abs=1e-5)


KINDS = (
    "llama",
    "gpt2",
    "gemma2",
    "qwen3",
    "olmo2",
    "deepseek",
    "gated",
    "cohere",
    "gptj",
    "bert",
    "albert",
    "t5_generates",
)
KINDS += ("opt", "granite", "gpt_neox")


@pytest.mark.exactness
@pytest.mark.parametrize("name", KINDS)
def test_the_table_adds_up_to_scaled(name: str) -> None:
    trace = traced(name)
    for stack in trace.stacks:
        site = trace.site(1, stack)
        found = trace.why("L1H1", 5, 3, stack=stack)
        chain = site.chain(1, 5)
        largest = max(1.0, float(found.table.abs().sum()))
        assert float(found.table.sum()) == pytest.approx(float(chain.scaled[0, 3]), abs=1e-5 * largest)
        assert found.score == pytest.approx(float(chain.biased[0, 3]), abs=1e-5)
        rows, columns, table = found.by_layer()
        assert {"embedding", "L0"} <= set(rows) & set(columns)
        assert float(table.sum()) == pytest.approx(found.scaled, abs=1e-5 * largest)
        assert (dict(found.steps).keys() == {"softcap"}) == (name == "gemma2")
        assert ("position bias" in dict(found.steps)) == (name == "t5_generates" and stack != "cross")
        assert found.top(1)[0][2] == pytest.approx(float(found.table.flatten()[found.table.abs().argmax()]))


def test_biases_are_parts_of_their_own() -> None:
    found = traced("gpt2").why("L1H0", 6, 2)
    assert {"query bias", "L1 norm bias"} <= {one.name for one in found.query_sources}
    assert {"key bias", "L1 norm bias"} <= {one.name for one in found.key_sources}
    assert "biases" in found.by_layer()[0]


def test_a_key_that_is_masked_says_so() -> None:
    assert traced("llama").why("L1H0", 2, 9).masked
    assert not traced("llama").why("L1H0", 9, 2).masked


@pytest.mark.parametrize("name", ["llama", "qwen3", "bert"])
def test_a_wrong_norm_or_weight_fails(name: str) -> None:
    trace = traced(name)
    q, _, _ = trace.streams[0].attended[trace.site(1).path, 0]
    assert q is not None
    trace.why("L1H0", 9, 2)
    steps = [step for node in reached([q]) if node.flow == "projected" for _, step in node.inputs]
    for step in steps:
        if isinstance(step, Scale) and isinstance(step.factor, Tensor):
            object.__setattr__(step, "factor", step.factor * 1.1)
            break
        if isinstance(step, Linear):
            object.__setattr__(step, "weight", step.weight * 1.1)
            break
    with pytest.raises(CaptureError, match="do not add up to the score"):
        trace.why("L1H0", 9, 2)


def test_what_is_not_there() -> None:
    trace = attnscope.trace(tiny.model("llama"), None, inputs=inputs_of("llama"))
    assert trace.why("L1H0", 5, 2, model=tiny.model("llama")).name == "L1H0"
    with pytest.raises(NotCaptured, match="how q and k of layer 1 are made"):
        trace.why("L1H0", 5, 2)
    with pytest.raises(InputError, match="expected a layer beside head 3"):
        trace.why(3, 5, 2)
    weights = torch.full((1, 2, 4, 4), 0.25)
    with pytest.raises(NotCaptured, match="holds weights only"):
        Trace.from_attentions([weights], list("abcd")).why("L0H1", 2, 1)
