"""The doctor on designs beyond the plain recipe: sound ones pass and are described, a mistake inside one is still named."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attnscope
from attnscope.doctor.code_check.checks.mask_words import stated_polarity

# --- functions with something of their own -------------------------------------------------------------------------------


def slopes(heads):
    return 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)


def alibi(*, scale=True, dim=-1, diagonal=None, after=False):
    """Attention with linear biases, written into the function, broken as asked."""

    def attention(q, k, v, mask=None):
        # (batch, heads, length, size)
        i, j = torch.arange(q.shape[2])[:, None], torch.arange(k.shape[2])
        scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale else 1.0) - (i - j).abs() * slopes(q.shape[1])[:, None, None]
        if diagonal is not None:
            scores = scores.masked_fill(j > i + diagonal, -1e9)
        if mask is not None and not after:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim)
        return (weights * mask if mask is not None and after else weights) @ v

    return attention


def flash(q, k, v, block=3):
    """Online softmax over blocks of keys; no softmax is called."""
    total, least = torch.zeros(*q.shape[:-1], 1), torch.full((*q.shape[:-1], 1), -torch.inf)
    out = torch.zeros_like(q)
    for start in range(0, k.shape[-2], block):
        bias = 0.2 * torch.arange(k.shape[-2])[start : start + block]
        scores = q @ k[..., start : start + block, :].mT / q.shape[-1] ** 0.5 - bias
        new = torch.maximum(least, scores.amax(-1, keepdim=True))
        p, old = (scores - new).exp(), (least - new).exp()
        total, out, least = total * old + p.sum(-1, keepdim=True), out * old + p @ v[..., start : start + block, :], new
    return out / total


def window(*, scale=True, dim=-1, after=False):
    def attention(q, k, v):
        i = torch.arange(q.shape[-2])
        near = (i[:, None] >= i) & (i[:, None] - i < 3)
        scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale else 1.0)
        return scores.softmax(-1) * near @ v if after else scores.masked_fill(~near, -1e9).softmax(dim) @ v

    return attention


def dilated(q, k, v):
    i = torch.arange(q.shape[-2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=(i[:, None] - i) % 2 == 0)


def far_ahead(q, k, v):
    allowed = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


def cosine(q, k, v, temperature=10.0):
    return (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * temperature).softmax(-1) @ v


def normalised(q, k, v):
    rms = lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)  # noqa: E731
    return F.scaled_dot_product_attention(rms(q), rms(k), v, is_causal=True)


def rotary(*, angles="half"):
    def attention(q, k, v):
        """(batch, heads, length, size), rotary embedding over the even part of the size"""
        size = q.shape[-1] // 2 * 2
        angle = torch.arange(q.shape[-2])[:, None] * 1e4 ** (-torch.arange(0, size, 2) / size)
        angle = torch.cat([angle, angle], -1) if angles == "half" else angle.repeat_interleave(2, -1)

        def turn(x):
            y, rest = x[..., :size], x[..., size:]
            other = torch.cat([-y[..., size // 2 :], y[..., : size // 2]], -1)
            return torch.cat([y * angle.cos() + other * angle.sin(), rest], -1)

        return F.scaled_dot_product_attention(turn(q), turn(k), v)

    return attention


def grouped(keys, values):
    def attention(q, k, v):
        """q (batch, heads, length, size); k and v have fewer heads, which are repeated"""
        n = q.shape[1] // k.shape[1]
        many = {"neighbours": lambda x: x.repeat_interleave(n, 1), "tiled": lambda x: x.repeat(1, n, 1, 1)}
        return F.scaled_dot_product_attention(q, many[keys](k), many[values](v))

    return attention


def below_one(q, k, v):
    e = (q @ k.mT / q.shape[-1] ** 0.5).exp()
    return e / (1 + e.sum(-1, keepdim=True)) @ v


def transposed(q, k, v):
    weights = (k @ q.mT / q.shape[-1] ** 0.5).softmax(dim=-2)
    return weights.mT @ v


def scores_too(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v, scores


def capped(q, k, v, cap=27.0):
    return (cap * torch.tanh(q @ k.mT / q.shape[-1] ** 0.5 / cap)).softmax(-1) @ v


def in_double(q, k, v, mask=None):
    scores = q.double() @ k.double().mT / math.sqrt(k.shape[-1])
    return ((scores if mask is None else scores.masked_fill(mask, -1e300)).softmax(-1) @ v.double()).to(q.dtype)


# --- modules ---------------------------------------------------------------------------------------------------------


class Heads(nn.Module):
    """Multi-head attention with a part beyond the plain recipe, and perhaps a mistake."""

    def __init__(self, width=30, heads=5, kv_heads=None, norm=None, bias=False, residual=False, **wrong):
        super().__init__()
        self.n_heads, self.kv_heads, self.size, self.wrong = heads, kv_heads or heads, width // heads, wrong
        self.bias, self.residual = bias, residual
        self.q_proj, self.o_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.k_proj, self.v_proj = (nn.Linear(width, self.kv_heads * self.size) for _ in range(2))
        if norm is not None:
            self.q_norm, self.k_norm = norm(self.size), norm(self.size)
            for p in (*self.q_norm.parameters(), *self.k_norm.parameters()):
                nn.init.normal_(p, 1, 0.3)

    def forward(self, x, mask=None):
        wrong, (batch, length, _) = self.wrong, x.shape

        def split(y, heads):
            if wrong.get("split"):
                return y.view(batch, heads, length, -1)
            return y.view(batch, length, heads, -1).transpose(1, 2)

        q = split(self.q_proj(x), self.n_heads)
        k, v = (split(f(x), self.kv_heads) for f in (self.k_proj, self.v_proj))
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        n = self.n_heads // self.kv_heads
        k, v = (y.repeat(1, n, 1, 1) if wrong.get("tile") else y.repeat_interleave(n, 1) for y in (k, v))
        scores = q @ k.mT * wrong.get("scale", self.size**-0.5)
        i = torch.arange(length)
        if self.bias:
            scores = scores - (i[:, None] - i).abs() * slopes(self.n_heads)[:, None, None]
        if "causal" in wrong:
            scores = scores.masked_fill(i > i[:, None] + wrong["causal"], -1e9)
        if mask is not None:
            scores = scores.masked_fill(
                ~(mask[:, None, :, None] if wrong.get("rows") else mask[:, None, None, :]), -1e9
            )
        z = scores.softmax(wrong.get("dim", -1)) @ v
        z = z.reshape(batch, length, -1) if wrong.get("merge") else z.transpose(1, 2).flatten(2)
        return self.o_proj(z) + (x if self.residual else 0)


class Fused(nn.Module):
    def __init__(self, width=32, heads=4):
        super().__init__()
        self.num_heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, 3, self.num_heads, length, -1).unbind(1)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width))


class Relative(nn.Module):
    """A learned bias for each distance."""

    def __init__(self, width=24, heads=3):
        super().__init__()
        self.heads, self.distance = heads, nn.Embedding(41, heads)
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v))
        i = torch.arange(x.shape[1])
        scores = q @ k.mT * q.shape[-1] ** -0.5 + self.distance(i - i[:, None] + 20).permute(2, 0, 1)
        return self.to_out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Cosine(nn.Module):
    """Swin v2: cosines times a learned number for each head."""

    def __init__(self, width=24, heads=4):
        super().__init__()
        self.num_heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.logit_scale = nn.Parameter(torch.linspace(1, 2, heads).view(-1, 1, 1))

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * self.logit_scale.exp()).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class PostNorm(nn.Module):
    """Value size unlike key size; a residual sum and a norm inside; the scores come back too."""

    def __init__(self, width=24, heads=3, size=7, value_size=10):
        super().__init__()
        self.heads, self.size = heads, size
        self.w_qs, self.w_ks = nn.Linear(width, heads * size), nn.Linear(width, heads * size)
        self.w_vs, self.fc = nn.Linear(width, heads * value_size), nn.Linear(heads * value_size, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, q, k, v, mask=None):
        residual = q
        q, k, v = self.w_qs(q), self.w_ks(k), self.w_vs(v)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        scores = (q / self.size**0.5) @ k.mT
        if mask is not None:
            scores = scores.masked_fill(mask.unsqueeze(1) == 0, -1e9)
        return self.layer_norm(self.fc((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)) + residual), scores


class Cross(nn.Module):
    def __init__(self, width=20, context=28, heads=4):
        super().__init__()
        self.heads, self.to_q, self.to_out = heads, nn.Linear(width, width), nn.Linear(width, width)
        self.to_kv = nn.Linear(context, 2 * width)

    def forward(self, x, context):
        parts = (self.to_q(x), *self.to_kv(context).chunk(2, -1))
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in parts)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Turned(nn.Module):
    """Rotary embedding of a part of the head; or by angles that follow the heads; or of the values too."""

    def __init__(self, width=48, heads=3, dims=8, wrong=""):
        super().__init__()
        self.heads, self.rotary_dims, self.wrong = heads, dims, wrong
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def turn(self, x):  # (batch, length, heads, size)
        dims = self.rotary_dims
        count = x.shape[2 if self.wrong == "heads" else 1]
        angle = torch.arange(count)[:, None] * 1e4 ** (-torch.arange(0, dims, 2) / dims)
        angle = angle.repeat_interleave(2, -1)
        angle = angle[None, None] if self.wrong == "heads" else angle[None, :, None]
        y = x[..., :dims]
        other = torch.stack([-y[..., 1::2], y[..., ::2]], -1).flatten(-2)
        return torch.cat([y * angle.cos() + other * angle.sin(), x[..., dims:]], -1)

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)) for f in (self.q_proj, self.k_proj, self.v_proj))
        q, k, v = self.turn(q), self.turn(k), self.turn(v) if self.wrong == "values" else v
        z = F.scaled_dot_product_attention(*(y.transpose(1, 2) for y in (q, k, v)), is_causal=True)
        return self.out_proj(z.transpose(1, 2).flatten(2))


def made(kind, *args, **options):
    torch.manual_seed(3)
    return kind(*args, **options)


SINKS = torch.tensor([0.3, -0.5, 1.1])

SOUND = {
    "ALiBi": (alibi(), {}, "position bias"),
    "ALiBi, causal": (alibi(diagonal=0), {"causal": True}, "position bias"),
    "flash, with a bias": (flash, {}, "position bias"),
    "window": (window(), {"causal": True}, "window"),
    "every second key": (dilated, {}, "pattern"),
    "cosines": (cosine, {}, "scale"),
    "normalised to a mean square of 1": (normalised, {}, "queries and keys"),
    "rotary over a part": (rotary(), {}, "rotary"),
    "grouped": (grouped("neighbours", "neighbours"), {}, "layout"),
    "softmax with a 1 more": (below_one, {"sinks": torch.zeros(1)}, "layout"),
    "scores transposed": (transposed, {}, "layout"),
    "scores come back": (scores_too, {}, "layout"),
    "soft cap, declared": (capped, {"softcap": 27.0}, "layout"),
    "in float64": (in_double, {}, "mask"),
    "own norms, LayerNorm": (made(Heads, norm=nn.LayerNorm), {}, "queries and keys"),
    "own norms, RMSNorm": (made(Heads, norm=nn.RMSNorm, kv_heads=1), {}, "queries and keys"),
    "own norms, no scale": (made(Heads, norm=nn.LayerNorm, scale=1.0), {}, "scale"),
    "ALiBi in a module": (made(Heads, bias=True, causal=0), {}, "position bias"),
    "learned distances": (made(Relative), {}, "position bias"),
    "Swin v2": (made(Cosine), {}, "scale"),
    "value size, residual, norm": (made(PostNorm), {}, "mask"),
    "cross attention": (made(Cross), {}, "projections"),
    "partial rotary": (made(Turned), {}, "rotary"),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_design_passes_and_is_described(name):
    suspect, options, convention = SOUND[name]
    diagnosis = attnscope.check(suspect, **options)
    assert diagnosis, repr(diagnosis)
    assert convention in diagnosis.conventions, diagnosis.conventions
    assert not [x for x in diagnosis.not_examined if "comparison" in x]


BROKEN = {
    "ALiBi, no scale": (alibi(scale=False), {2}),
    "ALiBi, softmax over queries": (alibi(dim=-2), {1}),
    "ALiBi, off by one": (alibi(diagonal=1), {11}),
    "ALiBi, mask after softmax": (alibi(after=True), {4}),
    "window, no scale": (window(scale=False), {2}),
    "window, softmax over queries": (window(dim=-2), {1}),
    "window after softmax": (window(after=True), {4}),
    "two tokens ahead": (far_ahead, {11}),
    "rotary angles": (rotary(angles="pairs"), {17}),
    "groups tiled": (grouped("tiled", "tiled"), {16}),
    "keys tiled, values repeated": (grouped("tiled", "neighbours"), {16}),
    "values tiled, keys repeated": (grouped("neighbours", "tiled"), {16}),
    "own norms, heads split by view": (made(Heads, norm=nn.RMSNorm, split=True), {13}),
    "own norms, scale of the model": (made(Heads, norm=nn.LayerNorm, scale=30**-0.5), {3}),
    "own norms, groups tiled": (made(Heads, heads=6, kv_heads=2, norm=nn.RMSNorm, tile=True), {16}),
    "ALiBi, merged by view": (made(Heads, bias=True, merge=True), {14}),
    "ALiBi, split by view": (made(Heads, bias=True, split=True), {13}),
    "ALiBi, scale of the width": (made(Heads, bias=True, scale=30**-0.5), {3}),
    "residual, padding masks queries": (made(Heads, residual=True, rows=True), {12}),
    "residual, softmax over queries": (made(Heads, residual=True, dim=-2), {1}),
    "fused, reshaped at once": (made(Fused), {13}),
    "rotary follows the heads": (made(Turned, wrong="heads"), {17}),
    "rotary of values": (made(Turned, wrong="values"), {17}),
    "two: softmax and split": (made(Heads, dim=-2, split=True), {1, 13}),
    "two: merge and padding": (made(Heads, merge=True, rows=True), {12, 14}),
    "two: tiled and unscaled": (made(Heads, heads=6, kv_heads=2, tile=True, scale=1.0), {2, 16}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_inside_a_design_is_named(name):
    suspect, rows = BROKEN[name]
    diagnosis = attnscope.check(suspect)
    assert set(diagnosis.rows) == rows, repr(diagnosis)
    assert not [f for f in diagnosis.findings if f.row is None]


# --- what is to be declared, and what contradicts itself ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("suspect", "said"),
    [
        (lambda q, k, v: (27 * torch.tanh(q @ k.mT / q.shape[-1] ** 0.5 / 27)).softmax(-1) @ v, "pass softcap=27"),
        (below_one, "pass sinks="),
        (lambda q, k, v: (q @ k.mT).softmax(-1) @ v, "pass scaling=1.0"),
    ],
)
def test_what_is_not_declared_says_how_to_declare_it(suspect, said):
    (found,) = attnscope.check(suspect).findings
    assert said in found.title + found.cure


def test_a_number_that_is_called_a_cap_declares_it():
    diagnosis = attnscope.check(capped)
    assert diagnosis.findings == ()
    assert diagnosis.conventions["soft cap"] == "27, a number of its own called cap"


def softmax_one(q, k, v):
    e = (q @ k.mT / q.shape[-1] ** 0.5).exp()
    return e / (1 + e.sum(-1, keepdim=True)) @ v


def test_a_name_of_the_softmax_with_a_1_more_declares_it():
    diagnosis = attnscope.check(softmax_one)
    assert diagnosis.findings == ()
    assert "as its text says" in diagnosis.conventions["sinks"]


def polarity(text, how):
    """A function whose docstring says one thing of its mask and whose code does another."""
    space = {"torch": torch}
    source = f'''
def attention(q, k, v, mask=None):
    """{text}"""
    s = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        s = {how}
    return s.softmax(-1) @ v
'''
    import linecache

    name = f"<polarity {hash(source)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    exec(compile(source, name, "exec"), space)
    return space["attention"]


@pytest.mark.parametrize(
    ("text", "how", "rows"),
    [
        ("mask: True = may attend", "s.masked_fill(mask.bool(), -1e9)", {9}),
        ("mask: True = may attend", "s.masked_fill(~mask.bool(), -1e9)", set()),
        ("mask: 1 for real tokens and 0 for padding", "s.masked_fill(mask == 0, -1e9)", set()),
        ("mask: True means ignore", "s.masked_fill(mask.bool(), -1e9)", set()),
        ("mask: True means ignore", "s.masked_fill(~mask.bool(), -1e9)", {9}),
        ("mask: 1 = keep", "s + mask", {10}),
        ("mask: 0 or -inf", "s + mask", set()),
    ],
)
def test_a_mask_that_contradicts_its_own_words(text, how, rows):
    diagnosis = attnscope.check(polarity(text, how))
    assert set(diagnosis.rows) == rows, repr(diagnosis)


def test_words_that_say_both_say_nothing():
    assert stated_polarity("# mask: True = keep\n# mask: True = drop") is None
    assert stated_polarity("# weights: True = keep") is None


def test_two_readings_of_the_axes_are_told_and_settled_by_a_comment():
    def vague(q, k, v):
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(1) @ v

    def plain(q, k, v):
        # (batch, heads, length, size)
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(1) @ v

    vague_one, plain_one = attnscope.check(vague), attnscope.check(plain)
    assert vague_one.findings[0].name == "softmax-over-queries"
    assert "# (batch, heads, length, size)" in vague_one.notes[0]
    assert plain_one.findings[0].name == "softmax-over-heads"
    assert not plain_one.notes


# --- half precision -------------------------------------------------------------------------------------------------


def test_half_precision_is_a_note_unless_the_code_speaks_of_it():
    def sound(q, k, v, mask=None):
        s = q @ k.mT / q.shape[-1] ** 0.5
        return (s if mask is None else s.masked_fill(~mask, -1e9)).softmax(-1) @ v

    def for_half(q, k, v, mask=None):
        # runs under autocast in float16
        s = q @ k.mT / q.shape[-1] ** 0.5
        return (s if mask is None else s.masked_fill(~mask, -1e9)).softmax(-1) @ v

    def safe(q, k, v, mask=None):
        # runs under autocast in float16
        s = q @ k.mT / q.shape[-1] ** 0.5
        return (s if mask is None else s.masked_fill(~mask, torch.finfo(s.dtype).min)).softmax(-1) @ v

    first = attnscope.check(sound)
    assert first
    assert any("float16" in note for note in first.notes)
    assert attnscope.check(for_half).rows == (8,)
    last = attnscope.check(safe)
    assert last
    assert not last.notes


# --- the first invariant that fails -------------------------------------------------------------------------------------


def half_of_it(q, k, v):
    return 0.5 * (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v, 0.5 * (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


def leaking(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v + 0.3 * v.mean((0, -2), keepdim=True)


def not_rescaled(q, k, v):
    total, out = 0.0, 0.0
    most = torch.full((*q.shape[:-1], 1), -1e30)
    for keys, values in zip(k.split(2, -2), v.split(2, -2), strict=True):
        scores = q @ keys.mT / q.shape[-1] ** 0.5
        new = torch.maximum(most, scores.amax(-1, keepdim=True))
        p = (scores - new).exp()
        total, out, most = total * (most - new).exp() + p.sum(-1, keepdim=True), out + p @ values, new
    return out / total


def cubed(q, k, v):
    return (q @ k.mT / 7.0).softmax(-1) @ v**3


@pytest.mark.parametrize(
    ("suspect", "name", "numbers"),
    [
        (half_of_it, "weights-scaled", "0.5"),
        (leaking, "batch-leak", "moves by"),
        (not_rescaled, "running-sum-not-rescaled", "standard deviations"),
        (cubed, "scale", "standard deviation"),
        (torch.nn.functional.cosine_similarity, "raises", ""),
    ],
)
def test_the_first_invariant_that_fails_is_reported(suspect, name, numbers):
    (found,) = attnscope.check(suspect).findings
    assert found.name == name, found
    assert numbers in found.evidence
