"""Proofs that need no recipe, and masks that show in outputs alone: what they find, and what they must not accuse."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attnscope


def names(suspect, **declared):
    return [found.name for found in attnscope.check(suspect, **declared).findings]


class Heads(nn.Module):
    """4 heads of size 5; `roles` are the layers that give q, k and v, `bend` is what the heads' outputs pass."""

    def __init__(self, roles="qkv", bend=None, out=True, causal=False, kernel=None):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(20, 20) for _ in range(4))
        self.roles, self.bend, self.out, self.causal, self.kernel = roles, bend, out, causal, kernel

    def forward(self, x):
        q, k, v = (getattr(self, role)(x).unflatten(-1, (4, -1)).transpose(1, 2) for role in self.roles)
        if self.kernel is None:
            z = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            z = self.kernel(q @ k.mT / math.sqrt(5)) @ v
        z = z.transpose(1, 2).flatten(2)
        z = z if self.bend is None else self.bend(z)
        return self.o(z) if self.out else z


@pytest.mark.parametrize(
    "attend",
    [
        lambda q, k, v: v,
        lambda q, k, v: v.flip(-2),
        lambda q, k, v: v.cumsum(-2) / torch.arange(1, v.shape[-2] + 1)[:, None],
        lambda q, k, v: v.mean(-2, keepdim=True).expand_as(v),
    ],
)
def test_an_output_of_the_values_alone_is_no_attention(attend):
    assert names(attend) == ["ignores-queries-and-keys"]


def test_a_mask_that_hides_all_does_not_make_a_proof():
    def attention(q, k, v, mask):  # mask: True = drop; a mask of ones leaves nothing of q and k
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(mask, torch.finfo(q.dtype).min)
        return scores.softmax(-1) @ v

    assert names(attention) == []


@pytest.mark.parametrize(("roles", "out", "idle"), [("kkk", True, True), ("qkv", False, False), ("qkq", True, True)])
def test_layers_without_effect_are_found(roles, out, idle):
    found = names(Heads(roles, out=out))
    assert found == (["projection-unused"] if not idle else found)
    assert found, "nothing found"
    assert set(found) <= {"projection-unused", "keys-as-queries", "keys-as-values", "queries-as-values"}


def test_weights_that_matter_in_one_way_of_calling_are_not_idle():
    class Either(Heads):
        def forward(self, x, context=None):  # the bias of keys has no effect, rightly
            return super().forward(x)

    assert names(Either()) == []


@pytest.mark.parametrize("sound", [{"bend": torch.tanh}, {"bend": torch.tanh, "causal": True}])
def test_what_cannot_be_compared_is_not_accused(sound):
    diagnosis = attnscope.check(Heads(**sound))
    assert (diagnosis.findings, diagnosis.exit_code) == ((), 3)


def test_positions_and_sinks_are_not_accused():
    class Places(Heads):
        def __init__(self):
            super().__init__(bend=torch.tanh)
            self.places = nn.Parameter(torch.randn(32, 20))

        def forward(self, x):
            return super().forward(x + self.places[: x.shape[1]])

    class Extra(Heads):
        def __init__(self):
            super().__init__(
                bend=torch.tanh, kernel=lambda s: s.exp() / (2.0 + s.exp().sum(-1, keepdim=True))
            )  # a sink of 2

    assert names(Places()) == []
    assert names(Extra(), sinks=torch.full((4,), math.log(2.0))) == []


def test_row_sums_show_by_the_length():
    assert names(Heads(bend=torch.tanh, kernel=F.softplus)) == ["row-sums-by-length"]


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [-1e4, -1e9, -math.inf, -7.0])
def test_any_number_that_is_written_after_the_softmax_is_named(number):
    def attention(q, k, v, mask=None):
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
        return (weights if mask is None else weights.masked_fill(mask == 0, number)) @ v

    assert names(attention) == ["mask-filled-after-softmax"]


def test_padded_outputs_may_be_zero():
    class Padded(Heads):
        def forward(self, x, mask=None):  # mask: (batch, length), True at tokens
            q, k, v = (f(x).unflatten(-1, (4, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
            allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()[None, None]
            allowed = allowed if mask is None else allowed & mask[:, None, None, :]
            scores = (q @ k.mT / math.sqrt(5)).masked_fill(~allowed, torch.finfo(x.dtype).min)
            y = self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
            return y if mask is None else y * mask[..., None]

    diagnosis = attnscope.check(Padded())
    assert diagnosis.findings == ()
    assert diagnosis.conventions["mask"].startswith("(batch, key)")


def test_q_times_k_in_half_before_the_scale_is_a_warning():
    def first(q, k, v):
        return ((q.half() @ k.half().mT).float() / math.sqrt(q.shape[-1])).softmax(-1) @ v

    def last(q, k, v):
        return ((q / math.sqrt(q.shape[-1])).half() @ k.half().mT).float().softmax(-1) @ v

    assert names(first) == ["scores-in-half"]
    assert attnscope.check(first)
    assert names(last) == []
