"""Damaged payloads, and everything that is done with a trace once it is loaded. `make fuzz` and tests/payload use them.

The same seed gives the same bytes.
"""

import contextlib
import copy
import io
import json
import random
import struct
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.console import Console

import attnscope
import made_streams
import made_traces
import tiny_models as tiny
from attnscope.errors import AttnscopeError
from attnscope.payload.codec import decode, encode
from attnscope.payload.held import Held
from attnscope.render.page.html import page, plain_table
from attnscope.render.terminal import draw
from attnscope.tracing.trace import Trace

HOSTILE = (None, True, False, -1, 0, 1, 2, 3, 7, 0.5, -0.0, 10**9, 2**31, -(2**63), 2**63, 10**400, 1e308, float("nan"))
HOSTILE += (float("inf"), "nan", "-inf", "", "x", "\ud800", "\x1b[2J", "s0.q", "s0.k", "m0", "zero", "cross", "decoder")
HOSTILE += ([], {}, [[]], [None], [0] * 999, {"a": {"b": []}}, "9" * 5000, "encoder", "F64", "BF16", "float16")
LEVELS = ("model", "head", "matrix", "neuron", "steps")


def seeds() -> list[bytes]:
    """Small payloads that hold between them everything that a payload can hold."""

    def traced(name: str, dtype: torch.dtype = torch.float32, length: int = 5, **options: Any) -> Trace:
        inputs = {key: x.to(dtype) if x.is_floating_point() else x for key, x in tiny.inputs(name, length).items()}
        return attnscope.trace(tiny.model(name, dtype=dtype), None, inputs=inputs, **options)

    pair = attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "the cat", text_pair="a dog sat")
    causal = traced("llama", torch.bfloat16, keep={"x", "pre_rotary", "projections"})
    model, batch = tiny.model("mistral", "sdpa"), tiny.padded_batch("left")
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(**batch)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, n, 5, generator=generator) for n in (4, 6, 6))
    cells = torch.rand(3, 4, 6, generator=generator)
    own = Trace.from_qkv(q, k, v, mask=torch.where(cells < 0.5, cells, -torch.inf))
    sinks = replace(own.sites[0], sinks=torch.tensor([0.5, -1.0, 2.0]), softcap=7.0, note="a note")
    weights = Trace.from_attentions(torch.softmax(cells[:, :, :4], -1), ["a", "##b", "[SEP]", "é"])
    return [
        encode(pair),
        encode(causal, projections=True),
        encode(recorder.trace(index=1)),
        encode(own.replace_sites([sinks])),
        encode(weights),
        encode(traced("t5"), projections=True),
        encode(causal, {1: Held(dtype=torch.float16)}, thumbs=True),
        encode(made_traces.pictured(), thumbs=True),
        encode(made_traces.sounding()),
        encode(made_traces.filmed()),
        encode(traced("bert"), projections=True),
        encode(made_streams.streamed()),
    ]


def parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The header, the description in it, and the bytes of the tensors."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    meta = json.loads(header.pop("__metadata__")["attnscope"])
    return header, meta, data[8 + size :]


def joined(header: dict[str, Any], meta: Any, body: bytes) -> bytes:
    text = meta if isinstance(meta, str) else json.dumps(meta)
    whole = json.dumps({"__metadata__": {"attnscope": text}, **header}).encode()
    whole += b" " * (-len(whole) % 8)
    return struct.pack("<Q", len(whole)) + whole + body


def mutant(data: bytes, chance: random.Random) -> bytes:
    """The payload with one to three things changed."""
    kind = chance.choices(("meta", "tensors", "numbers", "bytes", "deep"), (10, 3, 2, 2, 0.3))[0]
    if kind == "bytes":
        return _other_bytes(bytearray(data), chance)
    header, meta, body = parts(data)
    if kind == "deep":
        depth = chance.choice((30, 900, 100_000))
        nest = chance.choice(("[", '{"a":')) * depth
        return joined(header, chance.choice((nest, json.dumps(meta)[:-1] + ',"source":' + nest)), body)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if kind == "meta":
            _other_value(meta, chance)
        elif kind == "tensors":
            _other_layout(header, chance)
        else:
            body = _other_numbers(header, body, chance)
    return joined(header, meta, body)


