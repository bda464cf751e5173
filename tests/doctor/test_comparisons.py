"""The doctor with something to compare: a key/value cache, the model that uses the attention; and code that takes its time."""

import json
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attnscope
from attnscope.attention import KeyValueCache, MultiHeadAttention


class Cached(nn.Module):
    """A decoder's attention that returns its keys and values for the next call."""

    def __init__(self, width=24, heads=4, lower=True, drops=False):
        super().__init__()
        self.heads, self.lower, self.drops = heads, lower, drops
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, past_key_value=None, use_cache=False):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        if past_key_value is not None:
            first = slice(1, None) if self.drops else slice(None)
            k, v = torch.cat([past_key_value[0][:, :, first], k], 2), torch.cat([past_key_value[1][:, :, first], v], 2)
        allowed = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(
            k.shape[2] - q.shape[2] if self.lower else 0
        )
        y = self.o(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2))
        return (y, (k, v)) if use_cache else y


def test_a_modules_own_cache():
    sound = attnscope.check(Cached(), cached=True)
    assert sound
    assert sound.conventions["cached"] == "the same as uncached"
    (found,) = attnscope.check(Cached(lower=False), cached=True).findings
    assert (found.row, found.name) == (18, "causal-upper-left")
    (found,) = attnscope.check(Cached(drops=True), cached=True).findings
    assert (found.row, found.name) == (18, "cached-differs")
    assert "standard deviations" in found.evidence


def test_a_cache_that_is_made_outside():
    module = MultiHeadAttention(24, 4, causal=True, rotary_theta=1e4)
    assert attnscope.check(module, cached=KeyValueCache).conventions["cached"] == "the same as uncached"
    said = attnscope.check(module, cached=True).not_examined
    assert any("makes an empty cache" in line for line in said)


def test_a_module_without_a_cache_says_so():
    module = nn.MultiheadAttention(24, 4, batch_first=True)
    diagnosis = attnscope.check(module, cached=True)
    assert diagnosis
    assert any("row 18" in line for line in diagnosis.not_examined)


class Model(nn.Module):
    """A small encoder of ids, with positions and masks right or wrong."""

    def __init__(self, counted=True, tiled=False):
        super().__init__()
        self.words, self.places, self.attention = nn.Embedding(60, 24), nn.Embedding(30, 24), Cached()
        self.counted, self.tiled = counted, tiled

    def forward(self, ids, attention_mask=None, position_ids=None):
        (batch, length), a = ids.shape, self.attention
        mask = attention_mask.bool()
        if position_ids is None:
            position_ids = (mask.long().cumsum(-1) - 1).clamp(min=0) if self.counted else torch.arange(length)[None]
        x = self.words(ids) + self.places(position_ids)
        q, k, v = (f(x).unflatten(-1, (a.heads, -1)).transpose(1, 2) for f in (a.q, a.k, a.v))
        allowed = mask[:, None, None, :].expand(-1, a.heads, length, -1)
        if self.tiled:
            allowed = mask[:, None, :].expand(-1, length, -1).repeat(a.heads, 1, 1).view(batch, a.heads, length, length)
        return x + a.o(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2))


@pytest.mark.parametrize(("options", "rows"), [({}, ()), ({"counted": False}, (20,)), ({"tiled": True}, (23,))])
def test_the_model_that_uses_it(options, rows):
    model = Model(**options)
    diagnosis = attnscope.check(model.attention, model=model)
    assert diagnosis.rows == rows, repr(diagnosis)
    assert not [line for line in diagnosis.not_examined if "model=" in line]
    if rows == (20,):
        assert "position_ids=" in diagnosis.findings[0].cure  # passing them was tried, and helped
    if rows == ():
        assert diagnosis.conventions["left padding"] == "a text comes out as it does alone"


def test_a_model_of_embeddings_that_is_a_function():
    attention = Cached()

    def model(x, mask):
        q, k, v = (f(x).unflatten(-1, (4, -1)).transpose(1, 2) for f in (attention.q, attention.k, attention.v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :]).transpose(1, 2).flatten(2)

    diagnosis = attnscope.check(attention, model=model)
    assert diagnosis
    assert diagnosis.conventions["model"] == "embeddings of width 24; mask: True = keep"


