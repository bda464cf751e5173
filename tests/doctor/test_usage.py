"""The doctor as it is used: files of any name, code that starts processes, declarations that cannot be meant."""

import math
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import attnscope
from attnscope import attention
from attnscope.doctor.code_check.arguments import refuse_unfit
from attnscope.doctor.code_check.run.child_process import examine_file
from attnscope.errors import InputError

SOUND = """
import random, json, math
from dataclasses import dataclass
import torch

@dataclass
class Options:
    scale: float = 0.0

def sound(q, k, v):
    assert torch.is_tensor(q) and json.dumps(random.random()) and Options().scale == 0
    return (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1) @ v
"""


def scores(q, k):
    return q @ k.mT / math.sqrt(q.size(-1))


def sound(q, k, v):
    return scores(q, k).softmax(-1) @ v


# --- a process of its own -----------------------------------------------------------------------------------------------


@pytest.mark.packaging
@pytest.mark.parametrize("name", ["torch", "attnscope", "random", "json", "my-own"])
def test_a_file_may_have_the_name_of_a_module(tmp_path, monkeypatch, name):
    for other in ("torch", "attnscope", "random", "json"):
        (tmp_path / f"{other}.py").write_text("raise SystemExit('this is the neighbour')")
    (tmp_path / f"{name}.py").write_text(SOUND)
    monkeypatch.chdir(tmp_path)
    answer = examine_file(f"{name}.py:sound", {}, limit=60)
    assert answer["code"] == 0, answer["text"]


@pytest.mark.packaging
def test_a_file_may_import_its_neighbour(tmp_path):
    (tmp_path / "helper_of_mine.py").write_text(SOUND)
    (tmp_path / "mine.py").write_text("from helper_of_mine import sound\nmine = lambda q, k, v: sound(q, k, v)\n")
    assert examine_file(f"{tmp_path / 'mine.py'}:mine", {}, limit=60)["code"] == 0


CHILDREN = """
import subprocess, sys
from pathlib import Path

def sleeper():
    child = subprocess.Popen(["sleep", "97"])
    Path(__file__).with_suffix(".pid").write_text(str(child.pid))
    return child

def waits(q, k, v):
    while True:
        try:
            sleeper().wait()
        except BaseException:
            pass

def leaves(q, k, v):
    sleeper()
    return (q @ k.mT / q.size(-1) ** 0.5).softmax(-1) @ v
"""


@pytest.mark.packaging
@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_processes_that_the_code_starts_end_with_it(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CHILDREN)
    started = time.perf_counter()
    assert "nothing found" in examine_file(f"{path}:leaves", {}, limit=120)["text"]
    gone(int(path.with_suffix(".pid").read_text()))
    limit = round(2 * (time.perf_counter() - started)) + 5  # long enough to begin, on a busy machine too
    assert f"stopped after {limit} s" in examine_file(f"{path}:waits", {}, limit=limit)["text"]
    gone(int(path.with_suffix(".pid").read_text()))


def gone(pid):
    """Waits until the process has ended."""
    for _ in range(50):  # a killed process is there until somebody has taken note of its end
        if not alive(pid):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} is still there")


