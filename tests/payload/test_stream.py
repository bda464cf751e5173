"""The StreamTable in a payload: it comes back as it was, and what does not fit is refused."""

import json
from dataclasses import fields
from typing import Any

import pytest
import safetensors.torch
import torch

from attnscope import PayloadError
from attnscope.payload.codec import decode, encode, read
from attnscope.payload.held import Held
from attnscope.tracing.stream_table import StreamTable
from made_streams import made_table, streamed
from made_traces import made_trace


def written(meta: Any, tensors: Any) -> bytes:
    return safetensors.torch.save(tensors, {"attnscope": json.dumps(meta)})


@pytest.mark.parametrize("predicts", [True, False])
def test_a_table_comes_back(predicts: bool) -> None:
    table, back = made_table(predicts), decode(encode(streamed(predicts))).stream_table
    assert back is not None
    for field in fields(StreamTable):
        ours, theirs = getattr(table, field.name), getattr(back, field.name)
        same = torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs
        assert same, field.name
    assert back.layers == 2


def test_it_stands_in_the_first_block_of_a_view_and_in_no_other() -> None:
    trace = streamed()
    assert "stream" in read(encode(trace, {0: Held()}, steps={}, thumbs=True))[0]
    assert "stream" not in read(encode(trace, {1: Held()}, steps={}))[0]


def test_a_trace_without_one_says_nothing_of_it() -> None:
    data = encode(made_trace())
    assert "stream" not in read(data)[0]
    assert decode(data).stream_table is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("positions",), [4, 1, 12]),
        (("positions",), [1, 4, 99]),
        (("positions",), []),
        (("task",), "guess"),
        (("layers",), 3),
        (("blocks", 0, "kind"), "convolution"),
        (("parts", 2, "block"), 4),
        (("parts", 2, "kind"), None),
        (("targets", 1), []),
        (("targets", 0, 0, "id"), "x"),
        (("lens_text", 0), ["a"]),
        (("receipt", "tolerance"), None),
        (("refused",), 3),
    ],
)
def test_what_does_not_fit_is_refused(place: tuple[Any, ...], value: Any) -> None:
    meta, tensors = read(encode(streamed()))
    spot = meta["stream"]
    for name in place[:-1]:
        spot = spot[name]
    spot[place[-1]] = value
    with pytest.raises(PayloadError, match="stream"):
        decode(written(meta, tensors))


@pytest.mark.parametrize("name", ["sizes", "logits", "lens_ids"])
def test_a_missing_tensor_is_refused(name: str) -> None:
    meta, tensors = read(encode(streamed()))
    del tensors[f"stream.{name}"]
    with pytest.raises(PayloadError, match=f"stream.{name}"):
        decode(written(meta, tensors))
