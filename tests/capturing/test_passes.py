"""Passes within passes, and passes of several asyncio tasks: each its own text; and what no pass recorded."""

import asyncio
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

    with torch.no_grad(), attnscope.capture(model, keep_passes=4) as recorder:
        asyncio.run(both())
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
