"""Passes within passes, and passes of several asyncio tasks: each its own text; and what no pass recorded."""

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attnscope
import tiny_models as tiny

LONG, SHORT = 13, 7


def ids(length: int) -> dict[str, Tensor]:
    return {"input_ids": tiny.ids(length=length, seed=length)}


def queries(recorder: Any, forward: int) -> list[tuple[int, int, int]]:
    trace = recorder.trace(forward=forward)
    assert trace.verify(), trace.verify()
    return [(site.layer, site.call, site.queries) for site in trace.sites]


@pytest.mark.parametrize("part", ["", "model"])
@pytest.mark.parametrize("where", ["layers.0.mlp", "layers.0.self_attn.o_proj", "layers.1"])
def test_another_text_within_a_hook(part: str, where: str) -> None:
    model = tiny.fresh_model("llama", "sdpa")
    again: list[bool] = []

    def hook(*_: Any) -> None:
        if not again:
            again.append(True)
            model.get_submodule(part)(**ids(SHORT))
            again.clear()

    model.model.get_submodule(where).register_forward_hook(hook)
    with torch.no_grad(), attnscope.capture(model, keep_passes=4) as recorder:
        model(**ids(LONG))
    assert recorder.passes == 2
    assert queries(recorder, -1) == [(0, 0, LONG), (1, 0, LONG)], "the pass around it ends last"
    assert queries(recorder, -2) == [(0, 0, SHORT), (1, 0, SHORT)]
    trace = attnscope.trace(model, None, inputs=ids(LONG))
    assert {site.queries for site in trace.sites} == {LONG}
    assert trace.verify()


class Again:
    """A hook that runs a layer once more, on an input of its own: as a function, a method, a partial, or an object."""

    def __init__(self, run: Any) -> None:
        self.run, self.inside = run, False

    def __call__(self, *_: Any, **__: Any) -> None:
        if not self.inside:
            self.inside = True
            self.run()
            self.inside = False


KINDS: dict[str, Any] = {
    "object": lambda again: again,
    "method": lambda again: again.__call__,
    "function": lambda again: lambda *_: again(),
    "partial": lambda again: functools.partial(again.__class__.__call__, again),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "where", ["", "model", "model.layers.0", "model.layers.1", "model.layers.1.self_attn", "model.norm"]
)
def test_a_layer_that_a_hook_calls_with_another_input(where: str, when: str, kind: str) -> None:
    """It is left out, whether it is called before, after or within its own turn, and the trace tells of it."""
    model = tiny.fresh_model("llama", "sdpa", layers=2)
    other = torch.randn(1, SHORT, model.config.hidden_size)
    place = model.model.rotary_emb(other, torch.arange(SHORT)[None])
    layer = model.model.layers[1]
    again = Again(lambda: layer(other, position_embeddings=place))
    around = model.get_submodule(where)
    register = around.register_forward_pre_hook if when == "before" else around.register_forward_hook
    plain = attnscope.trace(model, None, inputs=ids(LONG))
    register(KINDS[kind](again))
    for _ in range(2):  # what is known of the model from an earlier capture changes nothing
        with torch.no_grad(), attnscope.capture(model) as recorder:
            model(**ids(LONG))
        trace = recorder.trace()
        assert [(site.layer, site.call, site.queries) for site in trace.sites] == [(0, 0, LONG), (1, 0, LONG)]
        assert trace.verify()
        assert all(torch.equal(a.q, b.q) for a, b in zip(plain.sites, trace.sites, strict=True))
        outside = not where and when == "before"  # the pass has not begun
        assert outside or "A hook called model.layers.1.self_attn on an input of its own" in " ".join(trace.notes)
    assert not plain.notes


def test_hooks_that_come_while_a_capture_is_open() -> None:
    """Whether a model has hooks is looked up once: again where some were put on since, to all modules at once as well."""
    model = tiny.fresh_model("llama", "sdpa", layers=2)
    other = torch.randn(1, SHORT, model.config.hidden_size)
    place = model.model.rotary_emb(other, torch.arange(SHORT)[None])
    layer = model.model.layers[1]
    again = Again(lambda: layer(other, position_embeddings=place))

    def before_norms(module: nn.Module, *_: Any) -> None:
        if module is model.model.norm:
            again()

    with torch.no_grad(), attnscope.capture(model, keep_passes=3) as recorder:
        model(**ids(LONG))
        handle = model.model.norm.register_forward_hook(lambda *_: again())
        model(**ids(LONG))
        handle.remove()
        everywhere = nn.modules.module.register_module_forward_pre_hook(before_norms)
        try:
            model(**ids(LONG))
        finally:
            everywhere.remove()
    noted = ["A hook called" in " ".join(recorder.trace(forward=forward).notes) for forward in range(3)]
    assert noted == [False, True, True]
    for forward in range(3):
        assert [site.queries for site in recorder.trace(forward=forward).sites] == [LONG, LONG]


