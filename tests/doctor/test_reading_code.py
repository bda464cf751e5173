"""How the doctor reads code that it meets: parameters of every shape, grouped heads, words about masks, where the source is."""

import functools
import linecache
import math
import sys
import textwrap

import pytest
import torch
from torch import nn

import attnscope
from attnscope.doctor.code_check.checks.mask_words import stated_polarity
from attnscope.doctor.code_check.run.projections import candidates
from attnscope.doctor.code_check.run.sandbox import own_parts, source_of

# --- projections in every shape ------------------------------------------------------------------------------------------


def mixed(q, k, v, *, dim=-1, scale=None, causal=False):
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
    return scores.softmax(dim) @ v


AXES = {"chd": (20, 5, 4), "hcd": (5, 20, 4), "hdc": (5, 4, 20)}  # of a parameter: channels, heads, dimensions


class OneParameter(nn.Module):
    """q, k and v in one parameter with an axis for each thing."""

    def __init__(self, axes, place=0, biased=False, **wrong):
        super().__init__()
        shape = list(AXES[axes])
        shape.insert(place, 3)
        self.letters, self.wrong = axes[:place] + "z" + axes[place:], wrong
        self.w_qkv, self.w_out = nn.Parameter(torch.randn(shape) / 4), nn.Parameter(torch.randn(5, 4, 20) / 4)
        self.b_qkv = nn.Parameter(torch.randn(3, 5, 4)) if biased else None

    def forward(self, x):
        q, k, v = torch.einsum(f"btc,{self.letters}->zbhtd", x, self.w_qkv)
        if self.b_qkv is not None:
            q, k, v = (y + b[:, None] for y, b in zip((q, k, v), self.b_qkv, strict=True))
        return torch.einsum("bhtd,hdc->btc", mixed(q, k, v, **self.wrong), self.w_out)


class Across(nn.Module):
    """Queries of one width, keys and values of another; parameters with an axis of heads."""

    def __init__(self, after=False, out="hdc"):
        super().__init__()
        self.after, self.out = after, out
        self.wq = nn.Parameter(torch.randn(19, 3, 8) / 4)
        self.wk, self.wv = (nn.Parameter(torch.randn(13, 3, 8) / 4) for _ in range(2))
        self.wo = nn.Parameter(torch.randn({"hdc": (3, 8, 19), "chd": (19, 3, 8)}[out]) / 4)

    def forward(self, x, context, mask=None):
        pairs = ((x, self.wq), (context, self.wk), (context, self.wv))
        q, k, v = (torch.einsum("btc,chd->bhtd", y, w) for y, w in pairs)
        scores = q @ k.mT / 8**0.5
        if mask is not None and not self.after:
            scores = scores.masked_fill(mask[:, None, None] == 0, -1e9)
        weights = scores.softmax(-1)
        weights = weights * mask[:, None, None] if mask is not None and self.after else weights
        return torch.einsum(f"bhtd,{self.out}->btc", weights @ v, self.wo)


class Unequal(nn.Module):
    """One projection for six query heads and two key/value heads, by blocks or by groups."""

    def __init__(self, by_group=False, tile=False, scale=None):
        super().__init__()
        self.num_heads, self.num_kv, self.by_group, self.tile, self.scale = 6, 2, by_group, tile, scale
        self.query_key_value, self.dense = nn.Linear(30, 50), nn.Linear(30, 30)

    def forward(self, x):
        batch, length, _ = x.shape
        fused = self.query_key_value(x)
        if self.by_group:
            q, k, v = fused.view(batch, length, 2, 5, 5).split([3, 1, 1], dim=3)
        else:
            q, k, v = fused.split([30, 10, 10], dim=-1)
        q, k, v = (y.reshape(batch, length, -1, 5).transpose(1, 2) for y in (q, k, v))
        k, v = (torch.cat([y] * 3, 1) if self.tile else y.repeat_interleave(3, 1) for y in (k, v))
        return self.dense(mixed(q, k, v, scale=self.scale, causal=True).transpose(1, 2).flatten(2))


class SharedKey(nn.Module):
    """One key/value head for all queries, in one projection with them."""

    def __init__(self, scale=None):
        super().__init__()
        self.n_head, self.width, self.scale = 7, 28, scale
        self.c_attn, self.c_proj = nn.Linear(28, 28 + 8), nn.Linear(28, 28)

    def forward(self, x):
        q, k, v = self.c_attn(x).split([28, 4, 4], -1)
        q = q.unflatten(-1, (7, 4)).transpose(1, 2)
        return self.c_proj(mixed(q, k[:, None], v[:, None], scale=self.scale).transpose(1, 2).flatten(2))


