"""What load_trace reads, and what it refuses before it takes time or memory for it."""

import io
import json
import os
import stat
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch

import attnscope
from attnscope import InputError, PayloadError, Trace
from attnscope.errors import UnreadableFile
from attnscope.payload import codec, reading
from attnscope.payload.codec import decode, encode, load_trace
from mutants import joined, parts

posix = pytest.mark.skipif(os.name != "posix", reason="files of POSIX")


@pytest.fixture(scope="module")
def whole() -> bytes:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 7, 5, generator=generator) for _ in range(3))
    trace = Trace.from_qkv(q, k, v, is_causal=True)
    return encode(trace)


def test_a_file_is_read(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(whole)
    assert torch.equal(load_trace(path).sites[0].q, decode(whole).sites[0].q)
    assert len(load_trace(str(path)).tokens) == 7


@pytest.mark.parametrize("path", [None, 3, b"t.safetensors", ["t"], io.BytesIO(), True])
def test_paths_of_a_wrong_type(path: Any) -> None:
    for call in (load_trace, attnscope.load_trace):
        with pytest.raises(InputError, match="expected a path as a string or a Path, got"):
            call(path)


@pytest.mark.parametrize("path", ["a\0b", "\ud800.safetensors", "~nobody-has-this-name/t.safetensors"])
def test_names_that_no_file_has(path: str) -> None:
    with pytest.raises((InputError, UnreadableFile)):
        load_trace(path)


@posix
@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "link to a device"])
def test_what_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("/dev/zero")
    with pytest.raises(UnreadableFile, match=r"it is a (FIFO|device|folder) and not a file"):
        load_trace(path)


