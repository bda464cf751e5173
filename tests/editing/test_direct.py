"""Edits of modules that call torch by themselves, beside the formula."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack

import attnscope
from attnscope import CaptureError

pytestmark = pytest.mark.exactness

T, M, H, D = 7, 15, 3, 5
B = 2


class Attention(nn.Module):
    """3 heads of size 5; `way`: how z is computed."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.qkv, self.o, self.way = nn.Linear(M, 3 * M), nn.Linear(M, M), way
        if way == "joined":
            self.num_heads = H

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        q, k, v = (part.unflatten(-1, (H, D)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return q * 3, k, v

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        scores = q @ k.transpose(-1, -2) / D**0.5
        seen = torch.ones(T, T, dtype=torch.bool).tril()
        masked = scores.masked_fill(~seen, -torch.inf)
        match self.way:
            case "sdpa":
                z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            case "sdpa with a mask":
                z = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            case "sdpa of three axes":
                self.num_heads = H
                z = F.scaled_dot_product_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), attn_mask=seen)
                z = z.unflatten(0, (-1, H))
            case "softmax":
                z = masked.softmax(-1) @ v
            case "einsum":
                z = torch.einsum("bhqk,bhkd->bqhd", masked.softmax(-1), v).transpose(1, 2)
            case "joined":
                z = torch.bmm(masked.flatten(0, 1).softmax(-1), v.flatten(0, 1)).unflatten(0, (-1, H))
            case "unknown":
                order = torch.arange(T).flip(0)
                z = torch.softmax(scores.index_select(-1, order), -1) @ v.index_select(-2, order)
            case _:  # in pieces
                z = (q @ k[:, :, :2].mT).softmax(-1) @ v[:, :, :2] + (q @ k[:, :, 2:].mT).softmax(-1) @ v[:, :, 2:]
        return self.o(z.transpose(1, 2).flatten(2))


def by_formula(module: Any, x: Tensor, change: Any) -> Tensor:
    """The same in plain torch, with q, k, v, the scores of a head, or z changed."""
    q, k, v = (part.clone() for part in module.split(x))
    change("q", q)
    scores = q @ k.mT / D**0.5
    scores = scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -torch.inf)
    change("scores", scores)
    weights = scores.softmax(-1)
    change("weights", weights)
    z = weights @ v
    change("z", z)
    return module.o(z.transpose(1, 2).flatten(2))


def x(seed: int = 1, batch: int = B) -> Tensor:
    return torch.randn(batch, T, M, generator=torch.Generator().manual_seed(seed))


WAYS = ("sdpa", "sdpa with a mask", "sdpa of three axes", "softmax", "einsum", "joined")


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_each_link(way: str) -> None:
    module = nn.Sequential(Attention(way)).eval()
    inner: Any = module[0]
    other = attnscope.trace(module, inputs={"input": x(3, 1)})
    theirs = other.sites[0].q[1]

    def off(link: str, value: Tensor) -> None:
        if link == "z":
            value[:, 1] = 0

    def cut(link: str, value: Tensor) -> None:
        if link == "scores":
            value[:, 1, 4:6, 2] = -torch.inf

    def uniform(link: str, value: Tensor) -> None:
        if link == "weights":
            value[:, 1] = torch.ones(T, T).tril() / torch.arange(1, T + 1)[:, None]

    def patch(link: str, value: Tensor) -> None:
        if link == "q":
            value[:, 1] = theirs

    for change, verb in (
        (off, lambda chosen: chosen.off()),
        (cut, lambda chosen: chosen.cut(query=slice(4, 6), key=2)),
        (uniform, lambda chosen: chosen.weights("uniform")),
        (patch, lambda chosen: chosen.patch(q=other)),
    ):
        with attnscope.edit(module) as edit:
            verb(edit.head("L0H1"))
            made = module(x())
        torch.testing.assert_close(made, by_formula(inner, x(), change), rtol=1e-5, atol=1e-5)
        assert edit.receipt.passed, str(edit.receipt)
        assert edit.receipt.sites[0].write_error is not None
        torch.testing.assert_close(module(x()), by_formula(inner, x(), lambda *_: None), rtol=1e-5, atol=1e-5)
    assert not _get_current_function_mode_stack()


@torch.no_grad()
@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attention(need_weights: bool) -> None:
    torch.manual_seed(11)
    module = nn.MultiheadAttention(M, H, batch_first=True).eval()
    given = x()

    def by_hand(change: Any) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (H, D)).transpose(1, 2)
            for part in F.linear(given, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
        )
        scores = q @ k.mT / D**0.5
        change("scores", scores)
        z = scores.softmax(-1) @ v
        change("z", z)
        return module.out_proj(z.transpose(1, 2).flatten(2))

    def half(link: str, value: Tensor) -> None:
        if link == "z":
            value[:, 2] *= 0.5

    def cut(link: str, value: Tensor) -> None:
        if link == "scores":
            value[:, 2, :, 0] = -torch.inf

    for change, verb in ((half, lambda c: c.times(0.5)), (cut, lambda c: c.cut(key=0))):
        with attnscope.edit(module) as edit:
            verb(edit.head("L0H2"))
            made = module(given, given, given, need_weights=need_weights)[0]
        torch.testing.assert_close(made, by_hand(change), rtol=1e-5, atol=1e-5)
        assert edit.receipt.passed, str(edit.receipt)
        assert edit.receipt.sites[0].write_error is not None


@torch.no_grad()
@pytest.mark.parametrize(("way", "words"), [("unknown", "could not be followed"), ("pieces", "in pieces")])
def test_what_cannot_be_edited_is_refused(way: str, words: str) -> None:
    module = nn.Sequential(Attention(way)).eval()
    clean = module(x())

    def edited() -> None:
        with attnscope.edit(module) as edit:
            edit.head("L0H1").off()
            module(x())

    with pytest.raises(CaptureError, match=words):
        edited()
    assert torch.equal(module(x()), clean)
    assert not _get_current_function_mode_stack()


@torch.no_grad()
def test_a_trace_of_an_edited_pass_shows_it() -> None:
    module = nn.Sequential(Attention("sdpa")).eval()
    with attnscope.edit(module) as edit:
        edit.head("L0H1").off()
        trace = attnscope.trace(module, inputs={"input": x(1, 1)})
    (site,) = trace.sites
    assert site.verify().status == "unverified"
    assert 'edit.head("L0H1").off()' in site.note
