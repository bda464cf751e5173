"""The doctor: each known mistake in a small implementation, sound code of many styles, and code that misbehaves."""

import json
import linecache
import math
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attnscope
from attnscope.attention import MultiHeadAttention, scaled_dot_product_attention
from attnscope.doctor import Diagnosis
from attnscope.doctor.code_check.match.extra_keys import Extra
from attnscope.doctor.code_check.match.mistakes import MISTAKES
from attnscope.doctor.code_check.recipe import Operands, Recipe, compute
from attnscope.doctor.code_check.run.affine import Affine

# --- one attention, with everything that can go wrong as an argument ---------------------------------------------------


def make_function(*, dim=-1, scale=None, how="big", keep=True, inner=None, apply="before"):
    """A function of (query, key, value, mask) in the manual style, broken in the way that is asked for."""

    def attention(query, key, value, mask=None):
        scores = query @ key.transpose(-2, -1)
        scores = scores * (query.shape[-1] ** -0.5 if scale is None else scale(query, key))
        if inner is not None:
            scores = inner(scores)
        if mask is not None:
            drop = ~mask.bool() if keep else mask.bool()
            if apply == "before":
                fill = {"inf": -math.inf, "big": -1e9, "zero": 0.0, "tiny": 1e-9, "1e4": -1e4, "1e5": -1e5}.get(how)
                scores = scores * ~drop if how == "multiply" else scores.masked_fill(drop, fill)
        weights = scores.softmax(dim)
        if mask is not None and apply == "after":
            weights = weights.masked_fill(drop, 0.0)
        return weights @ value

    return attention


def triangle(scores, offset=0):
    return torch.ones(scores.shape[-2:], dtype=torch.bool).tril(offset)


class Heads(nn.Module):
    """Multi-head attention in one class, broken in the way that is asked for."""

    def __init__(self, width=30, heads=5, kv_heads=None, **wrong):
        super().__init__()
        self.n_heads, self.kv_heads, self.size, self.wrong = heads, kv_heads or heads, width // heads, wrong
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, self.kv_heads * self.size)
        self.v_proj = nn.Linear(width, self.kv_heads * self.size)
        self.o_proj = nn.Linear(width, width)

    def split(self, x, heads):
        if self.wrong.get("split"):
            return x.view(x.shape[0], heads, x.shape[1], self.size)
        return x.view(x.shape[0], x.shape[1], heads, self.size).transpose(1, 2)

    def forward(self, x, mask=None):
        wrong = self.wrong
        if wrong.get("batch"):
            x = x.transpose(0, 1)
        q = self.split(self.q_proj(x), self.n_heads)
        k, v = (self.split(f(x), self.kv_heads) for f in (self.k_proj, self.v_proj))
        groups = self.n_heads // self.kv_heads
        k, v = (y.repeat(1, groups, 1, 1) if wrong.get("tile") else y.repeat_interleave(groups, 1) for y in (k, v))
        scores = q @ k.mT / (q.shape[-1] * self.n_heads if wrong.get("model") else q.shape[-1]) ** 0.5
        if wrong.get("causal") is not None:
            scores = scores.masked_fill(~triangle(scores, wrong["causal"]), -math.inf)
        if mask is not None:
            if wrong.get("tiled_mask"):
                drop = ~mask[:, None].expand(-1, x.shape[1], -1).repeat(self.n_heads, 1, 1).view(scores.shape)
            else:
                drop = ~(mask[:, None, :, None] if wrong.get("rows") else mask[:, None, None, :])
            scores = scores.masked_fill(drop, -1e9)
        weights = F.dropout(scores.softmax(-1), 0.2, training=self.training or bool(wrong.get("dropout")))
        z = weights @ v
        z = z.reshape(z.shape[0], z.shape[2], -1) if wrong.get("merge") else z.transpose(1, 2).flatten(2)
        y = self.o_proj(z)
        return y.transpose(0, 1) if wrong.get("batch") else y