class OddNames(nn.Module):
    """Names that say nothing, in whichever order; an output projection inside a Sequential."""

    def __init__(self, order="qkv", merge=True, dim=-1):
        super().__init__()
        self.h, self.order, self.merge, self.dim = 4, order, merge, dim
        self.alpha, self.beta, self.gamma = (nn.Linear(24, 24) for _ in range(3))
        self.leave = nn.Sequential(nn.Linear(24, 24), nn.Dropout(0.1))

    def forward(self, x):
        made = [part(x).unflatten(-1, (4, 6)).transpose(1, 2) for part in (self.alpha, self.beta, self.gamma)]
        z = mixed(*(made[self.order.index(r)] for r in "qkv"), dim=self.dim)
        return self.leave(z.transpose(1, 2).flatten(2) if self.merge else z.reshape(z.shape[0], z.shape[2], -1))


class TwoAndOne(nn.Module):
    """Queries and keys in one projection, values in another, and an output projection with a name of its own."""

    def __init__(self, split=True):
        super().__init__()
        self.heads, self.split = 3, split
        self.to_qk, self.to_v, self.finish = nn.Linear(24, 48), nn.Linear(24, 24), nn.Linear(24, 24)

    def forward(self, x):
        cut = lambda y: y.unflatten(-1, (3, 8)).transpose(1, 2) if self.split else y.reshape(len(y), 3, y.shape[1], 8)  # noqa: E731
        return self.finish(mixed(*map(cut, (*self.to_qk(x).chunk(2, -1), self.to_v(x)))).transpose(1, 2).flatten(2))


READ = {
    **{f"one parameter, {axes}, {place}": (OneParameter(axes, place), ()) for axes in AXES for place in (0, 1, 2)},
    "one parameter with biases": (OneParameter("chd", biased=True), ()),
    "one parameter, unscaled": (OneParameter("hdc", scale=1.0), (2,)),
    "one parameter, over queries": (OneParameter("chd", 1, dim=-2), (1,)),
    "across": (Across(), ()),
    "across, output (out, heads, size)": (Across(out="chd"), ()),
    "across, mask after the softmax": (Across(after=True), (4,)),
    "unequal blocks": (Unequal(), ()),
    "unequal blocks, tiled": (Unequal(tile=True), (16,)),
    "by groups": (Unequal(by_group=True), ()),
    "by groups, tiled and unscaled": (Unequal(by_group=True, tile=True, scale=1.0), (2, 16)),
    "one key head": (SharedKey(), ()),
    "one key head, scale of the width": (SharedKey(28**-0.5), (3,)),
    "odd names": (OddNames(), ()),
    "odd names, values first": (OddNames("vkq"), ()),
    "odd names, over queries": (OddNames(dim=-2), (1,)),
    "odd names, merged by view": (OddNames(merge=False), (14,)),
    "two and one": (TwoAndOne(), ()),
    "two and one, split by view": (TwoAndOne(split=False), (13,)),
}


@pytest.mark.parametrize("name", READ)
def test_projections_are_read_in_every_shape(name):
    torch.manual_seed(3)
    suspect, rows = READ[name]
    diagnosis = attnscope.check(suspect)
    assert tuple(sorted(diagnosis.rows)) == rows, repr(diagnosis)
    assert len(diagnosis.findings) == len(rows)
    assert not [line for line in diagnosis.not_examined if "comparison" in line]


def test_a_reading_holds_the_weights_themselves():
    module = Unequal()
    weight = module.query_key_value.weight.detach()
    read: dict = {}
    for p in candidates(
        module
    ):  # the first reading of each layout: those of an output that is projected twice come later
        if (p.heads, p.kv_heads) == (6, 2):
            read.setdefault(p.layout, p)
    blocks, groups = read["q|k|v blocks"], read["per group (its queries, then its key and value)"]
    assert torch.equal(blocks.key.weight.T, weight[30:40])
    assert torch.equal(groups.query.weight.T, torch.cat([weight[:15], weight[25:40]]))
    assert torch.equal(groups.value.weight.T, torch.cat([weight[20:25], weight[45:50]]))
    assert torch.equal(blocks.out.weight.T, module.dense.weight)


def test_a_module_that_returns_what_it_was_given_has_no_wrong_shape():
    class Elsewhere(nn.Module):
        """Its projections are not told: q_proj is of another step."""

        def __init__(self):
            super().__init__()
            self.heads, self.q_proj, self.k_proj, self.v_proj = 2, *(nn.Linear(12, 6) for _ in range(3))
            self.up = nn.Parameter(torch.randn(12, 6))

        def forward(self, x):
            return mixed(self.q_proj(x), self.k_proj(x), self.v_proj(x)) @ self.up.T * torch.sigmoid(x)

    diagnosis = attnscope.check(Elsewhere())
    assert "wrong-shape" not in [f.name for f in diagnosis.findings]
    assert diagnosis.not_examined