def alive(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


@pytest.mark.packaging
def test_arguments_that_a_class_refuses_are_wrong_usage(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("class Nano:\n    def __init__(self, width, heads):\n        assert width % heads == 0, 'width'\n")
    command = [sys.executable, "-m", "attnscope", "check", f"{path}:Nano(24, 5)"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "AssertionError: width" in done.stderr.replace("\n", " ")


# --- what is declared ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"scaling": "x"}, "above 0"),
        ({"scaling": 0}, "above 0"),
        ({"scaling": math.nan}, "above 0"),
        ({"scaling": True}, "above 0"),
        ({"softcap": -1}, "above 0"),
        ({"softcap": math.inf}, "above 0"),
        ({"sinks": 3}, "[heads]"),
        ({"sinks": torch.ones(2, 3)}, "[heads]"),
        ({"causal": "yes"}, "True"),
        ({"like": 5}, "same weights"),
        ({"model": 5}, "mask"),
        ({"cached": "x"}, "last queries"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(declared, expected):
    (name,) = declared
    with pytest.raises(InputError, match=f"^{name} is ") as refused:
        refuse_unfit(**declared)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    "declared",
    [{"scaling": 0.0}, {"softcap": -1.0}, {"sinks": torch.ones(2, 3)}, {"like": 5}, {"model": 5}, {"cached": "x"}],
)
def test_check_refuses_what_cannot_be_meant(declared):
    with pytest.raises(InputError, match=f"^{next(iter(declared))} is "):
        attnscope.check(sound, **declared)


def test_numbers_of_any_kind_can_be_declared():
    numpy = pytest.importorskip("numpy")
    refuse_unfit(scaling=numpy.float32(1), softcap=3, sinks=torch.zeros(1), causal=False, cached=True, like=sound)
    unscaled = lambda q, k, v: (q @ k.mT).softmax(-1) @ v  # noqa: E731
    assert attnscope.check(unscaled, scaling=1.0)


def capped(cap, factor=7**-0.5):
    """For a head size that is not the probes': the factor is a number of its own."""

    def attend(q, k, v):
        return (cap * torch.tanh(q @ k.mT * factor / cap)).softmax(-1) @ v

    return attend


ROOT = 11**-0.5  # the probes' head size


@pytest.mark.parametrize(
    ("fn", "declared", "said"),
    [
        (capped(2.0, ROOT), {"softcap": 5.0}, ["soft cap found: 2, declared: 5"]),
        (capped(7.3, ROOT), {"softcap": 5.0}, ["soft cap found: 7.3, declared: 5"]),
        (sound, {"softcap": 5.0}, ["no soft cap was found, declared: 5"]),
        (capped(3.0, 0.21), {}, ["capped at about 3:", "multiplied by 0.21;"]),
        (capped(3.0, 0.21), {"scaling": 0.21, "softcap": 5.0}, ["soft cap found: 3, declared: 5"]),
        (capped(3.0, 0.21), {"softcap": 5.0}, ["soft cap found: 3, declared: 5", "multiplied by 0.21;"]),
        (capped(3.0, 0.21), {"softcap": 3.0}, ["multiplied by 0.21;"]),
        (capped(3.0, 0.21), {"scaling": 0.21, "softcap": 3.0}, []),
    ],
)
def test_another_cap_or_scale_than_declared_is_found(fn, declared, said):
    findings = attnscope.check(fn, **declared).findings
    assert len(findings) == len(said)
    assert all(words in found.title for words, found in zip(said, findings, strict=True))


# --- in the words of the code -------------------------------------------------------------------------------------------


def masked_by(change):
    def attend(q, k, v, mask=None):
        return (scores(q, k) if mask is None else change(scores(q, k), mask)).softmax(-1) @ v

    return attend


def assigned(s, mask):
    s[(mask == 0).expand(s.shape)] = 0
    return s


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda s, mask: s.masked_fill(mask == 0, 1e-9), "mask-filled-with-zero"),
        (lambda s, mask: s.masked_fill(mask == 0, 0.0), "mask-filled-with-zero"),
        (lambda s, mask: torch.where(mask == 0, torch.zeros_like(s), s), "mask-filled-with-zero"),
        (assigned, "mask-filled-with-zero"),
        (lambda s, mask: s * mask, "mask-multiplied"),
    ],
)
def test_a_mask_filled_with_zero_is_not_called_multiplied(change, name):
    assert [f.name for f in attnscope.check(masked_by(change)).findings] == [name]


def test_a_triangle_filled_with_zero_is_not_called_multiplied():
    def filled(q, k, v):
        return scores(q, k).masked_fill(torch.ones(q.size(-2), k.size(-2)).tril() == 0, 1e-9).softmax(-1) @ v

    def times(q, k, v):
        return (scores(q, k) * torch.ones(q.size(-2), k.size(-2)).tril()).softmax(-1) @ v

    assert [f.name for f in attnscope.check(filled).findings] == ["causal-filled-with-zero"]
    assert [f.name for f in attnscope.check(times).findings] == ["causal-multiplied"]


def test_arguments_by_keyword_only():
    def right(*, query, key, value, mask=None):
        return masked_by(lambda s, m: s.masked_fill(~m, -math.inf))(query, key, value, mask)

    def wrong(*, value, query, key):
        return scores(query, key).softmax(-2) @ value

    assert "True = keep" in attnscope.check(right).conventions["mask"]
    assert [f.name for f in attnscope.check(wrong).findings] == ["softmax-over-queries"]