class Block(nn.Module):
    """Attention inside a pre-norm block: the doctor looks at the attention alone."""

    def __init__(self, **wrong):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(30), Heads(**wrong)

    def forward(self, x):
        return x + self.attention(self.norm(x))


def turning(x, angle, rotate):
    first, second = x.chunk(2, -1) if rotate == "half" else (x[..., 0::2], x[..., 1::2])
    pair = (-second, first)
    turned = torch.cat(pair, -1) if rotate == "half" else torch.stack(pair, -1).flatten(-2)
    return x * angle.cos() + turned * angle.sin()


class Rotary(nn.Module):
    """One head with a rotary embedding whose angles and pairs may not fit."""

    def __init__(self, angles="half", rotate="half", keys=True):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(20, 12) for _ in range(3))
        self.heads, self.angles, self.rotate, self.keys = 1, angles, rotate, keys

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        angle = torch.arange(x.shape[1])[:, None] * 10_000 ** (-torch.arange(6) / 6)  # rope
        angle = torch.cat([angle, angle], -1) if self.angles == "half" else angle.repeat_interleave(2, -1)
        q = turning(q, angle, self.rotate)
        k = turning(k, angle, self.rotate) if self.keys else k
        return F.scaled_dot_product_attention(q, k, v)


def one(query, key):
    return 1.0


BROKEN = {
    "softmax over queries": (make_function(dim=1), {1}, {}),
    "no scale": (make_function(scale=one), {2}, {}),
    "scale multiplied": (make_function(scale=lambda q, k: q.shape[-1] ** 0.5), {2}, {}),
    "scale linear": (make_function(scale=lambda q, k: 1 / q.shape[-1]), {2}, {}),
    "scale of length": (make_function(scale=lambda q, k: k.shape[-2] ** -0.5), {2}, {}),
    "some scale": (make_function(scale=lambda q, k: 0.1234), {2}, {}),
    "width for head size": (Heads(model=True), {3}, {}),
    "mask after softmax": (make_function(apply="after"), {4}, {}),
    "mask after softmax, True = drop": (make_function(apply="after", keep=False), {4}, {}),
    "causal after softmax": (
        lambda q, k, v: ((s := (q @ k.mT / 11**0.5)).softmax(-1) * triangle(s)) @ v,
        {4},
        {"causal": True},
    ),
    "mask multiplied": (make_function(how="multiply"), {5}, {}),
    "mask filled with zero": (make_function(how="zero"), {5}, {}),
    "mask filled with 1e-9": (make_function(how="tiny", keep=False), {5}, {}),
    "causal multiplied": (make_function(inner=lambda s: s * triangle(s)), {5}, {}),
    "sentinel of -1e4": (make_function(how="1e4"), {6}, {}),
    "sentinel of -1e5": (make_function(how="1e5", keep=False), {6}, {}),
    "causal sentinel of -1e4": (make_function(inner=lambda s: s.masked_fill(~triangle(s), -1e4)), {6}, {}),
    "empty row": (make_function(how="inf"), {7}, {}),
    "causal inverted": (make_function(inner=lambda s: s.masked_fill(triangle(s), -math.inf)), {9}, {}),
    "causal transposed": (make_function(inner=lambda s: s.masked_fill(~triangle(s).T, -math.inf)), {9}, {}),
    "0/1 added": (make_function(inner=lambda s: s + triangle(s).float()), {10}, {"causal": True}),
    "sees one too many": (Heads(causal=1), {11}, {}),
    "sees one too few": (Heads(causal=-1), {11}, {}),
    "padding masks queries": (Heads(rows=True), {12}, {}),
    "view for transpose": (Heads(split=True), {13}, {}),
    "merged without transpose": (Heads(merge=True), {14}, {}),
    "groups tiled": (Heads(heads=6, kv_heads=2, tile=True), {16}, {}),
    "rotary angles adjacent": (Rotary(angles="adjacent"), {17}, {}),
    "rotary angles by halves": (Rotary(rotate="adjacent"), {17}, {}),
    "rotary on queries only": (Rotary(keys=False), {17}, {}),
    "dropout in eval": (Heads(dropout=True), {19}, {}),
    "batch swapped": (Heads(batch=True), {22}, {}),
    "masks tiled": (Heads(tiled_mask=True), {23}, {}),
    "inside a block": (Block(model=True, split=True), {3, 13}, {}),
    "sentinel of -1e4, added": (make_function(inner=lambda s: s - 1e4 * (~triangle(s)).float()), {6}, {}),
    "two: softmax and scale": (make_function(dim=-2, scale=one), {1, 2}, {}),
    "two: split and scale": (Heads(split=True, model=True), {3, 13}, {}),
    "two: groups and causal": (Heads(heads=6, kv_heads=2, tile=True, causal=1), {11, 16}, {}),
    "two: dropout and merge": (Heads(dropout=True, merge=True), {14, 19}, {}),
    "two: scale and padding": (Heads(model=True, rows=True), {3, 12}, {}),
}