# --- functions: grouped heads, sinks, masks ------------------------------------------------------------------------------


def tiled_by_repeat(query, key, value):
    n = query.shape[1] // key.shape[1]
    return mixed(query, key.repeat(1, n, 1, 1), value.repeat(1, n, 1, 1))


def tiled_values_only(q, k, v):
    n = q.shape[1] // k.shape[1]
    return mixed(q, k.repeat_interleave(n, 1), torch.cat([v] * n, 1))


def tiled_unscaled(q, k, v):
    n = q.shape[1] // k.shape[1]
    return mixed(q, torch.cat([k] * n, 1), torch.cat([v] * n, 1), scale=1.0)


def grouped_view(q, k, v):
    """(batch, heads, length, size)"""
    b, h, t, d = q.shape
    return mixed(q.view(b, k.shape[1], -1, t, d), k[:, :, None], v[:, :, None]).reshape(b, h, t, -1)


@pytest.mark.parametrize(
    ("suspect", "rows"),
    [(tiled_by_repeat, (16,)), (tiled_values_only, (16,)), (tiled_unscaled, (2, 16)), (grouped_view, ())],
)
def test_grouped_heads_of_a_function_are_told(suspect, rows):
    diagnosis = attnscope.check(suspect)
    assert tuple(sorted(diagnosis.rows)) == rows, repr(diagnosis)
    assert len(diagnosis.findings) == len(rows)


@pytest.mark.parametrize(("scaled", "found"), [(True, []), (False, ["scale-missing"])])
def test_sinks_that_must_be_passed_are(scaled, found):
    def with_sinks(q, k, v, sinks):
        scores = q @ k.mT / (math.sqrt(q.shape[-1]) if scaled else 1)
        column = sinks.view(1, -1, 1, 1).expand(len(q), q.shape[1], q.shape[2], 1)
        return torch.cat([scores, column], -1).softmax(-1)[..., :-1] @ v

    diagnosis = attnscope.check(with_sinks)
    assert [one.name for one in diagnosis.findings] == found
    assert diagnosis.compared


@pytest.mark.parametrize("heads", [1, 2, 4, 7])
def test_sinks_say_how_many_heads_there_are(heads):
    sinks = torch.linspace(-1, 2, heads)

    def with_sinks(q, k, v):
        """(batch, heads, length, size)"""
        scores = q @ k.mT / q.shape[-1] ** 0.5
        column = sinks.view(1, -1, 1, 1).expand(len(q), q.shape[1], q.shape[2], 1)
        return torch.cat([scores, column], -1).softmax(-1)[..., :-1] @ v

    diagnosis = attnscope.check(with_sinks, sinks=sinks)
    assert diagnosis, repr(diagnosis)
    assert diagnosis.conventions["layout"] == "(batch, heads, length, size)"


def half_minus(q, k, v, mask=None):
    q, k, v = q.half(), k.half(), v.half()
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + (1 - mask.half()) * torch.full_like(scores, -3e38)
    return (scores.softmax(-1) @ v).float()


def half_must(q, k, v, mask):
    return half_minus(q, k, v, mask)


def half_fills(q, k, v, mask):
    scores = (q.half() @ k.half().mT / q.shape[-1] ** 0.5).masked_fill(mask == 0, -1e9)
    return (scores.softmax(-1) @ v.half()).float()


def infinite(q, k, v, mask=None):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return (scores if mask is None else scores + (1 - mask.float()) * -math.inf).softmax(-1) @ v


def infinite_must(q, k, v, mask):
    return infinite(q, k, v, mask)


@pytest.mark.parametrize(
    ("suspect", "row", "name"),
    [
        (half_minus, 8, "sentinel-beyond-half"),
        (half_must, 8, "sentinel-beyond-half"),
        (half_fills, 8, "sentinel-beyond-half"),
        (infinite, 7, "kept-nan"),
        (infinite_must, 7, "kept-nan"),
    ],
)
def test_a_mask_that_spoils_what_it_keeps_is_always_a_finding(suspect, row, name):
    (found,) = attnscope.check(suspect).findings
    assert (found.row, found.name) == (row, name)


