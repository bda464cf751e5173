"""The receipt of a file covers what the heads write: of W_O where it holds that, of ‖v · W_O‖ where it does not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import parametrizations

import attnscope
import tiny_models as tiny
from attnscope import NotCaptured, Trace
from attnscope.payload.codec import decode, encode
from attnscope.payload.header import FORMAT
from attnscope.tracing.receipts import NOT_THE_SUM
from closeness import close


class Gate(nn.Module):
    """A linear layer, and behind it a gate that is learned."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.gate = base, nn.Parameter(torch.rand(base.out_features) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) * self.gate


def a_model(change: Callable[[Any], nn.Module] = lambda base: base, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    model = tiny.fresh_model("bert", "sdpa")
    for layer in model.encoder.layer:
        layer.attention.output.dense = change(layer.attention.output.dense).eval()
    return model.to(dtype)


def traced(model: Any) -> Trace:
    return attnscope.trace(model, None, inputs={"input_ids": tiny.ids()})


def changed(data: bytes, name: str, change: Callable[[torch.Tensor], object]) -> Trace:
    """The trace in a file of which one tensor was changed."""
    size = int.from_bytes(data[:8], "little")
    tensors = safetensors.torch.load(data)
    change(tensors[name])
    return decode(safetensors.torch.save(tensors, {FORMAT: json.loads(data[8 : 8 + size])["__metadata__"][FORMAT]}))


def more(tensor: torch.Tensor) -> None:
    tensor[0] += 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("projections", [True, False])
def test_the_error_of_the_writes_is_there_after_loading(projections: bool, dtype: torch.dtype) -> None:
    trace = traced(a_model(dtype=dtype))
    back = decode(encode(trace, projections=projections))
    again = decode(encode(back, projections=projections))
    for found in (back, again, again.replace_sites([replace(site) for site in again.sites])):
        receipt = found.verify()
        assert receipt, receipt
        for site, first in zip(receipt.sites, trace.verify().sites, strict=True):
            assert first.write_error is not None
            assert site.write_error == pytest.approx(first.write_error, abs=1e-7)
            assert site.write_tolerance == first.write_tolerance
    if projections:
        for site, other in zip(trace.sites, back.sites, strict=True):
            assert other.written is not None
            assert other.written.dtype == dtype
            assert torch.equal(site.written_rows, other.written_rows)  # type: ignore[arg-type]
            bias = other.projection.bias.float()  # type: ignore[union-attr]
            made = (other.write().sum(0) + bias)[other.written_rows]
            assert close(made, other.written.float(), dtype)


@pytest.mark.parametrize("name", ["w0", "w1", "s0.written"])
def test_a_change_in_a_file_fails_the_receipt(name: str) -> None:
    """W_O, b_O, and what the layer returned."""
    data = encode(traced(a_model()), projections=True)
    assert decode(data).verify()
    receipt = changed(data, name, more).verify()
    assert [site.status for site in receipt.sites] == ["failed", "exact"]
    assert NOT_THE_SUM in receipt.sites[0].note
    assert "of the writes" in receipt._repr_html_()


@pytest.mark.parametrize("name", ["s1.norms", "s1.w_o_products"])
def test_a_changed_length_fails_the_receipt(name: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        data = encode(traced(a_model(dtype=dtype)))
        assert decode(data).verify()
        found = changed(data, name, lambda tensor: tensor[0].mul_(1.5))
        receipt = found.verify()
        assert [site.status for site in receipt.sites] == ["exact", "failed"]
        assert "‖v · W_O‖ do not fit" in receipt.sites[1].note


@pytest.mark.parametrize("projections", [True, False])
@pytest.mark.parametrize("what", ["W_O", "b_O", "a gate", "a norm"])
def test_what_was_changed_between_trace_and_file_is_failed_by_the_file(what: str, projections: bool) -> None:
    kinds: dict[str, Any] = {"a gate": Gate, "a norm": parametrizations.weight_norm}
    model = a_model(kinds.get(what, lambda base: base))
    trace = traced(model)
    assert decode(encode(trace, projections=projections)).verify()
    layer = model.encoder.layer[1].attention.output.dense
    part = {
        "W_O": lambda: layer.weight,
        "b_O": lambda: layer.bias,
        "a gate": lambda: layer.gate,
        "a norm": lambda: layer.parametrizations.weight.original0,
    }[what]()
    with torch.no_grad():
        part[0] += 0.5
    for found in (trace, decode(encode(trace, projections=projections))):
        receipt = found.verify()
        assert [site.status for site in receipt.sites] == ["exact", "failed"]
        assert NOT_THE_SUM in receipt.sites[1].note


def test_why_no_projection_is_claimed_is_kept() -> None:
    class Squared(Gate):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.base(x) ** 2

    trace = traced(a_model(Squared))
    back = decode(encode(trace, projections=True))
    for site, other in zip(trace.sites, back.sites, strict=True):
        assert site.no_projection
        assert other.no_projection == site.no_projection
        with pytest.raises(NotCaptured, match="not the sum of what its heads write"):
            other.write(0)


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "saved").rglob("*.safetensors")), ids=lambda p: p.stem)
def test_files_of_before_are_checked_as_far_as_they_go(path: Path) -> None:
    assert all(site.status != "failed" for site in attnscope.load_trace(path).verify().sites)