def test_a_layer_of_torch_that_a_hook_calls() -> None:
    """Where torch's own functions are watched."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(10, 2, 13, batch_first=True), 2).eval()
    first, second = encoder.layers
    other = torch.randn(1, SHORT, 10)
    again = Again(lambda: second(other))
    inner: Any = second.self_attn
    for layer in (first, second, inner):
        layer.register_forward_hook(lambda *_: again())
    with torch.no_grad(), attnscope.capture(encoder) as recorder:
        encoder(torch.randn(1, LONG, 10))
    trace = recorder.trace()
    assert [(site.layer, site.call, site.queries) for site in trace.sites] == [(0, 0, LONG), (1, 0, LONG)]
    assert trace.verify()
    assert "A hook called layers.1.self_attn" in " ".join(trace.notes)
    assert not trace.unrecorded


def test_a_layer_that_the_model_itself_calls_twice_has_two_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(10, 2, 13, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x))

    model = Twice().eval()
    model.layer.register_forward_hook(lambda *_: None)
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(torch.randn(1, LONG, 10))
    assert [site.call for site in recorder.trace().sites] == [0, 1]


def test_a_model_that_runs_itself_on_parts_of_its_input() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny.fresh_model("bert", "sdpa")

        def forward(self, input_ids: Tensor) -> Any:
            if len(input_ids[0]) > SHORT:
                return [self(part) for part in input_ids.split(SHORT, 1)]
            return self.inner(input_ids)

    model = Parts()
    with torch.no_grad(), attnscope.capture(model, keep_passes=2) as recorder:
        model(tiny.ids(length=2 * SHORT))
    for forward in (0, 1):
        assert queries(recorder, forward) == [(0, 0, SHORT), (1, 0, SHORT)]
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(tiny.ids(length=2 * SHORT - 2))
    assert queries(recorder, -1) == [(0, 0, SHORT - 2), (1, 0, SHORT - 2)], "of one pass that is kept, the last"


def test_layers_that_two_tasks_call_in_turn() -> None:
    model = tiny.fresh_model("llama", "sdpa")
    base = model.model

    async def run(length: int) -> None:
        x = base.embed_tokens(ids(length)["input_ids"])
        positions = base.rotary_emb(x, torch.arange(length)[None])
        for layer in base.layers:
            x = layer(x, position_embeddings=positions)
            await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(run(LONG), run(SHORT))

    def captured() -> Any:
        with torch.no_grad(), attnscope.capture(model, keep_passes=4) as recorder:
            asyncio.run(both())
        return recorder

    # in a thread of its own: Playwright leaves a loop running in that of the browser tests
    with ThreadPoolExecutor(1) as pool:
        recorder = pool.submit(captured).result()
    assert recorder.passes == 2
    assert [queries(recorder, forward) for forward in (0, 1)] == [
        [(0, 0, LONG), (1, 0, LONG)],
        [(0, 0, SHORT), (1, 0, SHORT)],
    ]


class OtherAttention(nn.Module):
    """Attention of a kind that nobody can read: linear, without a softmax."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x @ x.transpose(1, 2)).mean(-1, keepdim=True)


class InTurns(nn.Module):
    """One of two kinds of attention, whichever is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.MultiheadAttention(10, 2, batch_first=True), nn.MultiheadAttention(10, 2)
        self.other, self.seldom = OtherAttention(), OtherAttention()

    def forward(self, x: Tensor, first: bool) -> Tensor:
        if first:
            return self.seldom(self.first(x, x, x)[0])
        return self.other(self.second(x, x, x)[0])


def test_unrecorded_is_what_no_pass_recorded() -> None:
    model, x = InTurns().eval(), torch.randn(1, 7, 10)
    with torch.no_grad(), attnscope.capture(model, keep_passes=2) as recorder:
        model(x, True)
        model(x, False)
    for forward in (0, 1):
        trace = recorder.trace(forward=forward)
        assert trace.unrecorded == ("other", "seldom"), "and not the attention that the other pass recorded"