def test_what_is_nowhere_a_number_is_a_finding():
    (found,) = attnscope.check(lambda q, k, v: (q @ k.mT / 0.0 - math.inf).softmax(-1) @ v).findings
    assert found.name == "not-finite"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# mask: (batch, words), 1 for a word and 0 for padding", "keep"),
        ("# mask: 0 for padding", "keep"),
        ("# mask: pads are 0", "keep"),
        ("# mask holds 1 to keep a pair, 0 to leave it out", "keep"),
        ("# mask: padding is True", "drop"),
        ("# mask: True where the token is filler, False for words", "drop"),
        ("# mask: real tokens are 1", "keep"),
        ("# valid: 0 for blanks", "keep"),
        ("# mask is added: 0 where a pair may meet, -inf where it may not", None),
        ("# mask: (1, 1, T, T)", None),
        ("# mask: 1 for padding, 1 for words", None),
        ("# weights: 0 for padding", None),
    ],
)
def test_what_words_say_of_a_mask(text, told):
    assert stated_polarity(text, ("valid",)) == told


def added(q, k, v, valid=None):
    """q, k, v: (batch, length, size); valid: (batch, length), pads are 0"""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return (scores if valid is None else scores + valid[:, None]).softmax(-1) @ v


def inverted(q, k, v, pad=None):
    """(batch, length, size). pad: True where the token is filler"""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return (scores if pad is None else scores.masked_fill(~pad[:, None], -1e9)).softmax(-1) @ v


def test_code_that_does_not_do_what_it_says():
    assert attnscope.check(added).rows == (10,)
    assert attnscope.check(inverted).rows == (9,)


def test_padding_over_queries_is_measured_against_keys():
    def rows_masked(query, key, value, attention_mask=None):
        """(batch, length, size)"""
        scores = query @ key.mT / query.shape[-1] ** 0.5
        if attention_mask is not None:
            scores = scores.masked_fill(attention_mask[:, :, None] == 0, -1e9)
        return scores.softmax(-1) @ value

    diagnosis = attnscope.check(rows_masked)
    (found,) = diagnosis.findings
    assert found.name == "padding-masks-queries"
    assert float(found.evidence.split("by up to ")[1].split()[0]) > 0.1
    assert diagnosis.matrices.cell is not None
    assert float((diagnosis.matrices.reference[:, -1]).max()) == 0.0  # the reference masks the last key of text 0


@pytest.mark.parametrize("factor", [1.002, 1.2])
def test_two_scales_that_differ_are_written_differently(factor):
    (found,) = attnscope.check(lambda q, k, v: mixed(q, k, v, scale=factor * q.shape[-1] ** -0.5)).findings
    used, expected = found.title.removeprefix("scores are multiplied by ").split("; ")
    assert used != expected.split()[0]


def test_like_is_given_the_mask_it_must_have():
    def must(q, k, v, mask):
        """(batch, length, size)"""
        return (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~mask, -1e9).softmax(-1) @ v

    assert attnscope.check(mixed, like=must).conventions["like"] == "the same output"
    wrong = attnscope.check(functools.partial(mixed, scale=0.5), scaling=0.5, like=must)
    assert [f.name for f in wrong.findings] == ["unlike"]


# --- where the source is -------------------------------------------------------------------------------------------------


class Base(nn.Module):
    """mask: True = drop"""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(10, 10) for _ in range(3))

    def forward(self, x):
        scores = self.q(x) @ self.k(x).mT / 10**0.5
        weights = scores.softmax(1)
        return weights @ self.v(x)


class Derived(Base):
    pass


def test_a_forward_that_is_inherited_is_read():
    assert own_parts(Derived()) == [Derived, Base]
    assert "True = drop" in source_of(Derived())
    assert own_parts(functools.partial(mixed, dim=1)) == [mixed]
    assert attnscope.check(functools.partial(mixed, dim=1)).findings[0].line == mixed.__code__.co_firstlineno + 4
    (found,) = attnscope.check(Derived()).findings
    assert found.line == Base.forward.__code__.co_firstlineno + 2


def test_a_line_of_a_notebooks_class_is_told(monkeypatch):
    source = textwrap.dedent(
        """
        class Wrong(nn.Module):
            def __init__(self):
                super().__init__()
                self.q, self.k, self.v = (nn.Linear(10, 10) for _ in range(3))

            def forward(self, x):
                scores = self.q(x) @ self.k(x).mT / 10 ** 0.5
                return scores.softmax(1) @ self.v(x)

        class Raises(Wrong):
            def forward(self, x):
                return x.nothing
        """
    )
    linecache.cache["<cell 2>"] = (len(source), None, source.splitlines(True), "<cell 2>")
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    cell = {"nn": nn, "__name__": "__main__"}
    exec(compile(source, "<cell 2>", "exec"), cell)
    (found,) = attnscope.check(cell["Wrong"]()).findings
    assert found.row == 1
    assert source.splitlines()[found.line - 1].strip() == "return scores.softmax(1) @ self.v(x)"
    (raised,) = attnscope.check(cell["Raises"]()).findings
    assert source.splitlines()[raised.line - 1].strip() == "return x.nothing"
