"""Direct attribution, the lens and predictions against hand-written hooks on the model's own modules."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attnscope
import tiny_models as tiny
from attnscope import CaptureError, InputError, NotCaptured
from attnscope.predictions.lens import lens_logits
from attnscope.predictions.readout import readout
from attnscope.tracing.stream import forward
from closeness import close
from followed_models import PRE_LN, inputs_of, traced

TARGET, AGAINST = 11, 23


class Seen:
    """What modules received and returned, by path."""

    def __init__(self, model: nn.Module, inputs: dict[str, Tensor]) -> None:
        self.given: dict[str, Tensor] = {}
        self.made: dict[str, Tensor] = {}
        handles = [module.register_forward_hook(self._hook(path)) for path, module in model.named_modules()]
        with torch.no_grad():
            self.logits = model(**inputs).logits[0]
        for handle in handles:
            handle.remove()

    def _hook(self, path: str) -> Any:
        def hook(_: Any, args: Any, output: Any) -> None:
            if args and isinstance(args[0], Tensor):
                self.given[path] = args[0].detach()[0].clone()
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, Tensor):
                self.made[path] = output.detach()[0].clone()

        return hook


def rms(x: Tensor, at: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm of x with the scale of `at`."""
    return x * weight / (at.square().mean(-1, keepdim=True) + epsilon).sqrt()


def heads_of(z: Tensor, weight: Tensor, count: int) -> Tensor:
    """[H, T, M]: z · W_O by head. `z`: [T, H · Dv]. `weight`: [M, H · Dv]."""
    return torch.stack([p @ w.T for p, w in zip(z.chunk(count, -1), weight.chunk(count, -1), strict=True)])


@pytest.mark.exactness
@pytest.mark.parametrize("query", [-1, 4])
def test_llama_by_hand(query: int) -> None:
    model = tiny.model("llama")
    seen, found = Seen(model, inputs_of("llama")), traced("llama").attribution(TARGET, AGAINST, query)
    final, epsilon = model.model.norm.weight.detach(), model.config.rms_norm_eps
    x = seen.given["model.norm"]
    u = model.lm_head.weight.detach()[TARGET] - model.lm_head.weight.detach()[AGAINST]

    def adds(part: Tensor) -> float:
        return float(rms(part[query], x[query], final, epsilon) @ u)

    assert found.of("embedding") == pytest.approx(adds(seen.made["model.embed_tokens"]), abs=1e-5)
    for layer in range(2):
        path = f"model.layers.{layer}"
        z, weight = (
            seen.given[f"{path}.self_attn.o_proj"],
            model.get_submodule(f"{path}.self_attn.o_proj").weight.detach(),
        )
        for head, write in enumerate(heads_of(z, weight, 6)):
            assert found.of(f"L{layer}H{head}") == pytest.approx(adds(write), abs=1e-5)
        assert found.of(f"L{layer} MLP") == pytest.approx(adds(seen.made[f"{path}.mlp"]), abs=1e-5)
        assert found.of(f"L{layer} attention") == pytest.approx(adds(seen.made[f"{path}.self_attn"]), abs=1e-5)
    own = float(seen.logits[query, TARGET] - seen.logits[query, AGAINST])
    assert found.logit == pytest.approx(own, abs=1e-6)
    assert found.total == pytest.approx(own, abs=1e-5)
    assert found.receipt.sum_error is not None
    assert found.receipt.sum_error < 1e-5


@pytest.mark.exactness
def test_gpt2_by_hand_centres_each_part_and_its_biases_are_parts() -> None:
    model = tiny.model("gpt2")
    seen, found = Seen(model, inputs_of("gpt2")), traced("gpt2").attribution(TARGET, AGAINST)
    norm, x = model.transformer.ln_f, seen.given["transformer.ln_f"][-1]
    scale = norm.weight.detach() / (x.var(correction=0) + norm.eps).sqrt()
    u = model.lm_head.weight.detach()[TARGET] - model.lm_head.weight.detach()[AGAINST]

    def adds(part: Tensor) -> float:
        return float(((part - part.mean()) * scale) @ u)

    for layer in range(2):
        layer_of = model.transformer.h[layer]
        z, c_proj = seen.given[f"transformer.h.{layer}.attn.c_proj"], layer_of.attn.c_proj
        for head, write in enumerate(heads_of(z, c_proj.weight.detach().T, 3)):
            assert found.of(f"L{layer}H{head}") == pytest.approx(adds(write[-1]), abs=1e-5)
        assert found.of(f"L{layer} attention bias") == pytest.approx(adds(c_proj.bias.detach()), abs=1e-5)
        assert found.of(f"L{layer} MLP") == pytest.approx(adds(seen.made[f"transformer.h.{layer}.mlp"][-1]), abs=1e-5)
    assert found.of("final norm bias") == pytest.approx(float(norm.bias.detach() @ u), abs=1e-5)


@pytest.mark.exactness
def test_gemma2_by_hand_passes_the_norm_behind_each_block_and_the_cap() -> None:
    model = tiny.model("gemma2")
    trace = traced("gemma2")
    seen, found = Seen(model, inputs_of("gemma2")), trace.attribution(TARGET, AGAINST)
    x, epsilon = seen.given["model.norm"][-1], model.config.rms_norm_eps
    u = model.lm_head.weight.detach()[TARGET] - model.lm_head.weight.detach()[AGAINST]

    def adds(part: Tensor) -> float:
        return float(rms(part, x, 1 + model.model.norm.weight.detach(), epsilon) @ u)

    read = readout(trace.streams[0], 12, [TARGET], [AGAINST])
    for layer in range(2):
        path = f"model.layers.{layer}"
        block = model.get_submodule(path)
        norm, raw = block.post_attention_layernorm, seen.made[f"{path}.self_attn.o_proj"][-1]
        z = seen.given[f"{path}.self_attn.o_proj"]
        for head, write in enumerate(heads_of(z, block.self_attn.o_proj.weight.detach(), 6)):
            expected = adds(rms(write[-1], raw, 1 + norm.weight.detach(), epsilon))
            assert found.of(f"L{layer}H{head}") == pytest.approx(expected, abs=1e-5)
            assert float(read.of_write(layer, write[-1])[0]) == pytest.approx(expected, abs=1e-5)
        mlp = seen.made[f"{path}.mlp"][-1]
        after = rms(mlp, mlp, 1 + block.post_feedforward_layernorm.weight.detach(), epsilon)
        assert found.of(f"L{layer} MLP") == pytest.approx(adds(after), abs=1e-5)
        assert float(read.of_write(layer, mlp, "mlp")[0]) == pytest.approx(adds(after), abs=1e-5)
    cap = model.config.final_logit_softcapping
    raw = seen.given["lm_head"][-1] @ model.lm_head.weight.detach().T
    moved = cap * torch.tanh(raw / cap) - raw
    assert found.of("softcap") == pytest.approx(float(moved[TARGET] - moved[AGAINST]), abs=1e-5)
    assert abs(found.of("softcap")) > 1e-3
    assert found.total == pytest.approx(float(seen.logits[-1, TARGET] - seen.logits[-1, AGAINST]), abs=1e-5)


@pytest.mark.exactness
@pytest.mark.parametrize("name", [*PRE_LN, "t5_generates"])
def test_parts_add_up_and_the_last_lens_is_the_logits(name: str) -> None:
    trace = traced(name)
    stream = trace.streams[-1]
    with torch.no_grad():
        logits = tiny.model(name, (tiny.KINDS | tiny.VARIANTS)[name].implementations[0])(**inputs_of(name)).logits[0]
    found = trace.attribution(TARGET, AGAINST, 3)
    assert found.total == pytest.approx(float(logits[3, TARGET] - logits[3, AGAINST]), abs=3e-5)
    assert trace.attribution(TARGET, query=3).total == pytest.approx(float(logits[3, TARGET]), abs=3e-5)
    assert close(lens_logits(stream, [3, 5], [stream.layers])[0], logits[[3, 5]])


@pytest.mark.exactness
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_the_lens_computes_the_norm_anew(name: str) -> None:
    model = tiny.model(name)
    norm = model.transformer.ln_f if name == "gpt2" else model.model.norm
    with torch.no_grad():
        states = model(**inputs_of(name), output_hidden_states=True).hidden_states
        expected = model.lm_head(norm(states[1][0, [2, 7]]))
        cap = getattr(model.config, "final_logit_softcapping", None)
        expected = expected if cap is None else cap * torch.tanh(expected / cap)
    trace = traced(name)
    assert close(lens_logits(trace.streams[0], [2, 7], [1])[0], expected)
    found = trace.lens(query=7, layer=1, top=3)
    best = expected[1].softmax(-1).topk(3)
    assert found.ids[0, 0].tolist() == best.indices.tolist()
    assert close(found.probabilities[0, 0], best.values)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gated", "deepseek", "opt"])
def test_the_readout_of_a_changed_z_is_linear(name: str) -> None:
    """The direct effect of a change is the difference of two readings: of z, and of what it writes."""
    stream = traced(name).streams[0]
    read = readout(stream, 6, [TARGET, 5], [AGAINST, 7])
    leaf = read.heads(1)
    assert leaf.value is not None
    z = stream.cut([6])(leaf.value)[0]
    by_head = read.of_leaf(leaf)[:, 0]
    for head in range(len(z)):
        without = z.clone()
        without[head] = 0
        assert close(read.of_z(1, z) - read.of_z(1, without), by_head[:, head], magnitude=float(by_head.abs().max()))
    assert read.of_z(0, z.expand(4, 3, *z.shape)).shape == (2, 4, 3)
    node = read.written(1)
    zero_bias = forward(node, stream.cut([6]), {leaf: z[None]})[0]
    assert close(read.of_write(1, zero_bias), by_head.sum(-1), magnitude=float(by_head.abs().max()))
    with pytest.raises(NotCaptured, match="layer 9 has no attention"):
        read.of_z(9, z)


@pytest.mark.exactness
def test_predictions_are_the_models_own() -> None:
    with torch.no_grad():
        logits = tiny.model("llama")(**inputs_of("llama")).logits[0, -1]
    found = traced("llama").predictions(top=4)
    best = logits.topk(4)
    assert [one.id for one in found] == best.indices.tolist()
    assert [one.rank for one in found] == [1, 2, 3, 4]
    assert [one.probability for one in found] == pytest.approx(logits.softmax(-1)[best.indices].tolist())
    assert found.task == "next"
    assert found[0].text == f"#{found[0].id}"


def test_what_fills_a_place_and_labels() -> None:
    with torch.no_grad():
        filled = tiny.model("bert_fills")(**inputs_of("bert_fills")).logits[0, 5]
        labels = tiny.model("bert_labels")(**inputs_of("bert_labels")).logits[0]
    found = traced("bert_fills").predictions(5)
    assert (found.task, found[0].id) == ("fill", int(filled.argmax()))
    found = traced("bert_labels").predictions()
    assert (found.task, found.position) == ("label", None)
    assert [one.text for one in found] == [f"LABEL_{i}" for i in labels.argsort(descending=True).tolist()]