WARNED = {6, 7, 16}  # right here, wrong elsewhere: -1e4 as a sentinel, NaN on a row without keys, tiled groups


@pytest.mark.parametrize("name", BROKEN)
def test_the_mistake_is_named(name):
    suspect, rows, options = BROKEN[name]
    diagnosis = attnscope.check(suspect, **options)
    assert set(diagnosis.rows) == rows, repr(diagnosis)
    assert bool(diagnosis) == (rows <= WARNED), repr(diagnosis)
    assert all(f.title and f.invariant and f.place for f in diagnosis.findings)


def test_a_class_from_a_notebook_is_read_too(monkeypatch):
    """Such a class has no file; without its source the rotary embedding is not looked for."""
    source = textwrap.dedent(
        """
        class Turning(nn.Module):
            def __init__(self):
                super().__init__()
                self.query, self.key, self.value = (nn.Linear(20, 12) for _ in range(3))

            def turn(self, x):
                angle = (torch.arange(x.shape[1])[:, None] * 10_000 ** (-torch.arange(6) / 6)).repeat_interleave(2, -1)
                return x * angle.cos() + torch.cat([-x[..., 6:], x[..., :6]], -1) * angle.sin()

            def forward(self, x):
                return F.scaled_dot_product_attention(self.turn(self.query(x)), self.turn(self.key(x)), self.value(x))
        """
    )
    linecache.cache["<cell 1>"] = (len(source), None, source.splitlines(True), "<cell 1>")  # as IPython does
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)  # a kernel's main module has no file
    cell = {"nn": nn, "torch": torch, "F": F, "__name__": "__main__"}
    exec(compile(source, "<cell 1>", "exec"), cell)
    assert attnscope.check(cell["Turning"]()).rows == (17,)
    cell["Turning"].turn = lambda self, x: x.nothing  # its error is a finding as well, though no file tells the line
    assert [f.name for f in attnscope.check(cell["Turning"]()).findings] == ["raises"]


# --- sound code --------------------------------------------------------------------------------------------------------


def einsum_late(q, k, v, mask=None):
    """(batch, length, heads, size)"""
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    weights = scores.softmax(-1)
    return weights, torch.einsum("bhqk,bkhd->bqhd", weights, v)


