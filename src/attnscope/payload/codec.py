"""Trace <-> safetensors bytes: the one format of file, widget, page and server (docs/payload.md describes it).

`encode` writes all of a trace's description and the tensors of the sites asked for; `decode` reads it back. Masks and
biases that sites share are written once.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from attnscope.errors import NotCaptured, PayloadError, UnreadableFile
from attnscope.payload import step_tensors
from attnscope.payload.atomic_write import write_atomically
from attnscope.statistics import thumbnails
from attnscope.tracing.masks import BiasRule, MaskRule
from attnscope.tracing.receipts import Receipt, SiteReceipt
from attnscope.tracing.site import Projection, Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import ModelInfo, Trace
from attnscope.tracing.weights_site import WeightsSite

FORMAT = "attnscope"
VERSION = 1
_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}


@dataclass(frozen=True)
class Held:
    """What a payload holds of one site: some heads (None: all) in some dtype (None: the site's own)."""

    heads: tuple[int, ...] | None = None
    dtype: torch.dtype | None = None


def encode(
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
) -> bytes:
    """The trace as a payload that holds the sites in `held` (by index; None: all, as they are).

    `z_rows` limits the queries whose output z goes along, spread evenly (None: all that the trace kept).
    `steps` are the heads, by site, whose x and projections it holds for the steps level; None: x and q, k before rotary
    of whole sites, and with `projections` W_q, W_k and W_v too. `thumbs` adds the thumbnails of every site.
    """
    held = dict.fromkeys(range(len(trace.sites)), Held()) if held is None else held
    receipts = receipts or trace.verify()
    tensors: dict[str, Tensor] = {}
    shared: dict[int, str] = {}
    sites = []
    small = thumbnails.thumbnails_of(trace) if thumbs else ()
    for index, site in enumerate(trace.sites):
        what = held.get(index)
        description = _describe(index, site, receipts.sites[index])
        if thumbs:
            tensors[f"t{index}"] = small[index].pixels
            description |= thumbnails.describe(small[index], f"t{index}")
        if what is not None:
            description |= _put_site(tensors, shared, index, site, what, norms, z_rows)
            if projections:
                description["projection"] = _put_projection(tensors, shared, site)
        if not site.weights_only:
            whole = what is not None and what.heads is None
            heads = steps.get(index, ()) if steps is not None else range(site.heads) if whole else ()
            description["steps"] = step_tensors.describe(site)
            if heads:
                dtype = None if what is None else what.dtype
                asked = steps is not None  # W_O of whole sites is written once, by _put_projection
                description["steps"]["heads"] = step_tensors.put(
                    tensors, index, site, heads, dtype, projections=projections or asked, output=asked
                )
        sites.append(description)
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "trace": trace_id(trace),
        "model": {
            "name": trace.model.name, "class": trace.model.class_name, "type": trace.model.type,
            "dtype": trace.model.dtype, "implementation": trace.model.implementation, "revision": trace.model.revision,
        },
        "versions": versions(),
        "tokens": [_tokens_to_json(t) for t in (trace.tokens, trace.target) if t is not None],
        "sites": sites,
        "receipt": _receipt_to_json(receipts),
        "notes": [*trace.notes, *notes],
        "unrecorded": list(trace.unrecorded),
        "source": None if trace.source is None else dict(trace.source),
        **(thumbnails.words_of(small) if thumbs else {}),
    }  # fmt: skip
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(_plain(meta), ensure_ascii=False, separators=(",", ":"))
    return safetensors.torch.save(contiguous, {FORMAT: text})


def decode(data: bytes) -> Trace:
    """A trace from payload bytes that hold at least one site; sites that are not in the bytes are left out.

    Raises PayloadError for bytes that are not a payload, are cut short, or come from a newer version.
    """
    meta, tensors = read(data)
    try:
        sites = [_site_from_json(entry, tensors) for entry in meta["sites"] if entry.get("held")]
        if not sites:
            raise ValueError("it holds the tensors of no site")
        tables = [_tokens_from_json(table) for table in meta["tokens"]]
        model = meta["model"]
        return Trace(
            tuple(sites),
            tables[0],
            tables[1] if len(tables) > 1 else None,
            ModelInfo(
                model["name"], model["class"], model["type"], model["dtype"], model["implementation"], model["revision"]
            ),
            tuple(meta["notes"]),
            tuple(meta.get("unrecorded", ())),
            source=meta.get("source"),
        )
    except (KeyError, TypeError, IndexError, ValueError, RuntimeError, AttributeError) as error:
        raise PayloadError(
            f"this is an attnscope payload, but a part of it is missing or does not fit ({type(error).__name__}: {error}). "
            "It may have been edited or damaged; save the trace again."
        ) from error


