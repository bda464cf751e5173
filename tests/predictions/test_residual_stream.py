"""The stream against transformers' own hidden states; its receipt, and what must fail it."""

from typing import Any

import pytest
import torch
from torch import Tensor

import attnscope
import tiny_models as tiny
from attnscope import CaptureError, InputError, NotCaptured, Trace
from attnscope.predictions.streams import checked, receipt_of
from attnscope.tracing.frozen import Linear, Scale
from attnscope.tracing.stream import Stream, forward, reached
from closeness import close
from followed_models import POST_LN, PRE_LN, inputs_of, traced


def stream_of(name: str, stack: str | None = None, **options: Any) -> Stream:
    return next(stream for stream in traced(name, **options).streams if stack in (None, stream.stack))


@pytest.mark.exactness
@pytest.mark.parametrize("name", [*PRE_LN, *POST_LN, "modernbert", "vit"])
def test_states_are_the_hidden_states(name: str) -> None:
    """transformers' hidden states but the last, which is normed in some models: our last one is what its last block returned."""
    kind = (tiny.KINDS | tiny.VARIANTS)[name]
    model = tiny.model(name, kind.implementations[0])
    inputs = tiny.inputs(name) if name == "vit" else inputs_of(name)
    stream = attnscope.trace(model, None, inputs=inputs, keep={"stream"}).streams[0]
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    assert stream.layers == kind.layers == len(states) - 1
    for ours, theirs in zip(stream.states[:-1], states[:-1], strict=True):
        assert close(forward(ours, stream.cut()), theirs[0])
    last = forward(stream.states[-1] if name in POST_LN else stream.final, stream.cut())
    own = model(**inputs, output_hidden_states=True)
    assert close(last, getattr(own, "last_hidden_state", states[-1])[0])
    assert checked(stream).passed


@pytest.mark.exactness
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_both_stacks_of_an_encoder_decoder(stack: str) -> None:
    stream = stream_of("t5_generates", stack)
    with torch.no_grad():
        out = tiny.model("t5_generates")(**inputs_of("t5_generates"), output_hidden_states=True)
    for ours, theirs in zip(stream.states[:-1], out[f"{stack}_hidden_states"][:-1], strict=True):
        assert close(forward(ours, stream.cut()), theirs[0])
    kinds = {leaf.label.block for leaf in stream.leaves() if leaf.label is not None}
    assert ((0, "cross") in kinds) == (stack == "decoder")
    assert checked(stream).passed
    assert (stream.head is not None) == (stack == "decoder")


@pytest.mark.parametrize("name", PRE_LN)
def test_heads_are_the_leaves(name: str) -> None:
    """Every attention is taken apart into its heads, and no MLP is."""
    stream = stream_of(name)
    kinds = [leaf.label.kind for leaf in stream.leaves() if leaf.label is not None]
    assert kinds.count("heads") == kinds.count("mlp") == 2
    assert kinds.count("embedding") == 1
    assert "attention" not in kinds
    assert stream.head is not None
    assert stream.head.norm is not None


@pytest.mark.exactness
def test_outputs_stay_bit_equal() -> None:
    model, inputs = tiny.fresh_model("gemma2"), inputs_of("gemma2")
    with torch.no_grad():
        plain = model(**inputs).logits
        with attnscope.capture(model, keep={"stream"}) as recorder:
            captured = model(**inputs).logits
        again = model(**inputs).logits
    assert torch.equal(plain, captured)
    assert torch.equal(plain, again)
    assert recorder.trace().streams[0].head is not None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not torch.overrides._get_current_function_mode_stack()


def test_a_row_of_a_batch() -> None:
    model, batch = tiny.model("llama"), tiny.padded_batch("right")
    with torch.no_grad(), attnscope.capture(model, keep={"stream"}) as recorder:
        out = model(**batch, output_hidden_states=True)
    for row in (0, 1):
        stream = recorder.trace(index=row).streams[0]
        assert close(forward(stream.states[1], stream.cut()), out.hidden_states[1][row])
        assert checked(stream).passed


def test_some_positions_of_a_rerun_are_the_same() -> None:
    model = tiny.model("gpt2")
    trace = attnscope.trace(model, None, inputs=inputs_of("gpt2"))
    assert trace.streams == ()
    whole = traced("gpt2").streams[0]
    found = attnscope.api.with_stream_table(trace, [4, 9], model).stream_table
    assert found is not None
    assert found.positions == (4, 9)
    sizes = torch.stack([forward(state, whole.cut([4, 9])).norm(dim=-1) for state in whole.states], 1)
    assert close(found.sizes, sizes)


def test_without_a_stream() -> None:
    trace = attnscope.trace(tiny.model("llama"), None, inputs=inputs_of("llama"))
    with pytest.raises(NotCaptured, match=r'keep=\{"stream"\}'):
        trace.predictions()
    with pytest.raises(InputError, match="not the model that was traced"):
        trace.predictions(model=tiny.model("llama", intermediate_size=59))
    with pytest.raises(NotCaptured, match="the model's inputs"):
        Trace.from_qkv(torch.randn(5, 3), torch.randn(5, 3), torch.randn(5, 3)).predictions(model=tiny.model("llama"))


def _steps(stream: Stream, kind: type) -> list[Any]:
    assert stream.head is not None
    found = [step for node in reached([stream.head.logits]) for _, step in node.inputs]
    return [step for step in found if isinstance(step, kind)]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gated", "bert"])
