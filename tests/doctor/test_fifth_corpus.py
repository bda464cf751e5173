"""Pieces of the fifth corpus (benchmarks/doctor_corpus/fifth) that the doctor did not understand when it met them."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

import attnscope
from attnscope.doctor.code_check.report import left_unscaled
from attnscope.doctor.code_check.run.candidates import _speaks_of_length_first

FOLDER = Path(__file__).parents[2] / "benchmarks/doctor_corpus/fifth"
pytestmark = pytest.mark.source
MANIFEST = FOLDER / "manifest.json"
ENTRIES = {e["object"]: e for e in json.loads(MANIFEST.read_text())["entries"]} if MANIFEST.exists() else {}
SOUND = {  # and what the report says of them
    "MAB": "the projected queries are added",
    "ClassAttention": "its first token",
    "LastQuery": "its last token",
    "AttentionPool": "which is a key as well",
    "PrefixAttention": "3 beside those of the tokens",
    "MemoryKV": "5 beside those of the tokens",
    "MeanOverHeads": "averaged",
    "OutputTwice": "applied twice",
    "HeadScaled": "a parameter of its own",
    "T5Attention": "scale-left-out",
    "TimeFirstFairseq": "(length, batch, width)",
    "DeBERTaLike": "1/√(3 d)",
}
BROKEN = (
    "softmax_after_value np_global_softmax key_loop_off BertKeyFromQuery BertWeightsTransposed mean_normalised scale_after window_forgets_self "
    "PrefixNoScale ClassTokenModelScale RelPosWrongScale RotaryWholeWidth"
).split()


def diagnosed(name):
    entry = ENTRIES[name]
    spec = importlib.util.spec_from_file_location(f"fifth_{Path(entry['file']).stem}", FOLDER / entry["file"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    made = getattr(module, name)
    return attnscope.check(made().eval() if entry["kind"] == "module" else made)


@pytest.mark.parametrize("name", SOUND)
def test_sound_code_is_compared_and_described(name):
    found = diagnosed(name)
    assert found, found
    assert found.compared
    assert SOUND[name] in str(found)


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_is_named(name):
    found, entry = diagnosed(name), ENTRIES[name]
    assert {f.row for f in found.findings} & set(entry["rows"]) or {f.name for f in found.findings} & set(
        entry["names"]
    )


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("scores = q @ k.mT  # T5 does not scale", True),
        ('"""Unscaled dot products."""', True),
        ("self.relative_attention_bias = nn.Embedding(8, heads)", True),
        ("class T5SelfAttention(nn.Module):", True),
        ("bias = self.bias(relative_position_bucket)", True),
        ("self.bias = nn.Embedding(num_buckets, heads)", True),
        ("scores = q @ k.mT  # scaled below", False),
        ("self.position_bias = nn.Embedding(8, heads)", False),
        ("buckets = hashes.argsort()", False),
    ],
)
def test_a_missing_scale_is_meant_where_the_text_says_so(line, meant):
    assert left_unscaled(line) == meant


@pytest.mark.parametrize(
    ("text", "late"),
    [
        ("tgt_len, bsz, embed_dim = query.shape", True),
        ('"""Input: Time x Batch x Channel"""', True),
        ("T,B,C = x.shape  # (length, batch, width)", True),  # as the doctor's own advice has it
        ('"""x: (seq_len, batch_size, hidden_size)"""', True),
        ('"""Input: (length, batch, dim); a mask (batch, one, length)."""', True),
        ('"""Input: (clips, frames, joints)."""\ntgt_len, bsz, c = poses.size()', False),  # prose before names
        ('"""Input: (batch, length, width)."""', False),
    ],
)
def test_the_length_comes_first_where_names_or_prose_say_so(text, late):
    assert _speaks_of_length_first(text) == late
