"""Trace <-> safetensors bytes: the one format of file, widget, page and server (docs/payload.md describes it).

`encode` writes all of a trace's description and the tensors of the sites asked for; `decode` reads it back. Masks and
biases that sites share are written once.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypedDict, Unpack

import numpy as np
import safetensors
import safetensors.torch
from torch import Tensor

from attnscope.errors import PayloadError, UnreadableFile
from attnscope.payload import step_tensors
from attnscope.payload.atomic_write import write_atomically
from attnscope.payload.badges import badges_from_json, badges_to_json
from attnscope.payload.header import FORMAT, VERSION, Header, read_header
from attnscope.payload.held import Held
from attnscope.payload.paths import as_path
from attnscope.payload.pictures import Pictures, put_picture
from attnscope.payload.pieces import in_pieces
from attnscope.payload.plain_json import plain, receipt_to_json, tokens_from_json, tokens_to_json
from attnscope.payload.reading import open_file, read_whole
from attnscope.payload.site_codec import describe_site, named_of, put_projection, put_site, site_from_json
from attnscope.payload.stream import put_stream, stream_from_json
from attnscope.payload.validate import check, check_trace
from attnscope.statistics import thumbnails
from attnscope.statistics.query_row import QueryRows, query_rows
from attnscope.statistics.sink_tokens import sink_tokens
from attnscope.tracing.places import check_flag
from attnscope.tracing.receipts import Receipt
from attnscope.tracing.silence import chosen_look
from attnscope.tracing.step_names import in_payload as step_names
from attnscope.tracing.trace import ModelInfo, Trace

MAPPED = 256_000_000  # bytes of a file; a larger one is not read, but mapped: its pages come as they are needed
EXACT_ROWS = 1 << 16  # weights of one query in all heads: above that they are fp16


class Contents(TypedDict, total=False):
    """What goes into a payload beside the tensors of the sites that it holds.

    `z_rows` limits the queries whose output z goes along, spread evenly (None: all that the trace kept).
    `steps` are the heads, by site, whose x and projections it holds for the steps level; None: x and q, k before rotary
    of whole sites, and with `projections` W_q, W_k and W_v too. `thumbs` adds the thumbnails of every site, and with
    `query`, a position among the query tokens of the first site held, what that query does in every head.
    `norms`: with the norms that shares are made of. `receipts`: those of its sites, None: computed now. `notes`: beside its own.
    `pictures`: of heads that it does not hold. `written`: what several payloads of one trace, with the same receipts, say alike; one dict for all of them.
    """

    projections: bool
    receipts: Receipt | None
    notes: tuple[str, ...]
    norms: bool
    z_rows: int | None
    steps: Mapping[int, Sequence[int]] | None
    thumbs: bool
    written: dict[str, str] | None
    query: int | None
    pictures: Pictures | None


def encode(trace: Trace, held: Mapping[int, Held] | None = None, **contents: Unpack[Contents]) -> bytes:
    """The trace as a payload that holds the sites in `held` (by index; None: all, as they are)."""
    return b"".join(in_pieces(*_parts(trace, held, **contents)))


def _parts(
    trace: Trace,
    held: Mapping[int, Held] | None = None,
    *,
    projections: bool = False,
    receipts: Receipt | None = None,
    notes: tuple[str, ...] = (),
    norms: bool = True,
    z_rows: int | None = None,
    steps: Mapping[int, Sequence[int]] | None = None,
    thumbs: bool = False,
    written: dict[str, str] | None = None,
    query: int | None = None,
    pictures: Pictures | None = None,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a payload, and its metadata."""
    written = {} if written is None else written
    held = dict.fromkeys(range(len(trace.sites)), Held()) if held is None else held
    receipts = receipts or trace.verify()
    tensors: dict[str, Tensor] = {}
    shared: dict[int, str] = {}
    sites: list[str] = []
    small = thumbnails.thumbnails_of(trace) if thumbs else ()
    sinks = sink_tokens(trace) if thumbs else ()
    first = trace.sites[next(iter(held), 0)]
    rows = query_rows(trace, first, query) if thumbs and query is not None else (None,) * len(trace.sites)
    exact = sum(site.heads * site.keys for site in trace.sites) <= EXACT_ROWS
    for index, site in enumerate(trace.sites):
        what = held.get(index)
        whole = what is not None and what.heads is None
        heads = steps.get(index, ()) if steps is not None else range(site.heads) if whole else ()
        bare = f"site {index}" if what is None and not heads and not thumbs and pictures is None else ""
        if bare in written:
            sites.append(written[bare])
            continue
        description = describe_site(index, site, receipts.sites[index], trace)
        if thumbs:
            tensors[f"t{index}"] = small[index].pixels
            description |= thumbnails.describe(small[index], f"t{index}") | {"sink_tokens": list(sinks[index])}
        if trace.badges and (thumbs or steps is None):
            description["roles"] = badges_to_json(trace, site)
        if (row := rows[index]) is not None:
            description["row"] = _put_row(tensors, index, query, row, exact)
        if pictures is not None:
            description |= put_picture(tensors, index, thumbnails.thumbnails_at(trace, index), pictures)
        if what is not None:
            description |= put_site(tensors, shared, index, site, what, norms, z_rows)
            if projections:
                description["projection"] = put_projection(tensors, shared, index, site)
        if not site.weights_only:
            description["steps"] = step_tensors.describe(site)
            if heads:
                dtype = None if what is None else what.dtype
                asked = steps is not None  # W_O of whole sites is written once, by put_projection
                description["steps"]["heads"] = step_tensors.put(
                    tensors, index, site, heads, dtype, projections=projections or asked, output=asked
                )
        sites.append(_json(description))
        if bare:
            written[bare] = sites[-1]
    if "tokens" not in written:
        written["tokens"] = _json([tokens_to_json(table) for table in trace.tables])
        written["trace"] = trace_id(trace)
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "trace": written["trace"],
        "model": {
            "name": trace.model.name,
            "class": trace.model.class_name,
            "type": trace.model.type,
            "dtype": trace.model.dtype,
            "implementation": trace.model.implementation,
            "revision": trace.model.revision,
        },
        "versions": dict(versions()),
        "receipt": receipt_to_json(receipts),
        "notes": [*trace.notes, *notes],
        "unrecorded": list(trace.unrecorded),
        "source": None if trace.source is None else dict(trace.source),
        "target": trace.target is not None,
        "look": chosen_look(trace.tables),
        **({**thumbnails.words_of(small), "step_names": step_names()} if thumbs else {}),
    }
    if trace.stream_table is not None and (thumbs or steps is None):
        meta["stream"] = put_stream(tensors, trace.stream_table)
    text = f'{_json(meta)[:-1]},"tokens":{written["tokens"]},"sites":[{",".join(sites)}]}}'
    return tensors, {FORMAT: text}


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def _put_row(tensors: dict[str, Tensor], index: int, query: int | None, row: QueryRows, exact: bool) -> dict[str, Any]:
    """Add what a query does in the heads of a site, in fp16 unless `exact`, and return the words for it."""
    found: dict[str, Any] = {"query": query}
    for name in ("weights", "shares", "writes"):
        tensor = getattr(row, name)
        found[name] = None if tensor is None else f"r{index}.{name}"
        if tensor is not None:
            tensors[f"r{index}.{name}"] = tensor.float() if exact or name == "writes" else tensor.half()
    return found