def _other_bytes(data: bytearray, chance: random.Random) -> bytes:
    match chance.randrange(4):
        case 0:
            return bytes(data[: chance.randrange(len(data))])
        case 1:
            return bytes(data) + chance.randbytes(chance.choice((1, 8, 999)))
        case 2:
            data[:8] = struct.pack("<Q", chance.choice((0, 1, 7, len(data), 2**40, 2**64 - 1)))
        case _:
            for _ in range(chance.choice((1, 2, 30))):
                data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below a value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _other_value(meta: Any, chance: random.Random) -> None:
    places = list(_places(meta))
    if not places:
        return
    # half the time one of the entries, and not one of the many items of its lists
    named = [place for place in places if isinstance(place[1], str)]
    holder, key = chance.choice(named if named and chance.random() < 0.7 else places)
    value = holder[key]
    match chance.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(value, list) and value:
            value.insert(chance.randrange(len(value) + 1), copy.deepcopy(chance.choice(value)))
        case 2 if isinstance(value, int | float) and not isinstance(value, bool):
            holder[key] = value + chance.choice((-1, 1, 2, 1e-3))
        case 3:
            other, name = chance.choice(places)
            holder[key] = copy.deepcopy(other[name]) if name in other or isinstance(other, list) else None
        case _:
            holder[key] = copy.deepcopy(chance.choice(HOSTILE))


def _other_layout(header: dict[str, Any], chance: random.Random) -> None:
    if not header:
        return
    name = chance.choice(list(header))
    entry = header[name]
    match chance.randrange(6):
        case 0:
            header.pop(name)
        case 1:
            other = chance.choice(list(header))
            header[name], header[other] = header[other], entry
        case 2 if isinstance(entry.get("shape"), list):
            chance.shuffle(entry["shape"])
        case 3 if isinstance(entry.get("shape"), list) and entry["shape"]:
            entry["shape"][chance.randrange(len(entry["shape"]))] = chance.choice(HOSTILE[:16])
        case 4:
            entry["dtype"] = chance.choice(("F16", "BF16", "I16", "U8", "F8_E4M3", "F4", "I32", "F32", "C64", 7))
        case _:
            entry[chance.choice(list(entry) or ["dtype"])] = copy.deepcopy(chance.choice(HOSTILE))


def _other_numbers(header: dict[str, Any], body: bytes, chance: random.Random) -> bytes:
    """Other values in one tensor, of its own dtype."""
    entry = header[
        chance.choice([name for name in header if "z_rows" in name] or list(header))
        if chance.random() < 0.4
        else chance.choice(list(header))
    ]
    start, stop = entry["data_offsets"]
    data = bytearray(body)
    size = {"F32": 4, "I32": 4, "F16": 2, "BF16": 2}.get(entry["dtype"], 1)
    worst = {
        4: (0x7FC00000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x80000000, 0xFFFFFFFF, 5),
        2: (0x7C00, 0x7FC0, 0xFFFF),
    }
    count = max(1, (stop - start) // size)
    for _ in range(chance.choice((1, 1, count))):
        at = start + size * chance.randrange(count)
        data[at : at + size] = chance.choice(worst.get(size, (0, 2, 255))).to_bytes(size, "little")
    return bytes(data[: len(body)])


def use(trace: Trace, chance: random.Random) -> None:
    """What people do with a trace: look, ask, save, in all hosts that need no window."""
    repr((trace, trace.sites, trace.tokens, trace.target, trace.source))
    trace.tokens._repr_html_()
    receipt = trace.verify()
    repr((str(receipt), receipt, receipt._repr_html_()))
    assert list(trace.to_numpy())
    site = chance.choice(trace.sites)
    head, row = chance.randrange(site.heads), chance.randrange(site.queries)
    for work in (
        site.norms,
        site.output,
        lambda: site.share(head, row),
        lambda: site.write(head),
        lambda: site.scores(head),
    ):
        _allowed(work)
    assert site.weights(head, row).shape == (1, site.keys)
    _allowed(lambda: repr(site.steps(head, row)))
    back = decode(encode(trace, projections=True))
    assert len(back.sites) == len(trace.sites)
    view = trace.show(chance.choice(LEVELS), stack=site.stack, layer=site.layer)
    assert view.code
    assert plain_table(view)
    view.traits()
    if chance.random() < 0.2:
        assert page(view).endswith("</html>\n")
    _allowed(lambda: draw(view, Console(file=io.StringIO(), width=90), ("head", "neuron")))
    if chance.random() < 0.1:
        _allowed(lambda: attnscope.compare(trace, trace).show().blocks)


def _allowed(work: Any) -> None:
    with contextlib.suppress(AttnscopeError):
        work()


def attempt(data: bytes, chance: random.Random) -> str:
    """Load it, and use it where it loads: "refused" or "loaded". Raises what is no AttnscopeError."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            trace = decode(data)
        except AttnscopeError:
            return "refused"
        _allowed(lambda: use(trace, chance))
    return "loaded"
