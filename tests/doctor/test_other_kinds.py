"""Attention of other kinds than the usual: compared where a recipe is known, else not compared and not accused."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attnscope
from attnscope.doctor.code_check import examine
from attnscope.doctor.findings.model_examples import tiny
from attnscope.doctor.findings.model_text import CHAT


def linear(q, k, v):
    q, k = F.elu(q) + 1, F.elu(k) + 1
    return q @ (k.mT @ v) / (q @ k.sum(-2, keepdim=True).mT)


def three_largest(q, k, v):  # top-k
    s = q @ k.mT / math.sqrt(q.shape[-1])
    return s.masked_fill(s < s.topk(3).values[..., -1:], -torch.inf).softmax(-1) @ v


def lengths(q, k, v, k_lens):
    keep = torch.arange(k.shape[1]) < k_lens[:, None]
    return (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~keep[:, None], -1e9).softmax(-1) @ v


class Block(nn.Module):
    """Four projections and a forward that a subclass gives parts of."""

    def __init__(self, width=24, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def parts(self, x):
        return (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))

    def joined(self, scores, v):
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Distances(Block):
    """Keys and values of each distance (Shaw et al.)."""

    def __init__(self):
        super().__init__()
        self.near, self.far = (nn.Embedding(5, 6) for _ in range(2))

    def forward(self, x):
        q, k, v = self.parts(x)
        places = torch.arange(x.shape[1])
        row = (places - places[:, None]).clamp(-2, 2) + 2
        s = (q @ k.mT + torch.einsum("bhqd,qkd->bhqk", q, self.near(row))) / math.sqrt(6)
        z = s.softmax(-1) @ v + torch.einsum("bhqk,qkd->bhqd", s.softmax(-1), self.far(row))
        return self.out(z.transpose(1, 2).flatten(2))


class Patches(Block):
    """Nine tokens and no other number; a bias that is a bare parameter."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(4, 9, 9))

    def forward(self, x):
        q, k, v = self.parts(x)
        return self.joined(q @ k.mT / math.sqrt(6) + self.bias, v)


class Adapted(Block):
    def __init__(self, alpha=6, r=3):
        super().__init__()
        self.alpha, self.r = alpha, r
        self.lora_A_q, self.lora_B_q = nn.Linear(24, r, bias=False), nn.Linear(r, 24, bias=False)
        nn.init.zeros_(self.lora_B_q.weight)

    def forward(self, x):
        _, k, v = self.parts(x)
        q = self.q(x) + self.lora_B_q(self.lora_A_q(x)) * self.alpha / self.r
        return self.joined(q.unflatten(-1, (4, -1)).transpose(1, 2) @ k.mT / math.sqrt(6), v)


class Tempered(nn.Module):
    """No weights, and a temperature for heads of 64."""

    def __init__(self, temperature=8.0):
        super().__init__()
        self.temperature = temperature

    def forward(self, q, k, v):
        return (q @ k.mT / self.temperature).softmax(-1) @ v


@pytest.mark.parametrize("made", [linear, three_largest, lengths, Distances, Patches, Adapted, Tempered])
def test_it_is_compared_and_nothing_is_found(made):
    torch.manual_seed(0)
    diagnosis = attnscope.check(made().eval() if isinstance(made, type) else made)
    assert diagnosis.findings == ()
    assert diagnosis.compared, diagnosis


def test_the_scale_of_a_module_without_weights_is_still_looked_at():
    diagnosis = attnscope.check(Tempered(temperature=7.0))  # for heads of 49
    assert diagnosis, diagnosis
    twice = Tempered()
    twice.forward = lambda q, k, v: (q @ k.mT / twice.temperature**2).softmax(-1) @ v
    assert [found.name for found in attnscope.check(twice).findings] == ["scale-linear"]


class WithTables(Block):
    """Rotary tables come from outside, and a cache is kept."""

    def __init__(self, order=1):
        super().__init__()
        self.order = order

    def forward(self, x, position_embeddings, past_key_value=None):
        cos, sin = position_embeddings
        q, k, v = self.parts(x)
        q, k = (y * cos + torch.cat([-y[..., 3:], y[..., :3]], dim=-1) * sin for y in (q, k))
        if past_key_value is not None:
            k, v = (torch.cat(pair[:: self.order], dim=2) for pair in zip(past_key_value, (k, v), strict=True))
        seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        s = (q @ k.mT / math.sqrt(6)).masked_fill(~seen, -torch.inf)
        return self.joined(s, v), (k, v)


def test_a_cache_is_compared_where_rotary_tables_come_from_outside():
    torch.manual_seed(0)
    sound, broken = (attnscope.check(WithTables(order).eval(), cached=True) for order in (1, -1))
    assert sound.findings == ()
    assert sound.conventions["cached"] == "the same as uncached"
    assert [found.name for found in broken.findings] == ["cached-differs"]


def random_features(count):
    some = torch.randn(count, 11, generator=torch.Generator().manual_seed(0)) / 4

    def attention(q, k, v):
        q, k = (torch.exp(x @ some[:, : x.shape[-1]].mT - x.square().sum(-1, keepdim=True) / 32) for x in (q, k))
        return q @ (k.mT @ v) / (q @ k.sum(-2, keepdim=True).mT)

    return attention


def decayed(q, k, v):
    places = torch.arange(q.shape[-2])
    return (q @ k.mT * 0.9 ** (places - places[:, None]).abs()) @ v


@pytest.mark.parametrize("fn", [random_features(5), random_features(64), decayed])
def test_another_kind_of_attention_is_not_compared_and_not_accused(fn):
    diagnosis = attnscope.check(fn)
    assert diagnosis.findings == ()
    assert diagnosis.exit_code == 3
    assert "not scaled dot-product attention" in diagnosis.headline


def test_a_fault_of_the_doctor_accuses_nobody(monkeypatch):
    def fault(*_):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(examine, "_match", fault)
    diagnosis = attnscope.check(linear)
    assert diagnosis.findings == ()
    assert diagnosis.exit_code == 3
    assert "the doctor itself failed (ZeroDivisionError: a fault)" in diagnosis.headline


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<|im_start|user\nthe cat<|im_end|>\n", ["special-tokens-split"]),
        ("<|im_start|>user\nthe cat<im_end>\n<|im_start|>assistant\n", ["special-tokens-split"]),
        ("<|im_start|>user\nthe im_start<|im_end|>\n<|im_start|>assistant\n", []),
        ("<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\na dog<|im_end|>\n", []),
    ],
)
def test_a_marker_of_a_chat_that_has_lost_a_sign(text, found):
    model, tokenizer = tiny("llama", chat_template=CHAT)
    assert [one.name for one in attnscope.check(model, tokenizer, text).findings] == found
