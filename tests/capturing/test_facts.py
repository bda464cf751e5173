"""What is known of a model's modules is looked up once, holds nothing alive, and notices every change."""

import gc
import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attnscope
import tiny_models as tiny
from attnscope import CaptureError
from attnscope.capturing.listen import facts as room
from attnscope.capturing.listen.facts import facts_of
from attnscope.tracing.modules import look_at


def test_the_same_model_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.fresh_model("bert", "sdpa")
    known = facts_of(model)
    monkeypatch.setattr(room, "_facts", lambda model: pytest.fail("read a second time"))
    assert facts_of(model) is known
    assert known.paths == {id(module): path for path, module in model.named_modules()}


def _replace(model: Any) -> None:
    old = model.encoder.layer[1].attention.self
    model.encoder.layer[1].attention.self = type(old)(model.config, layer_idx=1).eval()


def _grow(model: Any) -> None:
    model.encoder.layer[0].extra = nn.MultiheadAttention(6, 2)


def _rename(model: Any) -> None:
    model.encoder.other = model.encoder.layer
    del model.encoder.layer


def _calls_torch(model: Any) -> None:
    model.encoder.layer[0].attend = F.scaled_dot_product_attention


def _compile(model: Any) -> None:
    model.encoder.layer[1].compile()


@pytest.mark.parametrize("change", [_replace, _grow, _rename, _calls_torch, _compile])
def test_a_change_is_noticed(change: Any) -> None:
    model = tiny.fresh_model("bert", "sdpa")
    known = facts_of(model)
    change(model)
    new = facts_of(model)
    assert new is not known
    assert new == room._facts(model)
    assert (new.calls_torch, new.compiled) == (change in (_calls_torch, _grow), change is _compile)
    if change is _compile:
        with pytest.raises(CaptureError, match="compiled"):
            attnscope.trace(model, None, inputs=tiny.inputs("bert"))


def test_a_replaced_layer_is_traced_with_its_own_projection() -> None:
    model = tiny.fresh_model("bert", "sdpa")
    attnscope.trace(model, None, inputs=tiny.inputs("bert"))
    dense = model.encoder.layer[0].attention.output.dense
    model.encoder.layer[0].attention.output.dense = nn.Linear(dense.in_features, dense.out_features)
    site = attnscope.trace(model, None, inputs=tiny.inputs("bert")).sites[0]
    assert site.projection is not None
    assert site.projection.parameter is model.encoder.layer[0].attention.output.dense.weight


def test_nothing_is_kept_alive() -> None:
    """Not the model by what is known of it; nor a pass by its recorder, not even until the next garbage collection."""
    model = tiny.fresh_model("bert", "sdpa")
    module = weakref.ref(model.encoder.layer[0])
    gc.collect()
    gc.disable()
    try:
        trace = attnscope.trace(model, None, inputs=tiny.inputs("bert"))
        kept = [weakref.ref(x) for x in (trace, trace.sites[0], trace.sites[0].q, trace.sites[1].z)]
        del trace
        assert [one() for one in kept] == [None] * 4
    finally:
        gc.enable()
    del model
    gc.collect()
    assert module() is None


def test_many_traces_of_one_batch_are_those_of_its_rows() -> None:
    model, batch = tiny.model("llama", "sdpa"), tiny.padded_batch("left")
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(**batch)
    traces = [recorder.trace(index=index) for index in (0, 1, -1)]
    assert torch.equal(traces[1].sites[0].k, traces[2].sites[0].k)
    assert not torch.equal(traces[0].sites[0].k, traces[1].sites[0].k)
    assert all(trace.verify().passed for trace in traces)


def test_a_module_that_goes_to_another_place_is_noticed() -> None:
    """The modules stay the same, in the same order."""
    model = nn.Sequential(nn.ModuleDict({"extra": nn.Identity()}), nn.ModuleDict())
    known = look_at(model).known
    assert look_at(model).known is known
    model[1]["extra"] = model[0].pop("extra")  # type: ignore[operator]
    assert look_at(model).known is not known


def test_a_mask_that_the_model_writes_into_between_its_layers() -> None:
    """The calls of a pass are read when it ends; the mask of each is what it was."""
    model = tiny.fresh_model("bert", "sdpa")
    mask = torch.zeros(1, 1, 13, 13)

    def hide(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        mask[..., int(bool(mask.any())) + 2] = torch.finfo(mask.dtype).min
        return args, kwargs | {"attention_mask": mask}

    for layer in model.encoder.layer[:2]:
        layer.attention.self.register_forward_pre_hook(hide, with_kwargs=True)
    trace = attnscope.trace(model, None, inputs=tiny.inputs("bert"))
    hidden = [(site.weights(0)[0] == 0).nonzero().flatten().tolist() for site in trace.sites[:2]]
    assert hidden == [[2], [2, 3]]
    assert trace.verify()