def decode(data: bytes) -> Trace:
    """A trace from payload bytes that hold at least one site; sites that are not in the bytes are left out.

    Raises PayloadError for bytes that are not a payload, are cut short, or come from a newer version, and for a
    description that does not fit itself or its tensors.
    """
    return _trace_of(read_header(io.BytesIO(data), len(data)), lambda: data)


def _trace_of(header: Header, data: Callable[[], bytes | dict[str, Tensor]]) -> Trace:
    """The trace that `header` describes; `data` gives all bytes, or the tensors, and is asked for once the description is known
    to fit."""
    meta = header.meta
    try:
        check(meta, header.layouts)
        if not any(entry.get("held") for entry in meta["sites"]):
            raise ValueError("it holds the tensors of no site")
        tables = [tokens_from_json(table) for table in meta["tokens"]]
        target = tables[1] if meta.get("target", len(tables) > 1) else None
        tensors = _tensors(header, data())
        model = meta["model"]
        trace = Trace(
            tuple(
                site_from_json(entry, tensors, named_of(entry, tables, target is not None))
                for entry in meta["sites"]
                if entry.get("held")
            ),
            tables[0],
            target,
            ModelInfo(
                model["name"], model["class"], model["type"], model["dtype"], model["implementation"], model["revision"]
            ),
            tuple(meta["notes"]),
            tuple(meta.get("unrecorded", ())),
            source=meta.get("source"),
            badges=badges_from_json(meta),
            stream_table=stream_from_json(meta, tensors),
        )
        check_trace(trace)
        return trace
    except (KeyError, TypeError, IndexError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
        raise PayloadError(
            f"this is an attnscope payload, but a part of it is missing or does not fit ({type(error).__name__}: {error}). "
            "It may have been edited or damaged; save the trace again."
        ) from error


def read(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors in payload bytes, checked to be a payload that this version reads."""
    header = read_header(io.BytesIO(data), len(data))
    return header.meta, _tensors(header, data)


def _tensors(header: Header, data: bytes | dict[str, Tensor]) -> dict[str, Tensor]:
    try:
        tensors = safetensors.torch.load(data) if isinstance(data, bytes) else data
    except (ValueError, KeyError, safetensors.SafetensorError, OverflowError) as error:
        raise PayloadError(
            f"this is not a whole .safetensors file ({str(error).strip() or type(error).__name__}): it is something else, "
            "or was cut short on the way."
        ) from error
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != {
        n: o.shape for n, o in header.layouts.items()
    }:
        raise PayloadError("the file changed while it was read; read it again once it is whole.")
    return tensors


def save(trace: Trace, path: Any, projections: bool = False) -> None:
    """Write all of `trace` to `path`, whole or not at all."""
    check_flag("projections", projections)
    write_atomically(path, in_pieces(*_parts(trace, projections=projections)))


def load_trace(path: Any) -> Trace:
    """Read a trace that `Trace.save` wrote to `path` (a string or a Path; "~" is your home folder).

    A file of more than 256 MB is mapped into memory and read as its numbers are needed: write to another path while you use it.

    Raises InputError for a path of another type, UnreadableFile (a PayloadError and an OSError) for a file that is
    missing or cannot be read, or is no file (a device, a FIFO), and PayloadError for bytes that are not a whole trace,
    come from a newer version, or need more memory than this machine has.
    """
    try:
        with open_file(path) as (file, size):
            header = read_header(file, size)
            if size > MAPPED:
                return _trace_of(header, lambda: safetensors.torch.load_file(as_path(path)))
            return _trace_of(header, lambda: read_whole(file, size))
    except OSError as error:
        if isinstance(error, UnreadableFile):
            raise
        raise UnreadableFile(
            f"cannot read {path}: {error.strerror or error}. Give the path of a file that Trace.save wrote.", error
        ) from error
    except PayloadError as error:
        raise PayloadError(f"{path}: {error}") from error.__cause__


def arrays(trace: Trace) -> dict[str, np.ndarray]:
    """Every kept tensor as numpy (floats as fp32), named as in a payload."""
    tensors: dict[str, Tensor] = {}
    for index, site in enumerate(trace.sites):
        put_site(tensors, {}, index, site, Held(), norms=False)
        step_tensors.put(tensors, index, site, range(site.heads), projections=False, output=False)
    return {
        name: (tensor.detach().float() if tensor.is_floating_point() else tensor).cpu().numpy()
        for name, tensor in tensors.items()
    }


def trace_id(trace: Trace) -> str:
    """The same for the blocks of one trace, another for another: a digest of tokens, model and a few numbers."""
    digest = hashlib.sha256(repr((trace.tokens.ids or trace.tokens.strings, trace.model)).encode())
    for site in trace.sites:
        digest.update(site.path.encode())
        first = next(iter(site.kept.values()))
        digest.update(first.detach()[0, -1].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


@cache
def versions() -> Mapping[str, str]:
    """Of attnscope as it runs, and of torch and transformers as installed."""
    from attnscope._version import __version__

    found = {"attnscope": __version__}
    for package in ("torch", "transformers"):
        try:
            found[package] = version(package).split("+")[0]
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