def additive(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return (scores if mask is None else scores + mask).softmax(-1) @ value


def by_loops(q, k, v):
    out = torch.zeros_like(q)
    for b in range(q.shape[0]):
        for i in range(q.shape[1]):
            exp = torch.stack([q[b, i] @ k[b, j] for j in range(k.shape[1])]).div(q.shape[2] ** 0.5).exp()
            out[b, i] = sum(e * v[b, j] for j, e in enumerate(exp / exp.sum()))
    return out


def with_heads(q, k, v, num_heads=4):
    cut = lambda x: x.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # noqa: E731
    return F.scaled_dot_product_attention(cut(q), cut(k), cut(v)).transpose(1, 2).flatten(2)


def cached_right(q, k, v):
    allowed = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(k.shape[-2] - q.shape[-2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


def cached_wrong(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def mask_wanted(q, k, v, mask):
    return (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(mask == 0, -1e9).softmax(-1) @ v


def grouped_late(q, k, v):
    """q (batch, length, heads, size); k and v have fewer heads, which are repeated"""
    k, v = (x.repeat_interleave(q.shape[2] // x.shape[2], dim=2) for x in (k, v))
    return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)


def windowed(q, k, v):
    i = torch.arange(q.shape[-2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=(i[:, None] >= i) & (i[:, None] - i < 3))


class PerHeadFused(nn.Module):
    """GPT-NeoX's layout: q, k, v of head 0, then of head 1, …"""

    def __init__(self, width=30, heads=5, blocks=False):
        super().__init__()
        self.query_key_value, self.dense = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.num_heads, self.blocks = heads, blocks

    def forward(self, x):
        qkv = self.query_key_value(x)
        if self.blocks:
            q, k, v = (y.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for y in qkv.chunk(3, -1))
        else:
            q, k, v = qkv.unflatten(-1, (self.num_heads, 3, -1)).permute(3, 0, 2, 1, 4)
        return self.dense(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


SOUND = {
    "torch's own": (F.scaled_dot_product_attention, {}),
    "the reference": (scaled_dot_product_attention, {}),
    "manual": (make_function(), {}),
    "manual, True = drop": (make_function(keep=False), {}),
    "einsum, (B, T, H, D), weights first": (einsum_late, {}),
    "additive mask": (additive, {}),
    "loops": (by_loops, {}),
    "heads as an argument": (with_heads, {}),
    "lower right triangle": (cached_right, {}),
    "upper left triangle": (cached_wrong, {}),
    "sliding window": (windowed, {}),
    "a mask that must be passed": (mask_wanted, {}),
    "grouped, (B, T, H, D)": (grouped_late, {}),
    "one sequence": (lambda x: F.scaled_dot_product_attention(x, x, x), {}),
    "in bfloat16": (lambda q, k, v: F.scaled_dot_product_attention(*(x.bfloat16() for x in (q, k, v))).float(), {}),
    "scale of 1, declared": (make_function(scale=one), {"scaling": 1.0}),
    "soft cap, declared": (make_function(inner=lambda s: 20 * torch.tanh(s / 20)), {"softcap": 20.0}),
    "heads": (Heads(), {}),
    "heads, causal": (Heads(causal=0), {}),
    "heads, grouped": (Heads(heads=6, kv_heads=2), {}),
    "rotary, halves": (Rotary(), {}),
    "rotary, adjacent": (Rotary("adjacent", "adjacent"), {}),
    "inside a block": (Block(), {}),
    "NeoX layout": (PerHeadFused(), {}),
    "the reference module": (MultiHeadAttention(48, 6, kv_heads=2, causal=True, rotary_theta=1e4), {}),
    "nn.MultiheadAttention": (nn.MultiheadAttention(30, 5, batch_first=True), {}),
    "nn.MultiheadAttention, length first": (nn.MultiheadAttention(30, 5), {}),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_code_passes(name):
    suspect, options = SOUND[name]
    diagnosis = attnscope.check(suspect, **options)
    assert diagnosis, repr(diagnosis)
    assert not [x for x in diagnosis.not_examined if "comparison" in x]


def test_conventions_are_found():
    assert attnscope.check(make_function(keep=False)).conventions["mask"].endswith("True = drop")
    assert attnscope.check(einsum_late).conventions["layout"] == "(batch, length, heads, size)"
    assert attnscope.check(cached_right).conventions["causal"] == "yes"
    assert "per head" in attnscope.check(PerHeadFused()).conventions["projections"]


def test_a_scale_of_one_says_how_to_declare_it():
    (found,) = attnscope.check(make_function(scale=one)).findings
    assert "T5 and GPT-Neo: pass scaling=1.0" in found.cure


def test_declared_causality_is_held_to():
    assert not attnscope.check(make_function(), causal=True)
    assert not attnscope.check(cached_right, causal=False)


def test_every_mistake_changes_what_the_recipe_computes():
    x = [torch.randn(3, 7, 24) for _ in range(3)]
    for mistake in MISTAKES:
        base = Recipe(
            causal=mistake.needs == "causal",
            rotary="half" if mistake.needs in ("rotary", "turned") else "none",
            qk="rms" if mistake.needs.startswith("normed") else "plain",
        )
        square = (
            mistake.needs == "projected" or "with_input" in mistake.change.values()
        )  # for which there must be projections of 24 numbers to 24
        projected = square or "projected" in mistake.change  # and an output projection, of the values' width
        kv_heads = 6 if mistake.needs == "fused" or projected else 3
        out = (torch.randn(24, 24), torch.randn(24)) if projected else None
        key, value = x[1][..., : 4 * kv_heads], x[2][..., : 4 * kv_heads]
        operands = Operands(x[0], key, value, heads=6, kv_heads=kv_heads, out=out)
        if square:
            maps = [Affine(torch.randn(24, 24) / 5, torch.randn(24)) for _ in range(3)]
            made = [f(part) for f, part in zip(maps, x, strict=True)]
            operands = Operands(*made, heads=6, kv_heads=6, out=out, inputs=tuple(x), projections=tuple(maps))
        if "prefix" in mistake.change:  # for which keys must stand before the tokens'
            operands = replace(operands, extra=Extra(torch.randn(1, 3, 2, 4), torch.randn(1, 3, 2, 4)))
        allowed = torch.ones(3, 1, 7, 7, dtype=torch.bool).tril() if mistake.needs == "mask" else None
        if allowed is not None:
            allowed[1, ..., 1] = False
        right, wrong = compute(base, operands, allowed), compute(base.but(**mistake.change), operands, allowed)
        known = right.output.isfinite() & wrong.output.isfinite()
        if mistake.name != "padding-masks-queries":  # that one turns the mask itself
            assert (right.output - wrong.output)[known].abs().max() > 1e-3, mistake.name


def test_the_recipe_without_mistakes_is_torchs():
    q, k, v = torch.randn(2, 3, 5, 11), torch.randn(2, 3, 7, 11), torch.randn(2, 3, 7, 11)
    torch.testing.assert_close(compute(Recipe(), Operands(q, k, v)).output, F.scaled_dot_product_attention(q, k, v))


# --- beside a reference, beside a cache ---------------------------------------------------------------------------------


def test_like_names_the_fused_layout():
    wrong, right = PerHeadFused(blocks=True), PerHeadFused()
    wrong.load_state_dict(right.state_dict())
    assert attnscope.check(wrong).rows == ()
    assert attnscope.check(wrong, like=right).rows == (15,)
    assert attnscope.check(right, like=right)


def test_like_names_the_rotary_pairs():
    wrong, right = Rotary("adjacent", "adjacent"), Rotary()
    wrong.load_state_dict(right.state_dict())
    assert attnscope.check(wrong, like=right).rows == (17,)


def test_like_names_heads_taken_too_late():
    class Sliced(Heads):
        def forward(self, x):
            return super().forward(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    wrong, right = Sliced(), Heads()
    wrong.load_state_dict(right.state_dict())
    assert attnscope.check(wrong, like=right).rows == (21,)


def test_cached_names_the_upper_left_triangle():
    assert attnscope.check(cached_wrong, cached=True).rows == (18,)
    assert attnscope.check(cached_right, cached=True)
    assert attnscope.check(cached_wrong, cached=cached_right)


def test_what_needs_more_is_listed():
    said = " ".join(attnscope.check(make_function()).not_examined)
    assert all(word in said for word in ("like=", "cached=", "rows 20, 23"))


# --- user code that misbehaves --------------------------------------------------------------------------------------------


def test_code_that_raises():
    def broken(q, k, v):
        return q @ k.nonsense

    (found,) = attnscope.check(broken).findings
    assert found.name == "raises"
    assert "nonsense" in found.title
    assert found.line


def test_code_that_exits():
    assert attnscope.check(lambda q, k, v: sys.exit(0)).findings[0].name == "raises"


def test_code_that_loops_for_ever(monkeypatch):
    monkeypatch.setattr("attnscope.doctor.code_check.run.sandbox.LIMIT", 0.3)

    def endless(q, k, v):
        while True:
            try:  # noqa: SIM105
                sum(range(100))
            except Exception:
                pass

    assert attnscope.check(endless).findings[0].name == "too-slow"


def test_code_that_prints(capsys):
    def loud(q, k, v):
        print("shape", q.shape)
        return F.scaled_dot_product_attention(q, k, v)

    diagnosis = attnscope.check(loud)
    assert diagnosis
    assert "prints" in diagnosis.notes[0]
    assert capsys.readouterr().out == ""


def test_code_that_returns_the_wrong_shape():
    (found,) = attnscope.check(lambda q, k, v: (q @ k.mT / 11**0.5).softmax(-1)).findings
    assert found.name == "wrong-shape"
    assert "(2, 7, 7)" in found.title


def test_code_that_returns_nothing():
    assert attnscope.check(lambda q, k, v: None).findings[0].name == "wrong-shape"


def test_code_that_changes_its_inputs():
    def careless(q, k, v):
        q /= q.shape[-1] ** 0.5
        return (q @ k.mT).softmax(-1) @ v

    (found,) = attnscope.check(careless).findings
    assert found.name == "mutates-inputs"


def test_dropout_hidden_behind_a_fixed_seed_is_found():
    def hidden(q, k, v):
        torch.manual_seed(0)
        return F.dropout((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1), 0.3) @ v

    assert attnscope.check(hidden).rows == (19,)


def test_own_dice_are_found():
    diagnosis = attnscope.check(lambda q, k, v: F.scaled_dot_product_attention(q, k, v) + 0.1 * torch.randn(q.shape))
    assert 19 in diagnosis.rows


def test_the_callers_dice_and_module_are_left_alone():
    module = Heads().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    attnscope.check(module)
    assert module.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_something_else_than_attention_is_no_attention():
    assert not attnscope.check(lambda q, k, v: v.mean(-2, keepdim=True).expand(q.shape) * 1.5)


@pytest.mark.parametrize("nothing", [3, dict, nn.Linear(3, 4), nn.LSTM, lambda: None])
def test_what_cannot_be_checked_is_a_usage_error(nothing):
    with pytest.raises(attnscope.InputError):
        attnscope.check(nothing)


def test_a_wrong_hint_is_a_usage_error():
    with pytest.raises(attnscope.InputError, match="hint"):
        attnscope.check(additive, hint=4)


# --- the report -----------------------------------------------------------------------------------------------------------


def test_the_seeds_mistake_in_its_own_words():
    diagnosis = attnscope.check(make_function(dim=1))
    assert diagnosis.findings[0].title == "softmax runs over queries (dim=1); keys are dim=-1 of (batch, query, key)"
    assert "row sums" in diagnosis.findings[0].evidence
    assert diagnosis.matrices.cell == (0, 0)
    text = repr(diagnosis)
    assert "theirs" in text
    assert "reference" in text
    assert "Σ 1.00" in text


@pytest.mark.parametrize(
    ("hint", "said", "withheld"), [(1, [], ["the softmax", "dim"]), (2, ["the softmax"], ["dim="])]
)
def test_hints_withhold_the_answer(hint, said, withheld):
    diagnosis = attnscope.check(make_function(dim=1), hint=hint)
    for text in (repr(diagnosis), diagnosis.to_json(), diagnosis._repr_html_()):
        assert "weights sum to 1" in text
        assert all(word in text for word in said)
        assert not any(word in text for word in withheld)


def test_json_is_plain():
    diagnosis = attnscope.check(Heads(causal=-1))
    data = json.loads(diagnosis.to_json())
    assert data["passed"] is False
    assert data["findings"][0]["row"] == 11
    assert len(data["matrices"]["theirs"]) == 7
    assert json.loads(attnscope.check(additive).to_json())["findings"] == []


def test_it_draws_itself_and_opens_in_the_instrument():
    diagnosis = attnscope.check(make_function(dim=1))
    assert diagnosis._repr_html_().count("<table") == 2
    assert "first cell that differs" in diagnosis._repr_html_()
    theirs, reference = diagnosis.theirs(), diagnosis.reference()
    assert torch.allclose(theirs.sites[0].weights()[0], diagnosis.matrices.theirs, atol=1e-6)
    assert torch.allclose(reference.sites[0].weights()[0], diagnosis.matrices.reference, atol=1e-5)
    assert reference.sites[0].q is not None  # the chain, not the weights alone
    assert isinstance(diagnosis, Diagnosis)


# --- the command line -------------------------------------------------------------------------------------------------------

FILE = """
import torch
from torch import nn

def wrong(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(1) @ v

def right(q, k, v):
    print("hello")
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v

def unscaled(q, k, v):
    return (q @ k.mT).softmax(-1) @ v

def endless(q, k, v):
    while True:
        try:
            sum(range(1000))
        except BaseException:
            pass

def leaves(q, k, v):
    import os
    os._exit(0)

class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
    def forward(self, x):
        return (self.q(x) @ self.k(x).mT / x.shape[-1] ** 0.5).softmax(-1) @ self.v(x)
"""


@pytest.fixture(scope="module")
def user_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("user") / "mine.py"
    path.write_text(textwrap.dedent(FILE))
    return path


def command(*args):
    return subprocess.run([sys.executable, "-m", "attnscope", "check", *map(str, args)], capture_output=True, text=True)


@pytest.mark.packaging
@pytest.mark.parametrize(
    ("name", "options", "code", "said"),
    [
        ("wrong", [], 1, "softmax runs over queries"),
        ("wrong", ["--hint", "1"], 1, "this does not hold"),
        ("right", [], 0, "nothing found"),
        ("unscaled", ["--scaling", "1"], 0, "nothing found"),
        ("right", ["--causal"], 1, "not causal"),
        ("endless", ["--limit", "5"], 1, "stopped after 5 s"),
        ("leaves", [], 1, "ended its process"),
        ("Attention(13)", [], 0, "nothing found"),
        ("Attention", [], 2, "needs arguments"),
        ("absent", [], 2, "got 'absent'"),
    ],
)
def test_exit_codes(user_file, name, options, code, said):
    done = command(f"{user_file}:{name}", *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert "hello\n" not in done.stdout


@pytest.mark.packaging
def test_json_on_the_command_line(user_file):
    done = command(f"{user_file}:wrong", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"][0]["row"] == 1


@pytest.mark.packaging
@pytest.mark.parametrize("target", ["nowhere.py:f", "mine.py", "mine:f"])
def test_a_target_that_is_none(target):
    assert command(target).returncode == 2


@pytest.mark.packaging
def test_checking_a_function_never_imports_transformers():
    code = "import sys, torch, attnscope; assert attnscope.check(torch.nn.functional.scaled_dot_product_attention); assert attnscope.check(torch.nn.MultiheadAttention(30, 5)); assert 'transformers' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