def test_a_query_and_a_key_are_too_few():
    with pytest.raises(InputError, match=r"takes two arguments \(q, k\); \(query, key, value\) were expected"):
        attnscope.check(lambda q, k: scores(q, k).softmax(-1))


class Heads(nn.Module):
    def __init__(self, width=34, heads=2):
        super().__init__()
        self.h = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        return x.unflatten(-1, (self.h, -1)).transpose(1, 2)

    def forward(self, x):
        weights = scores(self.split(self.q(x)), self.split(self.k(x))).softmax(-1)
        return self.o((weights @ self.split(self.v(x))).transpose(1, 2).flatten(2))


class CutAfterProjection(Heads):
    def forward(self, x):
        weights = scores(self.split(self.q(x)), self.split(self.k(x))).softmax(-1)
        return (weights @ self.split(self.o(self.v(x)))).transpose(1, 2).flatten(2)


def test_values_that_are_projected_before_they_are_cut_into_heads():
    right, wrong = Heads().eval(), CutAfterProjection().eval()
    wrong.load_state_dict(right.state_dict())
    assert attnscope.check(right)
    assert [f.row for f in attnscope.check(wrong).findings] == [21]
    assert [f.row for f in attnscope.check(wrong, like=right).findings] == [21]


class FoldedHeads(Heads):
    """Heads are folded into the batch, batch first: texts 0, 0, 1, 1. The mask is (batch, query, key), 1 = look."""

    def repeated(self, mask):
        return mask.repeat_interleave(self.h, dim=0)

    def forward(self, x, mask):  # type: ignore[override]
        q, k, v = (self.split(part(x)).flatten(0, 1) for part in (self.q, self.k, self.v))
        weights = scores(q, k).masked_fill(self.repeated(mask) == 0, -1e9).softmax(-1)
        return self.o((weights @ v).unflatten(0, (-1, self.h)).transpose(1, 2).flatten(2))


class TiledMasks(FoldedHeads):
    def repeated(self, mask):
        return mask.repeat(self.h, 1, 1)


@pytest.mark.parametrize("heads", [2, 17])
def test_a_mask_for_every_pair_tiled_against_the_heads(heads):
    assert attnscope.check(FoldedHeads(34, heads).eval())
    assert [f.row for f in attnscope.check(TiledMasks(34, heads).eval()).findings] == [23]


# --- the reference's own arguments --------------------------------------------------------------------------------------


def test_a_mask_of_whole_numbers_is_refused_as_torch_does():
    q = torch.randn(2, 3, 5, 7)
    mask = torch.ones(5, 5, dtype=torch.long)
    with pytest.raises(RuntimeError, match="mask"):
        torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)
    with pytest.raises(ValueError, match=r"expected attn_mask to be boolean \(True: may look\).*got torch.int64"):
        attention.scaled_dot_product_attention(q, q, q, attn_mask=mask)


@pytest.mark.packaging
def test_a_padding_mask_of_whole_numbers_is_refused():
    """Without the annotations checked, as a user runs it."""
    code = """
import torch
from attnscope.attention import MultiHeadAttention, TransformerEncoder, TransformerEncoderLayer
x, seen = torch.randn(2, 5, 12), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
for made in (MultiHeadAttention(12, 3), TransformerEncoder([TransformerEncoderLayer(12, 3, 7)])):
    made(x, key_padding=seen.bool())
    try:
        made(x, key_padding=seen)
    except ValueError as error:
        assert "True for keys that may be seen" in str(error)
    else:
        raise AssertionError("taken")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_model_of_another_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="BERT, GPT-2 or Llama, got a Linear without a configuration"):
        attention.MultiHeadAttention.from_site(nn.Linear(2, 2), 0)
    with pytest.raises(ValueError, match="BERT, got a Linear without a configuration"):
        attention.TransformerEncoder.from_bert(nn.Linear(2, 2))
    other = nn.Linear(2, 2)
    other.config = SimpleNamespace(model_type="t5")  # type: ignore[assignment]
    with pytest.raises(ValueError, match="a model of type 't5'"):
        attention.TransformerEncoder.from_bert(other)
    with pytest.raises(ValueError, match="a model of type 't5'"):
        attention.MultiHeadAttention.from_site(other, 0)
