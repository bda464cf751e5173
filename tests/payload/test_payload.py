"""The payload: what is saved comes back bit for bit, and what is not a trace is refused."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import attnscope
import tiny_models as tiny
from attnscope import InputError, NotCaptured, OutputError, PayloadError, Trace
from attnscope.payload import codec as payload, site_requests as tiles
from attnscope.payload.codec import decode, encode, load_trace, read, trace_id
from attnscope.payload.held import Held, as_held
from attnscope.payload.site_requests import SiteRequest, answer
from attnscope.tracing.biases import BiasRule
from attnscope.tracing.receipts import Receipt
from closeness import close

FIELDS = ("q", "k", "v", "z", "z_rows", "sinks", "x", "pre_rotary_q", "pre_rotary_k")
SCALARS = (
    "scaling",
    "path",
    "call",
    "kind",
    "stack",
    "layer",
    "softcap",
    "dtype",
    "note",
    "query_offset",
    "scaled_by_model",
)


def traced(name: str, dtype: torch.dtype = torch.float32, **options: Any) -> Trace:
    inputs = {key: x.to(dtype) if x.is_floating_point() else x for key, x in tiny.inputs(name).items()}
    return attnscope.trace(tiny.model(name, dtype=dtype), None, inputs=inputs, **options)


def same(first: Any, second: Any) -> bool:
    return first is second if first is None or second is None else torch.equal(first, second)


def check_same(trace: Trace, back: Trace) -> None:
    assert len(trace.sites) == len(back.sites)
    for site, other in zip(trace.sites, back.sites, strict=True):
        for name in FIELDS:
            ours, theirs = getattr(site, name), getattr(other, name)
            if name == "z":
                ours, theirs = ours.float(), theirs.float()
            assert same(ours, theirs), name
        for name in SCALARS:
            expected = getattr(site, name) if name != "dtype" else site.dtype or site.q.dtype
            assert getattr(other, name) == expected, name
        rows = torch.arange(site.queries)
        assert torch.equal(site.mask.allowed(rows, site.keys), other.mask.allowed(rows, other.keys))
        assert site.mask.fill == other.mask.fill
        assert torch.equal(site.weights(), other.weights())
        assert site.norms()[0] == other.norms()[0]
        assert close(site.norms()[1], other.norms()[1])
    assert (trace.tokens, trace.target, trace.model, trace.notes) == (back.tokens, back.target, back.model, back.notes)
    assert trace.unrecorded == back.unrecorded
    assert str(trace.verify()) == str(back.verify())
    assert trace_id(trace) == trace_id(back)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", tiny.KINDS)
def test_save_and_load(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    trace = traced(name, dtype, keep={"x", "pre_rotary"})
    trace.save(tmp_path / "t.safetensors")
    back = load_trace(tmp_path / "t.safetensors")
    check_same(trace, back)
    with pytest.raises(NotCaptured, match="projections=True"):
        back.sites[0].write(head=0)
    with pytest.raises(NotCaptured, match="model="):
        back.verify(full=True)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_projections_are_saved_on_request(name: str, tmp_path: Path) -> None:
    trace = traced(name)
    trace.save(tmp_path / "t.safetensors", projections=True)
    back = load_trace(tmp_path / "t.safetensors")
    for site, other in zip(trace.sites, back.sites, strict=True):
        assert other.projection is not None
        assert site.projection is not None
        assert torch.equal(site.write(), other.write())
        assert same(site.projection.bias, other.projection.bias)


def test_padding_tokens_and_pairs_come_back(tmp_path: Path) -> None:
    model, batch = tiny.model("mistral", "sdpa"), tiny.padded_batch("left")
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(**batch)
    trace = recorder.trace(index=1)
    assert trace.sites[0].mask.keys is not None
    check_same(trace, decode(encode(trace)))
    pair = attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "the cat", text_pair="a dog sat")
    check_same(pair, decode(encode(pair)))


def test_arbitrary_masks_and_biases_come_back() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, n, 5, generator=generator) for n in (7, 11, 11))
    mask = torch.where(
        torch.rand(3, 7, 11, generator=generator) < 0.5, torch.randn(3, 7, 11, generator=generator), -torch.inf
    )
    trace = Trace.from_qkv(q, k, v, mask=mask)
    assert trace.sites[0].mask.packed is not None
    check_same_numbers(trace, decode(encode(trace)))


def test_a_bias_of_parts_comes_back_and_has_to_fit() -> None:
    generator = torch.Generator().manual_seed(0)
    trace = Trace.from_qkv(*(torch.randn(2, n, 5, generator=generator) for n in (6, 9, 9)))
    with_bias = lambda *size: trace.replace_sites(  # noqa: E731
        [replace(trace.sites[0], position_bias=BiasRule(blocks=torch.randn(2, *size, generator=generator)))]
    )
    biased = with_bias(3, 2, 3)
    back = decode(encode(biased))
    check_same_numbers(biased, back)
    assert back.sites[0].position_bias is not None
    assert back.sites[0].position_bias.form == "blocks"
    with pytest.raises(PayloadError, match="which are not 6 queries and 9 keys"):
        decode(encode(with_bias(2, 3, 3)))


def check_same_numbers(trace: Trace, back: Trace) -> None:
    for site, other in zip(trace.sites, back.sites, strict=True):
        assert torch.equal(site.chain().masked, other.chain().masked)
        assert torch.equal(site.weights(), other.weights())


def test_shared_masks_and_biases_are_written_once() -> None:
    trace = traced("t5")
    meta, tensors = read(encode(trace))
    assert len([name for name in tensors if name.startswith("b")]) == 2  # encoder and decoder; cross-attention has none
    assert len({entry["bias"]["tensor"] for entry in meta["sites"] if entry["stack"] == "encoder"}) == 1


def test_to_numpy() -> None:
    trace = traced("llama", torch.bfloat16)
    arrays = trace.to_numpy()
    assert arrays["s1.k"].shape == (2, 13, 10)
    assert arrays["s1.k"].dtype == np.float32
    assert np.array_equal(arrays["s1.k"], trace.sites[1].k.float().numpy())


def test_nan_and_infinity_come_back() -> None:
    q, k, v = (torch.randn(2, 5, 3) for _ in range(3))
    q[0, 1, 2], v[1, 0, 0] = torch.nan, torch.inf
    trace = Trace.from_qkv(q, k, v)
    data = encode(trace)
    json.loads(json.dumps(read(data)[0], allow_nan=False))
    assert torch.equal(decode(data).sites[0].q.isnan(), q.isnan())
    assert torch.equal(decode(data).sites[0].v.isinf(), v.isinf())


def test_numbers_of_the_description_may_be_infinite() -> None:
    trace = traced("llama")
    worst = replace(trace.verify().sites[0], max_error=float("nan"), tolerance=float("inf"))
    meta, _ = read(encode(trace, receipts=Receipt((worst, trace.verify().sites[1]))))
    assert meta["sites"][0]["receipt"]["max_error"] == "nan"
    assert meta["sites"][0]["receipt"]["tolerance"] == "inf"


# --- parts of a trace -----------------------------------------------------------------------------------------------


def test_some_sites_in_half_precision() -> None:
    trace = traced("llama")
    held = Held(dtype=torch.float16)
    receipt = as_held(trace.sites[1], held).verify()
    data = encode(trace, {1: held}, receipts=Receipt((trace.verify().sites[0], receipt)))
    meta, tensors = read(data)
    assert [entry["held"] is None for entry in meta["sites"]] == [True, False]
    assert tensors["s1.q"].dtype == torch.float16
    assert "s0.q" not in tensors
    back = decode(data)
    assert [site.layer for site in back.sites] == [1]
    assert receipt.max_error > trace.verify().sites[1].max_error
    assert back.sites[0].verify().max_error == pytest.approx(receipt.max_error), "computed from the decoded values"
    assert meta["sites"][1]["receipt"]["max_error"] == pytest.approx(receipt.max_error)


def test_some_heads_of_grouped_queries() -> None:
    trace = traced("llama")
    data = encode(trace, {0: Held(heads=(4, 1))})
    meta, tensors = read(data)
    assert meta["sites"][0]["held"]["heads"] == [1, 4]
    assert torch.equal(tensors["s0.q"], trace.sites[0].q[[1, 4]])
    assert torch.equal(tensors["s0.k"], trace.sites[0].k[[0, 1]])
    with pytest.raises(NotCaptured, match="hold 2 of 6 heads"):
        decode(data)


def test_blocks_of_one_trace_belong_together() -> None:
    trace = traced("llama")
    first, second = (read(encode(trace, {index: Held()}))[0] for index in (0, 1))
    assert first["trace"] == second["trace"]
    assert first["trace"] != read(encode(traced("mistral")))[0]["trace"]


def test_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = traced("llama")
    request = SiteRequest.from_message({"id": 7, "kind": "site", "site": 1, "head": 2})
    assert torch.equal(decode(answer(trace, request).data).sites[0].q, trace.sites[1].q)
    size = sum(x.nbytes for x in (trace.sites[1].q, trace.sites[1].k, trace.sites[1].v))
    monkeypatch.setattr(tiles, "MAX_BYTES", size - 1)
    half = decode(answer(trace, request).data).sites[0]
    assert half.q.dtype == torch.float16
    assert half.verify().status == "exact"
    monkeypatch.setattr(tiles, "MAX_BYTES", size // 2 - 1)
    meta, _ = read(answer(trace, request).data)
    assert meta["sites"][1]["held"]["heads"] == [2]


@pytest.mark.parametrize(
    "message",
    [
        None,
        "site",
        {},
        {"kind": "cancel"},
        {"kind": "site"},
        {"kind": "site", "site": "1"},
        {"kind": "site", "site": 0, "head": None},
    ],
)
def test_messages_that_are_no_request(message: Any) -> None:
    with pytest.raises(InputError):
        SiteRequest.from_message(message)


@pytest.mark.parametrize("request_", [SiteRequest(2), SiteRequest(-1), SiteRequest(0, 6), SiteRequest(0, -1)])
def test_requests_out_of_range(request_: SiteRequest) -> None:
    with pytest.raises(InputError, match="out of range"):
        answer(traced("llama"), request_)


# --- what is not a trace --------------------------------------------------------------------------------------------


def test_cut_short_at_any_byte(tmp_path: Path) -> None:
    data = encode(Trace.from_qkv(*(torch.randn(2, 5, 3) for _ in range(3))))
    assert decode(data)
    for length in [*range(0, 300, 7), *range(300, len(data), 97), len(data) - 1]:
        with pytest.raises(PayloadError):
            decode(data[:length])
    path = tmp_path / "half.safetensors"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(PayloadError, match=r"half\.safetensors.*cut short"):
        load_trace(path)


def test_damaged_descriptions() -> None:
    """Whatever is missing from the description, the error is ours."""
    data = encode(traced("t5"))
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    meta = json.loads(header["__metadata__"]["attnscope"])
    for name in [*meta, *(f"sites.{key}" for key in meta["sites"][0]), *(f"tokens.{key}" for key in meta["tokens"][0])]:
        broken = json.loads(json.dumps(meta))
        target = broken
        first, _, second = name.partition(".")
        if second:
            target, first = broken[first][0], second
        for value in ("missing", None, 7, "seven", []):
            if value == "missing":
                target.pop(first, None)
            else:
                target[first] = value
            try:
                decode(with_meta(data, json.dumps(broken)))
            except (PayloadError, NotCaptured, InputError):
                continue


def with_meta(data: bytes, meta: str) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["attnscope"] = meta
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def test_a_newer_version_says_so() -> None:
    data = encode(traced("bert"))
    meta = read(data)[0]
    with pytest.raises(PayloadError, match=r"format version 2, .*reads up to 1: install a newer attnscope"):
        read(with_meta(data, json.dumps(meta | {"version": 2})))
    for text in ("[]", "{}", "not json", json.dumps(meta | {"version": "new"}), json.dumps(meta | {"format": "other"})):
        with pytest.raises(PayloadError):
            read(with_meta(data, text))


def test_model_weights_are_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(3)}, path)
    with pytest.raises(PayloadError, match=r"holds no attnscope trace \(model weights, perhaps\?\)"):
        load_trace(path)


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"PK\x03\x04" + b"x" * 99, b"\xff" * 99, "déjà vu".encode() * 9])
def test_other_files(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(data)
    with pytest.raises(PayloadError, match=r"not a whole \.safetensors file"):
        load_trace(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(PayloadError, match=r"cannot read .*none\.safetensors"):
        load_trace(tmp_path / "none.safetensors")


# --- writing --------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write") as caught:
        traced("bert").save(tmp_path / "no" / "t.safetensors")
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize("where", ["write", "replace"])
def test_an_existing_file_stays_whole(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.safetensors"
    trace = traced("bert")
    trace.save(path)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    if where == "write":
        monkeypatch.setattr(os, "fdopen", full)
    else:
        monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        traced("llama").save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").mkdir()
    with pytest.raises(OutputError):
        traced("bert").save(tmp_path / "t.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


def test_interruption_leaves_no_crumbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        payload.save(traced("bert"), tmp_path / "t.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_an_ordinary_file_with_ordinary_permissions(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    traced("bert").save(path)
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode
