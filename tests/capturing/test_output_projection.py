"""W_O: what the heads write adds up to what the output projection returned, or no W_O is claimed."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import attnscope
import tiny_models as tiny
from attnscope import Trace
from attnscope.errors import NotCaptured
from closeness import close

PATHS = {"bert": "encoder.layer.{i}.attention.output.dense", "llama": "model.layers.{i}.self_attn.o_proj"}


class Wrapped(nn.Module):
    """A layer around a linear one."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x)


class Lora(Wrapped):
    """As adapters wrap a linear layer; in training they drop some of its input."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.down, self.up = nn.Linear(base.in_features, 3, bias=False), nn.Linear(3, base.out_features, bias=False)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.up(self.down(self.dropout(x))) * 1.7


class Scaled(Wrapped):
    """(IA)³, or a gate that is learned and does not depend on the text."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.gate = nn.Parameter(torch.rand(base.out_features) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) * self.gate


class Int8(nn.Linear):
    """A matrix of whole numbers, and what they are multiplied by."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None)
        self.bias = base.bias
        self.scale = base.weight.detach().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((base.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.float() * self.scale, self.bias)


class Gated(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        made = self.base_layer(x)
        return made * made.sigmoid()


class Normed(Wrapped):
    """A norm behind the linear layer."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(self.base_layer(x), (self.base_layer.out_features,))


class Rounding(Wrapped):
    """Dynamic quantisation: what it is given is rounded to 8 bits of the largest number among it."""

    def forward(self, x: Tensor) -> Tensor:
        step = x.abs().max().clamp_min(1e-30) / 127
        return self.base_layer((x / step).round() * step)


def merged(base: nn.Linear) -> nn.Linear:
    base.weight.data += 0.1 * torch.randn_like(base.weight)
    return base


def normed_weight(base: nn.Linear) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(base)


def torchao_int8(base: nn.Linear) -> nn.Module:
    quantization = pytest.importorskip("torchao.quantization")
    quantization.quantize_(around := nn.Sequential(base), quantization.Int8WeightOnlyConfig())
    return around[0]


def part_of_a_sum(base: nn.Linear) -> nn.Linear:
    """Row-parallel: the parts of several devices are added behind the layer."""
    base.register_forward_hook(lambda module, args, output: output + 0.3 * output.roll(1, -1))
    return base


def watched_by_others(base: nn.Linear) -> nn.Linear:
    base.register_forward_hook(lambda *_: None)
    return base


def changed(name: str, change: Callable[[nn.Linear], nn.Module]) -> tuple[Any, list[nn.Module]]:
    """A model whose output projections were replaced, and these."""
    model = tiny.fresh_model(name, "sdpa")
    new = []
    for i in range(2):
        parent, _, child = PATHS[name].format(i=i).rpartition(".")
        new.append(change(model.get_submodule(parent).get_submodule(child)).eval())
        setattr(model.get_submodule(parent), child, new[-1])
    return model, new


def traced(model: Any, layers: list[nn.Module]) -> tuple[Trace, list[Tensor]]:
    """A trace, and what the layers returned meanwhile, [Q, M]."""
    seen: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda *given: seen.append(given[-1][0].clone())) for layer in layers]
    trace = attnscope.trace(model, None, inputs={"input_ids": tiny.ids()})
    for handle in handles:
        handle.remove()
    return trace, seen


LINEAR = [Wrapped, Lora, Scaled, Int8, merged, normed_weight, torchao_int8, watched_by_others]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("change", LINEAR)
def test_a_linear_layer_of_any_kind(name: str, change: Any) -> None:
    torch.manual_seed(0)
    model, layers = changed(name, change)
    trace, returned = traced(model, layers)
    for site, wanted in zip(trace.sites, returned, strict=True):
        assert site.projection is not None
        bias = 0 if site.projection.bias is None else site.projection.bias
        assert close(site.write().sum(0) + bias, wanted)
        assert site.share(1, 2).sum() == pytest.approx(1)
    receipt = trace.verify()
    assert receipt, receipt
    assert all(site.write_error is not None and site.write_error < 1e-5 for site in receipt.sites)
    assert trace.show().html


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("change", [Gated, Normed, Rounding, part_of_a_sum])
def test_what_is_not_linear_is_not_claimed(name: str, change: Any) -> None:
    model, layers = changed(name, change)
    trace, _ = traced(model, layers)
    for site in trace.sites:
        assert site.projection is None
        assert site.norms()[0] == "value", "as where no W_O is known"
        with pytest.raises(NotCaptured, match="not the sum of what its heads write"):
            site.write(0, 0)
    assert trace.verify(), "the weights and z are right"
    assert "layer 0, layer 1 write is not shown" in " ".join(trace.notes)
    assert trace.show().html


def test_two_layers_that_take_the_output() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.o, self.beside = nn.Linear(10, 30), nn.Linear(10, 10), nn.Linear(10, 10)

        def forward(self, x: Tensor, again: Tensor) -> Tensor:
            q, k, v = self.qkv(x).unflatten(-1, (3, 2, 5)).permute(2, 0, 3, 1, 4)
            z = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            return self.o(z) + self.beside(z) + again

    model, x = Both().eval(), torch.randn(1, 7, 10)
    for _ in range(2):  # the second time the layers are known
        with torch.no_grad(), attnscope.capture(model) as recorder:
            model(x, x)
        with pytest.raises(NotCaptured, match="several layers take"):
            recorder.trace().site(0).write(0)


@pytest.mark.parametrize("what", ["W_O", "b_O", "an adapter", "a gate", "a norm"])
def test_a_change_after_the_trace_fails_the_receipt(what: str) -> None:
    model, layers = changed(
        "bert", {"an adapter": Lora, "a gate": Scaled, "a norm": normed_weight}.get(what, lambda base: base)
    )
    trace, _ = traced(model, layers)
    trace.site(1).norms()
    assert trace.verify()
    layer: Any = layers[1]
    parts = {"an adapter": ("up", "weight"), "a gate": (None, "gate"), "W_O": (None, "weight"), "b_O": (None, "bias")}
    parts["a norm"] = ("parametrizations.weight", "original0")  # the lengths of the matrix's rows
    inner, name = parts[what]
    with torch.no_grad():
        getattr(layer if inner is None else attrgetter(inner)(layer), name)[0] += 0.1
    receipt = trace.verify()
    assert [site.status for site in receipt.sites] == ["exact", "failed"]
    assert "what the heads write does not add up" in receipt.sites[1].note


def test_a_gate_that_writes_in_place_fails_the_receipt() -> None:
    """Long texts keep a copy of z, from before the gate: what is written shows it."""

    def gate(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        args[0].mul_(0.5)

    model = tiny.fresh_model("llama", "sdpa", max_position_embeddings=400)
    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_pre_hook(gate)
    for length in (13, 307):
        trace = attnscope.trace(model, None, inputs={"input_ids": tiny.ids(length=length)})
        refused = all(site.projection is None for site in trace.sites)
        assert refused or not trace.verify()


def test_an_adapter_in_training_is_asked_in_eval_mode() -> None:
    model, layers = changed("llama", Lora)
    trace, returned = traced(model, layers)
    model.train()
    assert close(trace.site(0).write().sum(0), returned[0])
    assert model.training
    assert all(module.training for module in model.modules())


def test_tied_projections() -> None:
    model = tiny.fresh_model("bert", "sdpa")
    first, second = (model.encoder.layer[i].attention.output.dense for i in range(2))
    second.weight = first.weight
    trace, _ = traced(model, [])
    assert trace.verify()
    assert trace.sites[0].projection.parameter is trace.sites[1].projection.parameter  # type: ignore[union-attr]


def test_a_layer_that_is_replaced_between_two_passes() -> None:
    """The layers that are known from an earlier capture are looked at again where they do not take the output."""
    model, layers = changed("llama", lambda base: base)
    traced(model, layers)
    model.model.layers[1].self_attn.o_proj = Lora(layers[1]).eval()  # type: ignore[arg-type]
    trace, returned = traced(model, [layers[0], model.model.layers[1].self_attn.o_proj])
    assert trace.verify()
    assert close(trace.site(1).write().sum(0), returned[1])