@posix
def test_a_file_of_holes_is_refused_unread(whole: bytes, tmp_path: Path) -> None:
    """20 GB that take no place on the disk: once of zeros, once behind the header of a trace."""
    zeros, longer = tmp_path / "zeros", tmp_path / "longer"
    longer.write_bytes(whole)
    zeros.touch()
    for path in (zeros, longer):
        os.truncate(path, 20_000_000_000)
        tracemalloc.start()
        with pytest.raises(PayloadError, match=r"not a whole \.safetensors file"):
            load_trace(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
        tracemalloc.stop()


@posix
def test_a_trace_larger_than_memory(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A description that fits 20 GB of numbers, none of which are on the disk: it is mapped; read whole, it would not fit."""
    header, meta, _ = parts(whole)
    wide = 20_000_000_000 // (3 * 3 * 7 * 4)
    at = 0
    for name in list(header):
        if name not in ("s0.q", "s0.k", "s0.v"):
            del header[name]
            continue
        header[name] = {"dtype": "F32", "shape": [3, 7, wide], "data_offsets": [at, at := at + 3 * 7 * wide * 4]}
    meta["sites"][0] |= {"head_size": wide, "value_size": wide}
    path = tmp_path / "t.safetensors"
    path.write_bytes(joined(header, meta, b""))
    os.truncate(path, path.stat().st_size + at)
    monkeypatch.setattr(reading, "available", lambda: 8_000_000_000)
    assert load_trace(path).sites[0].q.shape == (3, 7, wide)
    monkeypatch.setattr(codec, "MAPPED", 1 << 60)
    with pytest.raises(PayloadError, match=r"takes 40\.0 GB of memory, and this machine has less \(8\.0 GB are free\)"):
        load_trace(path)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux")
def test_free_memory_is_known() -> None:
    room = reading.available()
    assert room is not None
    assert 10_000_000 < room < 1 << 50


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a":' * 100_000])
def test_nesting_without_end(deep: str, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    outer = deep.encode()
    path.write_bytes(struct.pack("<Q", len(outer)) + outer)
    with pytest.raises(PayloadError, match=r"not a whole \.safetensors file"):
        load_trace(path)
    inner = json.dumps({"__metadata__": {"attnscope": deep}}).encode()
    path.write_bytes(struct.pack("<Q", len(inner)) + inner)
    with pytest.raises(PayloadError, match="not the description of a trace"):
        load_trace(path)


NUMBERS = [("heads", 10**9), ("kv_heads", 10**9), ("queries", 2**40), ("keys", 8), ("head_size", 4), ("value_size", 0)]


@pytest.mark.parametrize(("name", "value"), [*NUMBERS, ("layer", 10**9), ("heads", 3.0), ("heads", True), ("call", -1)])
def test_numbers_that_do_not_fit_are_refused_before_anything_is_made(name: str, value: Any, whole: bytes) -> None:
    header, meta, body = parts(whole)
    meta["sites"][0][name] = value
    tracemalloc.start()
    with pytest.raises(PayloadError, match="does not fit"):
        decode(joined(header, meta, body))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["tokens"][0]["text"].pop(), "ids|text|word|tokens|list of"),
        (lambda m: m["tokens"][0]["words"].__setitem__(0, 10**9), "token table 0, words is 1000000000"),
        (lambda m: m["tokens"][0]["text"].__setitem__(0, "\ud800"), "half of a character"),
        (lambda m: m["model"].__setitem__("name", ["x"]), "model name is a list of 1, and should be text"),
        (lambda m: m["sites"][0].__setitem__("scaling", "much"), "scaling is 'much', and should be a number"),
        (lambda m: m["sites"][0].__setitem__("softcap", 0), "softcap is 0, and should be above 0"),
        (lambda m: m["sites"][0]["mask"].__setitem__("upper", 2**63), "mask upper"),
        (
            lambda m: m["sites"][0].__setitem__("sinks", "s0.q"),
            r"tensor s0\.q is F32 \[3, 7, 5\], and should be F32 \[3\]",
        ),
        (lambda m: m["sites"][0]["held"].__setitem__("heads", [0, 0, 1]), "held heads are not in order"),
        (lambda m: m["sites"][0].__setitem__("index", 1), "site 0 has the index 1"),
        (lambda m: m.__setitem__("source", {"text": [[[[[[[[[]]]]]]]]]}), "source is nested too deep"),
    ],
)
def test_a_description_that_does_not_fit_says_where(change: Any, said: str, whole: bytes) -> None:
    header, meta, body = parts(whole)
    change(meta)
    with pytest.raises(PayloadError, match=said):
        decode(joined(header, meta, body))


def test_tensors_without_numbers_are_refused(whole: bytes) -> None:
    """A shape with a 0 in it costs no bytes, and its other axes could say anything."""
    header, meta, body = parts(whole)
    empty = len(body)
    for name in ("s0.q", "s0.k", "s0.v", "s0.norms"):
        start, stop = header[name]["data_offsets"]
        assert stop <= empty
        assert start < stop
    kept = {"s0.q": {"dtype": "F32", "shape": [3, 10**12, 0], "data_offsets": [0, 0]}}
    kept |= {name: {"dtype": "F32", "shape": [3, 7, 0], "data_offsets": [0, 0]} for name in ("s0.k", "s0.v")}
    meta["sites"][0] |= {"head_size": 0, "value_size": 0, "queries": 10**12}
    with pytest.raises(PayloadError, match="head_size is 0"):
        decode(joined(kept, meta, b""))
    for name in ("head_size", "value_size", "queries"):
        del meta["sites"][0][name]
    with pytest.raises(PayloadError, match=r"tensor s0\.q is F32 \[3, 1000000000000, 0\]"):
        decode(joined(kept, meta, b""))


def test_numbers_that_are_not_finite_come_back(whole: bytes) -> None:
    header, meta, body = parts(whole)
    meta["sites"][0]["scaling"] = "inf"
    assert decode(joined(header, meta, body)).sites[0].scaling == float("inf")


@posix
def test_a_file_that_is_read_is_not_written(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(whole)
    path.chmod(0o400)
    load_trace(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