def read(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors in payload bytes, checked to be a payload that this version reads."""
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        tensors = safetensors.torch.load(data)
    except (ValueError, safetensors.SafetensorError, OverflowError) as error:
        raise PayloadError(
            f"this is not a whole .safetensors file ({str(error).strip() or type(error).__name__}): it is something else, "
            "or was cut short on the way."
        ) from error
    text = (header.get("__metadata__") or {}).get(FORMAT)
    if text is None:
        raise PayloadError(
            "this .safetensors file holds no attnscope trace (model weights, perhaps?): expected a file written by "
            "Trace.save. To look at a model, give attnscope.load its folder."
        )
    try:
        meta = json.loads(text)
        known = meta["format"] == FORMAT and 1 <= meta["version"] <= VERSION
    except (ValueError, KeyError, TypeError) as error:
        raise PayloadError(
            f"this .safetensors file has an entry named {FORMAT}, but it is not the description of a trace; save the trace again."
        ) from error
    if not known:
        raise PayloadError(
            f"this trace has format version {meta['version']}, and this attnscope reads up to {VERSION}: "
            "install a newer attnscope."
        )
    return meta, tensors


def save(trace: Trace, path: Any, projections: bool = False) -> None:
    """Write all of `trace` to `path`, whole or not at all."""
    write_atomically(path, encode(trace, projections=projections))


def load_trace(path: Any) -> Trace:
    """Read a trace that `Trace.save` wrote to `path` (a string or a Path; "~" is your home folder).

    Raises UnreadableFile (a PayloadError and an OSError) for a file that is missing or cannot be read, and PayloadError
    for bytes that are not a whole trace or come from a newer version.
    """
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UnreadableFile(
            f"cannot read {path}: {error.strerror or error}. Give the path of a file that Trace.save wrote.", error
        ) from error
    try:
        return decode(data)
    except PayloadError as error:
        raise PayloadError(f"{path}: {error}") from error.__cause__


def arrays(trace: Trace) -> dict[str, np.ndarray]:
    """Every kept tensor as numpy (floats as fp32), named as in a payload."""
    tensors: dict[str, Tensor] = {}
    for index, site in enumerate(trace.sites):
        _put_site(tensors, {}, index, site, Held(), norms=False)
        step_tensors.put(tensors, index, site, range(site.heads), projections=False, output=False)
    return {
        name: (tensor.detach().float() if tensor.is_floating_point() else tensor).cpu().numpy()
        for name, tensor in tensors.items()
    }


def as_held(site: Site, what: Held) -> Site:
    """The site as it will be decoded: q, k, v rounded to the held dtype. The receipt of a view is computed from this."""
    if what.dtype is None or what.dtype == site.kept_dtype:
        return site
    rounded = {name: tensor.to(what.dtype).to(torch.float32) for name, tensor in site.kept.items()}
    changes: dict[str, Any] = {"given": rounded["weights"]} if site.weights_only else rounded
    return replace(site, **changes, dtype=_coarser(site.dtype or site.kept_dtype, what.dtype))


def _coarser(first: torch.dtype, second: torch.dtype) -> torch.dtype:
    return first if torch.finfo(first).eps >= torch.finfo(second).eps else second


def trace_id(trace: Trace) -> str:
    """The same for the blocks of one trace, another for another: a digest of tokens, model and a few numbers."""
    digest = hashlib.sha256(repr((trace.tokens.ids or trace.tokens.strings, trace.model)).encode())
    for site in trace.sites:
        digest.update(site.path.encode())
        first = next(iter(site.kept.values()))
        digest.update(first.detach()[0, -1].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of attnscope as it runs, and of torch and transformers as installed."""
    from attnscope._version import __version__

    found = {"attnscope": __version__}
    for package in ("torch", "transformers"):
        try:
            found[package] = version(package).split("+")[0]
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


# --- one site -----------------------------------------------------------------------------------------------------


def _describe(index: int, site: Site, receipt: SiteReceipt) -> dict[str, Any]:
    crossing = site.stack == "cross"
    return {
        "index": index, "path": site.path, "call": site.call, "kind": site.kind, "stack": site.stack, "layer": site.layer,
        "heads": site.heads, "kv_heads": site.kv_heads, "queries": site.queries, "keys": site.keys,
        "head_size": site.head_size, "value_size": site.value_size, "query_offset": site.query_offset,
        "scaling": 1.0 if site.weights_only else site.scaling, "scaled_by_model": site.scaled_by_model, "softcap": site.softcap,
        "query_tokens": 1 if site.stack in ("decoder", "cross") else 0,
        "key_tokens": 0 if crossing or site.stack != "decoder" else 1,
        "mask": {"lower": site.mask.lower, "upper": site.mask.upper, "keys": None, "rows": None, "packed": None,
                 "empty_rows": "uniform" if site.mask.uniform_empty_rows else "zero", "words": site.mask.describe()},
        "bias": None, "sinks": None, "norms": "output" if site.projection is not None or site.stored_norms is not None else "value",
        "weights_only": site.weights_only, "held": None, "note": site.note,
        "receipt": _site_receipt_to_json(receipt),
    }  # fmt: skip


def _put_site(
    tensors: dict[str, Tensor],
    shared: dict[int, str],
    index: int,
    site: Site,
    what: Held,
    norms: bool,
    z_rows: int | None = None,
) -> dict[str, Any]:
    """Add the site's tensors, and return the part of its description that names them."""
    heads = list(range(site.heads)) if what.heads is None else sorted(what.heads)
    groups = sorted({head // (site.heads // site.kv_heads) for head in heads})
    dtype = what.dtype or site.kept_dtype
    # Slices of one fused projection share storage; each is written as a tensor of its own.
    for name, tensor in site.kept.items():
        tensors[f"s{index}.{name}"] = tensor[groups if name in ("k", "v") else heads].to(dtype)
    if site.z is not None and site.z_rows is not None:
        sample = _spread(len(site.z_rows), z_rows)
        tensors[f"s{index}.z"] = site.z[heads][:, sample].float()
        tensors[f"s{index}.z_rows"] = site.z_rows[sample].to(torch.int32)
    if norms and not site.weights_only:
        tensors[f"s{index}.norms"] = site.norms()[1][heads].float()
    mask = {"lower": site.mask.lower, "upper": site.mask.upper, "empty_rows": "uniform" if site.mask.uniform_empty_rows else "zero",
            "words": site.mask.describe()}  # fmt: skip
    for part in ("keys", "rows", "packed"):
        tensor = getattr(site.mask, part)
        mask[part] = None if tensor is None else _put_shared(tensors, shared, "m", tensor.to(torch.uint8), id(tensor))
    bias = None
    if site.position_bias is not None:
        form = "diagonals" if site.position_bias.diagonals is not None else "full"
        table = site.position_bias.diagonals if form == "diagonals" else site.position_bias.cells
        assert table is not None
        bias = {"form": form, "tensor": _put_shared(tensors, shared, "b", table.float(), id(table))}
    sinks = None
    if site.sinks is not None:
        sinks = f"s{index}.sinks"
        tensors[sinks] = site.sinks.float()
    return {
        "held": {"dtype": _DTYPES.get(dtype, "F32"), "heads": heads},
        "mask": mask, "bias": bias, "sinks": sinks,
        "model_dtype": str(_coarser(site.dtype or site.kept_dtype, dtype)).removeprefix("torch."),
    }  # fmt: skip


def _spread(count: int, limit: int | None) -> Tensor:
    """At most `limit` of `count` positions, first and last among them."""
    if limit is None or count <= limit:
        return torch.arange(count)
    return torch.linspace(0, count - 1, limit).round().long().unique()


def _put_shared(tensors: dict[str, Tensor], shared: dict[int, str], letter: str, tensor: Tensor, identity: int) -> str:
    if identity not in shared:
        shared[identity] = f"{letter}{len(shared)}"
        tensors[shared[identity]] = tensor
    return shared[identity]


def _put_projection(tensors: dict[str, Tensor], shared: dict[int, str], site: Site) -> dict[str, Any] | None:
    if site.projection is None:
        return None
    weight, bias = site.projection.parameter, site.projection.bias
    return {
        "weight": _put_shared(tensors, shared, "w", weight.detach(), id(weight)),
        "bias": None if bias is None else _put_shared(tensors, shared, "w", bias.detach(), id(bias)),
        "transposed": site.projection.transposed,
    }


def _site_from_json(entry: dict[str, Any], tensors: dict[str, Tensor]) -> Site:
    index, mask, bias = entry["index"], entry["mask"], entry["bias"]
    if len(entry["held"]["heads"]) != entry["heads"]:
        raise NotCaptured(
            f"these bytes hold {len(entry['held']['heads'])} of {entry['heads']} heads of {entry['path']}: they are a part of a view."
        )
    projection = entry.get("projection")
    bits = {part: tensors[mask[part]].bool() if mask[part] else None for part in ("keys", "rows")}
    place = {name: entry[name] for name in ("path", "call", "kind", "stack", "layer", "note")}
    place["dtype"] = getattr(torch, entry["model_dtype"])
    if entry["weights_only"]:
        return WeightsSite(given=tensors[f"s{index}.weights"], **place)
    return Site(
        q=tensors[f"s{index}.q"], k=tensors[f"s{index}.k"], v=tensors[f"s{index}.v"],
        **place, scaling=entry["scaling"], softcap=entry["softcap"],
        mask=MaskRule(mask["lower"], mask["upper"], bits["keys"], bits["rows"],
                      tensors[mask["packed"]] if mask["packed"] else None, mask["empty_rows"] == "uniform"),
        position_bias=None if bias is None else (
            BiasRule(diagonals=tensors[bias["tensor"]]) if bias["form"] == "diagonals" else BiasRule(cells=tensors[bias["tensor"]])
        ),
        sinks=tensors[entry["sinks"]] if entry["sinks"] else None,
        z=tensors.get(f"s{index}.z"),
        z_rows=tensors[f"s{index}.z_rows"].long() if f"s{index}.z_rows" in tensors else None,
        projection=None if not projection else Projection(
            tensors[projection["weight"]], tensors[projection["bias"]] if projection["bias"] else None, projection["transposed"]
        ),
        **step_tensors.read(entry, tensors),
        stored_norms=tensors.get(f"s{index}.norms") if entry["norms"] == "output" else None,
    )  # fmt: skip


# --- tokens, receipts, numbers ------------------------------------------------------------------------------------


def _tokens_to_json(tokens: Tokens) -> dict[str, Any]:
    return {
        "text": list(tokens.strings), "ids": list(tokens.ids), "special": list(tokens.special), "words": list(tokens.words),
        "word_text": list(tokens.word_text), "segments": list(tokens.segments), "offsets": [list(o) for o in tokens.offsets],
        "written": tokens.text, "border": tokens.border,
    }  # fmt: skip


def _tokens_from_json(table: dict[str, Any]) -> Tokens:
    return Tokens(
        tuple(table["text"]), tuple(table["ids"]), tuple(table["special"]), tuple(table["words"]), tuple(table["word_text"]),
        tuple(table["segments"]), tuple((start, end) for start, end in table.get("offsets", ())), table.get("written", ""), table["border"],
    )  # fmt: skip


def _site_receipt_to_json(receipt: SiteReceipt) -> dict[str, Any]:
    return {
        "status": receipt.status, "max_error": receipt.max_error, "tolerance": receipt.tolerance, "rows": receipt.rows,
        "of": receipt.of, "no_key_rows": receipt.no_key_rows, "note": receipt.note,
    }  # fmt: skip


def _receipt_to_json(receipt: Receipt) -> dict[str, Any]:
    return {
        "passed": receipt.passed, "max_error": receipt.max_error, "tolerance": receipt.tolerance, "rows": receipt.rows, "of": receipt.of
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity: they are written as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