def test_a_model_without_a_mask_is_not_examined():
    diagnosis = attnscope.check(Cached(), model=nn.Linear(24, 24))
    assert diagnosis
    assert any("rows 20, 23" in line and "mask" in line for line in diagnosis.not_examined)


# --- code that misbehaves ---------------------------------------------------------------------------------------------


def test_code_that_needs_a_gpu(monkeypatch):
    def on_gpu(q, k, v):
        raise RuntimeError("Found no NVIDIA driver on your system.")

    (found,) = attnscope.check(on_gpu).findings
    assert found.name == "needs-a-gpu"
    assert "x.device" in found.cure


def test_all_calls_together_have_a_limit(monkeypatch):
    monkeypatch.setattr("attnscope.doctor.code_check.run.sandbox.TOTAL", 0.2)

    def slow(q, k, v):
        time.sleep(0.15)
        return F.scaled_dot_product_attention(q, k, v)

    (found,) = attnscope.check(slow).findings
    assert found.name == "too-slow"
    assert "together" in found.title


def test_dice_behind_a_fixed_seed_are_found():
    def hidden(q, k, v):
        torch.manual_seed(0)
        return F.scaled_dot_product_attention(q, k, v) + 0.1 * torch.randn(q.shape)

    seed = torch.manual_seed
    (found,) = attnscope.check(hidden).findings
    assert found.name == "dropout-in-eval"
    assert torch.manual_seed is seed


def test_a_query_of_its_own_is_compared():
    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.seed = nn.Parameter(torch.randn(1, 1, 20))
            self.q, self.k, self.v = (nn.Linear(20, 20) for _ in range(3))

        def forward(self, x):
            return F.scaled_dot_product_attention(self.q(self.seed).expand(len(x), -1, -1), self.k(x), self.v(x))

    diagnosis = attnscope.check(Pool())
    assert diagnosis.findings == ()
    assert diagnosis.compared


# --- how it is shown ------------------------------------------------------------------------------------------------


def over_queries(q, k, v):
    """<b>not markup</b>"""
    scores = q @ k.mT / q.shape[-1] ** 0.5  # <script>alert(1)</script>
    weights = scores.softmax(1)
    return weights @ v


def test_a_notebook_shows_the_suspect_line_as_text():
    drawn = attnscope.check(over_queries)._repr_html_()
    marked = drawn.split("<mark")[1].split("</mark>")[0]
    assert "scores.softmax(1)" in marked
    assert "&lt;script&gt;" in drawn
    assert "<script" not in drawn
    assert "<b>not" not in drawn
    assert "color:#000" not in drawn  # what is drawn takes the page's own colour


@pytest.mark.parametrize("hint", [1, 2])
def test_hints_withhold_from_every_face(hint):
    diagnosis = attnscope.check(over_queries, hint=hint)
    data = json.loads(diagnosis.to_json())
    assert not diagnosis  # the exit code is the same
    assert data["passed"] is False
    assert data["conventions"] == {}
    assert data["notes"] == []
    assert "matrices" not in data
    assert set(data["findings"][0]) == ({"invariant"} if hint == 1 else {"invariant", "place"})
    for text in (repr(diagnosis), diagnosis.to_json(), diagnosis._repr_html_(), "\n".join(diagnosis.lines())):
        assert "softmax(" not in text
        assert "over queries" not in text
        assert "<mark" not in text
    for side in (diagnosis.theirs, diagnosis.reference):
        with pytest.raises(attnscope.NotCaptured):
            side()


def test_an_assertion_prints_the_diagnosis():
    with pytest.raises(AssertionError, match="softmax runs over queries"):
        assert attnscope.check(over_queries)


def test_both_sides_of_what_fits_no_recipe():
    diagnosis = attnscope.check(lambda q, k, v: torch.sigmoid(q @ k.mT / q.shape[-1] ** 0.5) @ v)
    expected = diagnosis.matrices.all_theirs
    assert torch.allclose(diagnosis.theirs().sites[0].weights(), expected, atol=1e-6)
    assert diagnosis.reference().sites[0].weights().sum(-1).sub(1).abs().max() < 1e-5
