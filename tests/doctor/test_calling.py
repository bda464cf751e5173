"""How the doctor calls code: signatures, layouts and parts that it must understand before it can compare anything."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attnscope
from attnscope.doctor.code_check.run import filling
from attnscope.doctor.code_check.run.affine import Affine
from attnscope.doctor.code_check.run.projections import candidates
from attnscope.doctor.code_check.run.signature import read_signature

# --- functions --------------------------------------------------------------------------------------------------------


def function(scale=None, axis=-1, merged=False, how=lambda f: f):
    """Attention of (batch, heads, length, size), right, or wrong in its scale, its axis or how it joins heads; `how` wraps it."""

    def attend(q, k, v):
        factor = q.shape[-1] ** -0.5 if scale is None else scale
        z = (q @ k.mT * factor).softmax(axis) @ v
        return z.reshape(z.shape[0], z.shape[2], -1) if merged else z

    return how(attend)


def sized(attend):
    def attention(query, key, value, d_k):  # (batch, heads, length, size)
        return attend(query * (query.shape[-1] / d_k) ** 0.5, key, value)

    return attention


def by_name(attend):
    def attention(query, *, key, value):  # (batch, heads, length, size)
        return attend(query, key, value)

    return attention


def of_numpy(attend):
    def attention(Q, K, V):
        if not all(isinstance(x, np.ndarray) for x in (Q, K, V)):
            raise TypeError("arrays only")
        return attend(*map(torch.as_tensor, (Q, K, V))).numpy()

    attention.__globals__.setdefault("np", np)
    return attention


def heads_first(attend):
    def attention(q, k, v):  # (heads, batch, length, size)
        return attend(*(x.transpose(0, 1) for x in (q, k, v))).transpose(0, 1)

    return attention


def joined(attend):
    def attention(q, k, v):  # (batch, length, heads, size) -> (batch, length, heads * size)
        return attend(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2).flatten(2)

    return attention


def one_key_head(attend):
    def attention(q, k, v):  # q (batch, heads, length, size); k, v (batch, length, size)
        return attend(q, k[:, None], v[:, None])

    return attention


def key_turned(attend):
    def attention(q, kT, v):
        return attend(q, kT.mT, v)

    return attention


def tables(attend):
    def attention(q, k, v, cos, sin):  # (batch, heads, length, size)
        def turn(x):
            a, b = x.chunk(2, dim=-1)
            return x * cos + torch.cat([-b, a], dim=-1) * sin

        return attend(turn(q), turn(k), v)

    return attention


def weights(attend):
    def attention(x, W_q, W_k, W_v, W_o, heads):
        q, k, v = ((x @ w).unflatten(-1, (heads, -1)).transpose(1, 2) for w in (W_q, W_k, W_v))
        return attend(q, k, v).transpose(1, 2).flatten(2) @ W_o

    return attention


WRAPS = (sized, by_name, heads_first, joined, one_key_head, key_turned, tables, weights)


@pytest.mark.parametrize("how", WRAPS, ids=lambda how: how.__name__)
def test_a_function_is_called_as_it_wants(how):
    sound, broken = attnscope.check(function(how=how)), attnscope.check(function(axis=-2, how=how))
    assert sound, sound
    assert sound.compared
    assert broken.rows == (1,)


def np_softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_a_function_of_arrays_is_called_with_arrays():
    def attention(Q, K, V, mask=None):  # (length, size)
        scores = np.dot(Q, K.T) / np.sqrt(Q.shape[-1])
        if mask is not None:
            scores = np.where(mask == 0, -1e9, scores)
        return np_softmax(scores) @ V

    def unscaled(Q, K, V):
        return np_softmax(np.einsum("btd,bsd->bts", Q, K)) @ V

    diagnosis = attnscope.check(attention)
    assert diagnosis, diagnosis
    assert "1 = keep" in diagnosis.conventions["mask"] or "True = keep" in diagnosis.conventions["mask"]
    assert attnscope.check(unscaled).rows == (2,)


def test_heads_that_are_joined_wrongly_have_a_name():
    assert attnscope.check(function(merged=True)).rows == (14,)


def test_lengths_are_a_mask():
    def attention(q, k, v, valid_lens=None):  # (batch, length, size)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if valid_lens is not None:
            scores = scores.masked_fill(torch.arange(k.shape[1]) >= valid_lens[:, None, None], -1e6)
        return scores.softmax(-1) @ v

    diagnosis = attnscope.check(attention)
    assert diagnosis.conventions["valid_lens"] == "(batch,), the number of keys that may be seen"


def test_what_a_name_does_not_tell_is_tried_and_never_accused():
    def attention(q, k, v, gizmo):
        return F.scaled_dot_product_attention(q, k, v) * (2.0 if gizmo is None else 3.0)

    diagnosis = attnscope.check(attention)
    assert (diagnosis.exit_code, diagnosis.findings) == (3, ())
    assert diagnosis.headline.startswith("attention: not compared: it was run with gizmo guessed")


def test_no_way_of_calling_is_no_finding():
    class Wants(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(20, 20) for _ in range(3))

        def forward(self, batch):
            return self.q(batch["tokens"])

    diagnosis = attnscope.check(Wants())
    assert (diagnosis.exit_code, diagnosis.findings) == (3, ())
    assert "no way of calling it was found" in diagnosis.headline


def test_a_signature_says_what_its_parameters_are():
    def attention(query, key, value, d_k, dropout_p, start_pos, mask, gizmo):
        return query

    call = read_signature(attention, "it")
    assert (call.inputs, call.masks, call.needs_mask, call.guessed) == (3, ("mask", "gizmo"), True, ("gizmo",))
    assert {name: kinds[0] for name, kinds in call.fills.items()} == {
        "d_k": "head size",
        "dropout_p": "zero",
        "start_pos": "whole zero",
    }


def test_rotary_tables_turn_by_the_angle_of_the_place():
    cos, sin = (filling.value(name, "halves", torch.zeros(2, 5, 6), torch.zeros(0), 6, 1) for name in ("cos", "sin"))
    complex_ = filling.value("freqs_cis", "halves", torch.zeros(2, 5, 6), torch.zeros(0), 6, 1)
    angle = 3 * 1e4 ** (-1 / 3)  # place 3, pair 1
    assert math.isclose(float(cos[3, 1]), math.cos(angle), rel_tol=1e-5)
    assert math.isclose(float(sin[3, 4]), math.sin(angle), rel_tol=1e-5)
    assert torch.allclose(complex_[3, 1], torch.polar(torch.tensor(1.0), torch.tensor(angle)))


# --- modules ----------------------------------------------------------------------------------------------------------


class Heads(nn.Module):
    """A module of 4 heads whose parts are to be overridden."""

    def __init__(self, width=20, source=20, heads=4, linear=nn.Linear, axis=-1):
        super().__init__()
        self.heads, self.axis = heads, axis
        self.q, self.k, self.v, self.o = (
            linear(width, width),
            linear(source, width),
            linear(source, width),
            linear(width, width),
        )

    def attend(self, q, k, v):
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        return ((q @ k.mT / math.sqrt(q.shape[-1])).softmax(self.axis) @ v).transpose(1, 2).flatten(2)

    def whole(self, x, source=None):
        source = x if source is None else source
        return self.o(self.attend(self.q(x), self.k(source), self.v(source)))

    forward = whole


class OfContext(Heads):
    def __init__(self, **options):
        super().__init__(source=13, **options)

    def forward(self, x, context=None):
        return self.whole(x, context)


class OfPositions(Heads):
    def forward(self, x, pos):
        return self.o(self.attend(self.q(x + pos), self.k(x + pos), self.v(x)))


class OfKeywords(Heads):
    def forward(self, *, query, key, value):
        return self.o(self.attend(self.q(query), self.k(key), self.v(value)))


class OfRows(Heads):
    def forward(self, x):
        batch, rows, length, width = x.shape
        return self.whole(x.flatten(0, 1)).view(batch, rows, length, width)


class OneText(Heads):
    def forward(self, x):
        assert x.ndim == 2
        return self.whole(x[None])[0]


class OfPixels(Heads):
    def __init__(self, **options):
        super().__init__(linear=lambda a, b: nn.Conv2d(a, b, 1), **options)

    def forward(self, x):
        batch, width, height, across = x.shape
        q, k, v = (f(x).flatten(2).mT for f in (self.q, self.k, self.v))
        return self.o(self.attend(q, k, v).mT.reshape(batch, width, height, across))


class OwnQueries(Heads):
    def __init__(self, **options):
        super().__init__(**options)
        self.latents = nn.Parameter(torch.randn(3, 20))

    def forward(self, x):
        return self.whole(self.latents.expand(len(x), -1, -1), x)


class Lazy(Heads):
    def __init__(self, **options):
        super().__init__(linear=lambda a, b: nn.LazyLinear(b), **options)


class ThenLinear(Heads):
    def __init__(self, **options):
        super().__init__(**options)
        self.fc = nn.Linear(20, 20)

    def forward(self, x):
        return self.fc(self.whole(x))


class Talking(Heads):
    def __init__(self, **options):
        super().__init__(**options)
        self.talk, self.talk_after = nn.Linear(4, 4), nn.Linear(4, 4)

    def attend(self, q, k, v):
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        scores = self.talk((q @ k.mT / math.sqrt(q.shape[-1])).movedim(1, -1)).movedim(-1, 1)
        weights = self.talk_after(scores.softmax(self.axis).movedim(1, -1)).movedim(-1, 1)
        return (weights @ v).transpose(1, 2).flatten(2)


class Gated(Heads):
    def __init__(self, **options):
        super().__init__(**options)
        self.gate = nn.Linear(20, 20)

    def forward(self, x):
        return self.o(torch.sigmoid(self.gate(x)) * self.attend(self.q(x), self.k(x), self.v(x)))


MODULES = (
    OfContext,
    OfPositions,
    OfKeywords,
    OfRows,
    OneText,
    OfPixels,
    OwnQueries,
    Lazy,
    ThenLinear,
    Talking,
    Gated,
)


@pytest.mark.parametrize("made", MODULES, ids=lambda made: made.__name__)
def test_a_module_is_called_as_it_wants(made):
    torch.manual_seed(0)
    sound, broken = attnscope.check(made().eval()), attnscope.check(made(axis=-2).eval())
    assert sound, sound
    assert sound.compared
    assert broken.rows == (1,), broken


def test_torchs_own_attention_is_compared_inside_what_stands_around_it():
    class Residual(nn.Module):
        def __init__(self, first=True):
            super().__init__()
            self.norm, self.mha = nn.LayerNorm(20), nn.MultiheadAttention(20, 4, batch_first=first)

        def forward(self, x):  # (batch, length, width)
            h = self.norm(x)
            return x + self.mha(h, h, h)[0]

    sound = attnscope.check(Residual())
    assert sound, sound
    assert "inside mha" in sound.notes[0]
    assert [found.name for found in attnscope.check(Residual(first=False)).findings] == ["batch-and-sequence-swapped"]


def test_biases_of_their_own_belong_to_a_fused_weight():
    class Beit(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads, self.qkv, self.proj = 4, nn.Linear(20, 60, bias=False), nn.Linear(20, 20)
            self.q_bias, self.v_bias = nn.Parameter(torch.randn(20)), nn.Parameter(torch.randn(20))

        def forward(self, x):
            bias = torch.cat((self.q_bias, torch.zeros(20), self.v_bias))
            q, k, v = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
            return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    module = Beit()
    read = next(candidates(module))
    assert torch.equal(read.query.bias, module.q_bias)
    assert not read.key.bias.any()
    assert attnscope.check(module)


def test_one_linear_map_after_another_is_one():
    first, then = nn.Linear(5, 7), nn.Linear(7, 3)
    module = nn.ModuleDict({"q": nn.Linear(4, 5), "k": nn.Linear(4, 5), "v": nn.Linear(4, 5), "out": first, "fc": then})
    x = torch.randn(2, 5)
    outs = [p.out for p in candidates(module) if p.out is not None]
    assert all(isinstance(out, Affine) for out in outs)
    assert any(out.weight.shape == (5, 3) and torch.allclose(out(x), then(first(x)), atol=1e-6) for out in outs)


W_query, W_key, W_value = (nn.Linear(20, 20) for _ in range(3))


def of_names(x):
    scores = W_query(x) @ W_key(x).mT / math.sqrt(20)
    return scores.softmax(-1) @ W_value(x)


def of_names_wrong(x):
    return (W_query(x) @ W_key(x).mT).softmax(-1) @ W_value(x)


class OfArrays:
    """An object of numpy arrays, and no module."""

    def __init__(self, axis=-1):
        generator = np.random.default_rng(0)
        self.Wq, self.Wk, self.Wv = (generator.normal(size=(12, 12)) / 12**0.5 for _ in range(3))
        self.axis = axis

    def __call__(self, x):  # (length, width)
        scores = (x @ self.Wq) @ (x @ self.Wk).T / np.sqrt(12)
        e = np.exp(scores - scores.max(axis=self.axis, keepdims=True))
        return e / e.sum(axis=self.axis, keepdims=True) @ (x @ self.Wv)


def fused(x, Wqkv):
    q, k, v = np.split(x @ Wqkv, 3, axis=-1)
    return np_softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])) @ v


def test_weights_are_found_where_they_are():
    for sound in (of_names, OfArrays(), fused, Heads().forward):
        diagnosis = attnscope.check(sound)
        assert diagnosis, diagnosis
        assert diagnosis.compared
    assert attnscope.check(of_names_wrong).rows == (2,)
    assert attnscope.check(OfArrays(axis=-2)).rows == (1,)


def test_a_function_of_x_alone_is_not_accused_of_what_cannot_be_seen():
    hidden = nn.Linear(11, 11)
    diagnosis = attnscope.check(lambda x: F.scaled_dot_product_attention(x, x, x).tanh() @ hidden.weight)
    assert (diagnosis.exit_code, diagnosis.findings) == (3, ())


def test_sinks_of_its_own_are_a_design():
    class Sinks(Heads):
        def __init__(self):
            super().__init__()
            self.sinks = nn.Parameter(torch.randn(4))

        def attend(self, q, k, v):
            q, k, v = (x.unflatten(-1, (4, -1)).transpose(1, 2) for x in (q, k, v))
            scores = q @ k.mT / math.sqrt(5)
            column = self.sinks.view(1, 4, 1, 1).expand(*scores.shape[:-1], 1)
            weights = torch.cat((scores, column), -1).softmax(-1)[..., :-1]
            return (weights @ v).transpose(1, 2).flatten(2)

    diagnosis = attnscope.check(Sinks())
    assert diagnosis, diagnosis
    assert "parameter of its own" in diagnosis.conventions["sinks"]
