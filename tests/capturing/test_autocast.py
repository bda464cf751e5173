"""torch.autocast around a pass, around a receipt, around what is read: what is documented as fp32 is fp32."""

from pathlib import Path
from typing import Any

import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope import Trace
from attnscope.statistics.thumbnails import thumbnails_of

DTYPES = [torch.bfloat16, torch.float16]
KINDS = [(name, how) for name in ("bert", "llama") for how in ("eager", "sdpa")]


def traced(name: str, implementation: str, **options: Any) -> Trace:
    return attnscope.trace(tiny.model(name, implementation), None, inputs=tiny.inputs(name), **options)


def numbers(trace: Trace) -> dict[str, Any]:
    site = trace.sites[1]
    steps = {f"step {step.name}": step.value for step in site.steps(1, 3)}
    chain = site.chain(None, slice(2, 5))
    thumbnails = {f"picture {i}": one.from_others for i, one in enumerate(thumbnails_of(trace))}
    return steps | thumbnails | {
        "dot": site.dot(), "scores": site.scores(), "weights": site.weights(), "output": site.output(),
        "write": site.write(), "share": site.share(2, 4), "norms": site.norms(1)[1], "chain": chain.output,
    }  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "implementation"), KINDS)
def test_a_pass_within_autocast(name: str, implementation: str, dtype: torch.dtype, tmp_path: Path) -> None:
    with torch.autocast("cpu", dtype=dtype):
        trace = traced(name, implementation, keep={"x", "pre_rotary", "projections"})
        assert trace.verify(), trace.verify()
        within = numbers(trace)
    trace.save(tmp_path / "trace.safetensors", projections=True)
    loaded = attnscope.load_trace(tmp_path / "trace.safetensors")
    for other in (trace, loaded):
        receipt = other.verify()
        assert receipt, receipt
        assert receipt.tolerance == {torch.bfloat16: 4e-2, torch.float16: 1e-2}[dtype], (
            "of the lowest precision on the way"
        )
    again = numbers(trace)
    for what, number in within.items():
        assert torch.equal(number, again[what]), what
        assert number.dtype in (torch.float32, torch.uint8) or what.startswith("step"), what


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_plain_pass_that_is_read_within_autocast(dtype: torch.dtype) -> None:
    plain, within = traced("llama", "sdpa"), traced("llama", "sdpa")
    with torch.autocast("cpu", dtype=dtype):
        assert within.verify(), within.verify()
        assert within.verify().tolerance == 1e-4
        read = numbers(within)
    for what, number in numbers(plain).items():
        assert torch.equal(number, read[what]), what


def test_autocast_within_the_model() -> None:
    """A pass whose precision changes on the way; each site has its own."""
    model = tiny.fresh_model("llama", "sdpa")
    layer = model.model.layers[1].self_attn
    plain = layer.forward
    layer.forward = lambda *args, **kwargs: torch.autocast("cpu", dtype=torch.bfloat16)(plain)(*args, **kwargs)
    trace = attnscope.trace(model, None, inputs=tiny.inputs("llama"))
    assert [site.tolerance for site in trace.verify().sites] == [1e-4, 4e-2]
    assert trace.verify(), trace.verify()