@pytest.mark.parametrize("what", ["projection", "norm", "embedding", "mlp", "heads"])
def test_a_wrong_number_fails_the_receipt(name: str, what: str) -> None:
    stream = stream_of(name)
    roots = [stream.final] if stream.head is None else [stream.head.logits]
    steps = [step for node in reached(roots) for _, step in node.inputs]
    checked(stream)
    match what:
        case "projection":  # as if another W_O stood there
            step = next(step for step in steps if isinstance(step, Linear))
            object.__setattr__(step, "weight", step.weight * 1.01)
        case "norm":
            step = next(step for step in steps if isinstance(step, Scale) and isinstance(step.factor, Tensor))
            object.__setattr__(step, "factor", step.factor * 1.01)
        case _:
            leaf = next(leaf for leaf in stream.leaves() if leaf.label is not None and leaf.label.kind == what)
            assert leaf.value is not None
            leaf.value = leaf.value * 1.01
    stream.__dict__.pop("_known_receipt")
    assert not receipt_of(stream).passed
    with pytest.raises(CaptureError, match="do not add up"):
        checked(stream)


def test_a_wrong_gate_between_z_and_the_output_projection_fails_the_receipt() -> None:
    stream = stream_of("gated")
    gates = [
        step
        for node in reached([stream.final])
        for _, step in node.inputs
        if node.flow == "heads" and isinstance(step, Scale) and isinstance(step.factor, Tensor)
    ]
    assert len(gates) == 2
    object.__setattr__(gates[1], "factor", gates[1].factor * 1.01)
    with pytest.raises(CaptureError, match="do not add up"):
        checked(stream)


def test_a_parameter_that_was_trained_since_fails_the_receipt() -> None:
    model = tiny.fresh_model("llama")
    trace = traced("llama", model)
    assert receipt_of(trace.streams[0]).passed
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight.mul_(1.5)
    with pytest.raises(CaptureError, match="changed since"):
        trace.attribution(5)


class Bends(torch.nn.Module):
    """A block whose stream cannot be followed: it squares it."""

    def __init__(self, block: torch.nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return torch.relu(self.block(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)


def test_a_stream_that_cannot_be_followed_is_refused_with_the_reason() -> None:
    model = tiny.fresh_model("llama")
    model.model.layers[0] = Bends(model.model.layers[0])
    trace = traced("llama", model)
    assert trace.streams == ()
    assert any("model.layers.0 returns is no sum" in note for note in trace.notes)
    with pytest.raises(CaptureError, match="could not be followed"):
        trace.predictions(model=model)


class Packed(Tensor):
    """Weights that a linear layer takes, and that cannot be turned, as torchao's of 8 bits."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.T.__get__, Tensor.t, Tensor.permute, torch.matmul):
            raise NotImplementedError("unimplemented operator")
        made = super().__torch_function__(func, types, args, kwargs or {})
        return made.as_subclass(Tensor) if func is torch.nn.functional.linear else made


def test_packed_weights_are_not_multiplied_again() -> None:
    model = tiny.fresh_model("llama")
    inputs = {"input_ids": tiny.ids(1, 7)}
    with torch.no_grad():
        expected = model(**inputs).logits[0, -1].softmax(-1)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight = torch.nn.Parameter(layer.weight.detach().as_subclass(Packed), requires_grad=False)
    trace = attnscope.trace(model, None, inputs=inputs, keep={"stream"})
    assert close(torch.tensor(trace.predictions()[0].probability), expected.max(), magnitude=1)


def test_a_step_with_a_cache_keeps_its_own_position() -> None:
    model, ids = tiny.model("llama"), tiny.ids(1, 13)
    with torch.no_grad(), attnscope.capture(model, keep={"stream"}) as recorder:
        first = model(ids[:, :12], use_cache=True)
        model(ids[:, 12:], past_key_values=first.past_key_values)
    trace = recorder.trace(input_ids=ids)
    assert trace.streams[0].positions == (12,)
    whole = attnscope.trace(model, None, inputs={"input_ids": ids}, keep={"stream"}).attribution(5, 7)
    found = trace.attribution(5, 7, query=12)
    assert [one.value for one in found] == pytest.approx([one.value for one in whole], abs=1e-4)
    with pytest.raises(InputError, match="kept for 1 others"):
        trace.attribution(5, query=3)


def test_a_pass_inside_a_pass_does_not_shift_layers() -> None:
    model, inputs = tiny.fresh_model("llama"), inputs_of("llama")
    inside: list[int] = []

    def hook(*_: Any) -> None:
        if not inside:
            inside.append(1)
            model(tiny.ids(1, 5, 9))

    handle = model.model.layers[1].register_forward_pre_hook(hook)
    with torch.no_grad(), attnscope.capture(model, keep={"stream"}) as recorder:
        model(**inputs)
    handle.remove()
    trace = recorder.trace()
    assert all(stream.layers == 2 and checked(stream).passed for stream in trace.streams)
    assert trace.streams or any("residual stream" in note for note in trace.notes)


def test_another_thread_is_left_alone() -> None:
    import threading

    model, found = tiny.fresh_model("llama"), []
    with torch.no_grad(), attnscope.capture(model, keep={"stream"}) as recorder:
        thread = threading.Thread(target=lambda: found.append(model(**inputs_of("llama")).logits))
        thread.start()
        thread.join()
        assert recorder.trace().streams == ()
        model(**inputs_of("llama"))
    assert len(recorder.trace().streams) == 1