@pytest.mark.exactness
@pytest.mark.parametrize(
    ("name", "norm", "head", "at"),
    [("llama_labels", "model.norm", "score", 9), ("vit_labels", "vit.layernorm", "classifier", 0)],
)
def test_labels_that_a_linear_layer_reads_from_one_token(name: str, norm: str, head: str, at: int) -> None:
    """The last token that is no padding, or [CLS]: the parts of its last state make the difference of two labels."""
    model, inputs = tiny.model(name), tiny.inputs(name)
    if name == "llama_labels":
        inputs = {"input_ids": torch.cat([inputs["input_ids"][:, :10], torch.zeros(1, 3, dtype=torch.long)], 1)}
    seen = Seen(model, inputs)
    trace = attnscope.trace(model, None, inputs=inputs, keep={"stream"})
    found = trace.attribution("LABEL_3", "LABEL_1")
    own = float(seen.logits[3] - seen.logits[1])
    assert (found.position, found.logit) == (at, pytest.approx(own, abs=1e-6))
    assert found.total == pytest.approx(own, abs=1e-5)
    weight, module, x = model.get_submodule(head).weight.detach(), model.get_submodule(norm), seen.given[norm][at]
    centred = isinstance(module, nn.LayerNorm)
    scale = x.var(correction=0) + module.eps if centred else x.square().mean() + module.variance_epsilon

    def adds(part: Tensor) -> float:
        part = part - part.mean() if centred else part
        return float((part * module.weight.detach() / scale.sqrt()) @ (weight[3] - weight[1]))

    vit = ("vit.layers.1.attention.o_proj", "vit.encoder.layer.1.attention.output.dense")  # newer and older releases
    paths = vit if centred else ("model.layers.1.self_attn.o_proj",)
    path = next(path for path, _ in model.named_modules() if path in paths)
    site, o = trace.site(1), model.get_submodule(path).weight.detach()
    for number, part in enumerate(o.chunk(site.heads, -1)):
        assert found.of(f"L1H{number}") == pytest.approx(adds(site.output(number)[at] @ part.T), abs=1e-5)
    assert len({found.of(f"L1H{number}") for number in range(site.heads)}) == site.heads
    with attnscope.edit(model) as edit:
        edit.head("L1H2").off()
        effect = edit.effect(inputs=inputs, target="LABEL_3", against="LABEL_1")
    assert effect.direct == pytest.approx(found.of("L1H2"), abs=1e-5)
    with pytest.raises(InputError, match="none of the labels"):
        trace.attribution("LABEL_9")
    (stream,) = trace.streams
    assert stream.returned is not None
    other = replace(stream, returned=replace(stream.returned, places=(at - 1 if at else 1,)))  # read from its neighbour
    with pytest.raises(CaptureError, match="its logits differ"):
        replace(trace, streams=(other,)).attribution("LABEL_3", "LABEL_1")


def test_a_model_without_a_head_says_so() -> None:
    trace = traced("bert")
    for ask in (trace.predictions, trace.lens, lambda: trace.attribution(5)):
        with pytest.raises(NotCaptured, match="returns no logits: load it with a head"):
            ask()
    with pytest.raises(NotCaptured, match="no linear function"):
        traced("bert_fills").attribution(5)
    with pytest.raises(NotCaptured, match="no linear function"):  # the tanh of its pooler
        traced("bert_labels").attribution("LABEL_0")


def test_targets_by_name() -> None:
    trace = attnscope.trace(tiny.model("llama"), tiny.tokenizer(), "the cat sat", keep={"stream"})
    assert trace.attribution("cat", "dog").target.text == "cat"
    with pytest.raises(InputError, match="is 2 tokens"):
        trace.attribution("cats")
    with pytest.raises(InputError, match="out of range: this model predicts ids from 0 to 96"):
        trace.attribution(97)
    with pytest.raises(InputError, match="expected target as an id or as text"):
        trace.attribution(1.5)
    with pytest.raises(InputError, match="needs the tokenizer"):
        traced("llama").attribution("cat")
    assert traced("llama").streams[0].tokenizer is None
    again = attnscope.trace(tiny.model("llama"), None, inputs=inputs_of("llama"))
    named = again.attribution("cat", model=tiny.model("llama"), tokenizer=tiny.tokenizer())
    assert named.target.text == "cat"
    with pytest.raises(InputError, match="top as a number"):
        trace.predictions(top=0)
    with pytest.raises(InputError, match="the lens looks after"):
        trace.lens(layer=9)
