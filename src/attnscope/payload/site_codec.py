"""One site <-> its description and its tensors in a payload."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attnscope.attention.precision import without_autocast
from attnscope.errors import NotCaptured
from attnscope.payload import step_tensors
from attnscope.payload.fields import real
from attnscope.payload.held import Held, coarser
from attnscope.payload.plain_json import site_receipt_to_json
from attnscope.tracing.at_hand import check_at_hand
from attnscope.tracing.biases import BiasRule
from attnscope.tracing.masks import MaskRule
from attnscope.tracing.output_projection import Projection, StoredWrites
from attnscope.tracing.receipts import SiteReceipt
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace
from attnscope.tracing.weights_site import WeightsSite

_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
_BIAS = {"diagonals": "diagonals", "full": "cells", "blocks": "blocks"}  # forms in a payload: fields of a BiasRule


def describe_site(index: int, site: Site, receipt: SiteReceipt, trace: Trace) -> dict[str, Any]:
    tables = [id(table) for table in trace.tables]
    names = (
        "path call kind stack layer heads kv_heads queries keys head_size value_size query_offset "
        "scaled_by_model softcap weights_only note"
    )
    whole_norms = site.projection is not None or site.stored is not None
    return {
        "index": index,
        **{name: getattr(site, name) for name in names.split()},
        "scaling": 1.0 if site.weights_only else site.scaling,
        "query_tokens": tables.index(id(trace.query_tokens(site))),
        "key_tokens": tables.index(id(trace.key_tokens(site))),
        "mask": {**_mask_rule(site), "keys": None, "rows": None, "packed": None},
        "bias": None,
        "sinks": None,
        "norms": "output" if whole_norms else "value",
        "held": None,
        "receipt": site_receipt_to_json(receipt),
        "no_projection": site.no_projection,
    }


def _mask_rule(site: Site) -> dict[str, Any]:
    mask = site.mask
    empty_rows = "uniform" if mask.uniform_empty_rows else "zero"
    return {"lower": mask.lower, "upper": mask.upper, "empty_rows": empty_rows, "words": mask.describe()}


def put_site(
    tensors: dict[str, Tensor],
    shared: dict[int, str],
    index: int,
    site: Site,
    what: Held,
    norms: bool,
    z_rows: int | None = None,
) -> dict[str, Any]:
    """Add the site's tensors, and return the part of its description that names them."""
    check_at_hand(site)
    heads = list(range(site.heads)) if what.heads is None else sorted(what.heads)
    groups = sorted({head // (site.heads // site.kv_heads) for head in heads})
    dtype = what.dtype or site.kept_dtype
    # Slices of one fused projection share storage; each is written as a tensor of its own.
    for name, tensor in site.kept.items():
        some = tensor if what.heads is None else tensor[groups if name in ("k", "v") else heads]
        tensors[f"s{index}.{name}"] = some.to(dtype)
    if site.z is not None and site.z_rows is not None:
        sample = _spread(len(site.z_rows), z_rows)
        tensors[f"s{index}.z"] = site.z[heads][:, sample].float()
        tensors[f"s{index}.z_rows"] = site.z_rows[sample].to(torch.int32)
    if norms and not site.weights_only:
        tensors[f"s{index}.norms"] = site.norms()[1][heads].float()
        if site.projection is not None:
            tensors[f"s{index}.w_o_products"] = _products(site, heads, dtype)
        elif site.stored is not None and site.stored.products is not None:
            tensors[f"s{index}.w_o_products"] = site.stored.products[heads]
    mask = _mask_rule(site)
    for part in ("keys", "rows", "packed"):
        tensor = getattr(site.mask, part)
        mask[part] = None if tensor is None else _put_shared(tensors, shared, "m", tensor.to(torch.uint8), id(tensor))
    bias = None
    if site.position_bias is not None:
        table = site.position_bias.table
        bias = {"form": site.position_bias.form, "tensor": _put_shared(tensors, shared, "b", table.float(), id(table))}
    sinks = None
    if site.sinks is not None:
        sinks = f"s{index}.sinks"
        tensors[sinks] = site.sinks.float()
    return {
        "held": {"dtype": _DTYPES.get(dtype, "F32"), "heads": heads},
        "mask": mask,
        "bias": bias,
        "sinks": sinks,
        "model_dtype": str(coarser(site.dtype or site.kept_dtype, dtype)).removeprefix("torch."),
    }


@without_autocast
def _products(site: Site, heads: list[int], dtype: torch.dtype) -> Tensor:
    """W_O[h] · W_O[h]ᵀ, its upper half row by row: ‖z · W_O[h]‖² is z · this · zᵀ, for any query."""
    blocks = site.output_projection()[heads]
    products = blocks @ blocks.transpose(1, 2)
    row, column = torch.triu_indices(site.value_size, site.value_size)
    half = products[:, row, column]
    fits = dtype.itemsize > 2 or float(half.abs().max()) > torch.finfo(torch.float16).max
    return half if fits else half.to(torch.float16)


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


def put_projection(tensors: dict[str, Tensor], shared: dict[int, str], index: int, site: Site) -> dict[str, Any] | None:
    """Add W_O, and for the receipt what the model's own output projection returned."""
    if site.projection is None:
        return None
    if site.written is not None and site.written_rows is not None:
        tensors[f"s{index}.written"] = site.written
        tensors[f"s{index}.written_rows"] = site.written_rows.to(torch.int32)
    weight, bias = site.projection.parameter, site.projection.bias
    return {
        "weight": _put_shared(tensors, shared, "w", weight.detach(), id(weight)),
        "bias": None if bias is None else _put_shared(tensors, shared, "w", bias.detach(), id(bias)),
        "transposed": site.projection.transposed,
    }


def named_of(entry: dict[str, Any], tables: Sequence[Tokens], target: bool) -> tuple[Tokens, Tokens] | None:
    """The tokens along a site's axes; None where they are those that a trace gives a site of this stack."""
    stack = entry["stack"] if target else None
    own = (int(stack in ("decoder", "cross")), int(stack == "decoder"))
    given = entry.get("query_tokens", own[0]), entry.get("key_tokens", own[1])
    if given == own or max(given) >= len(tables):  # older files name a second table also where there is one
        return None
    return tables[given[0]], tables[given[1]]


def site_from_json(
    entry: dict[str, Any], tensors: dict[str, Tensor], named: tuple[Tokens, Tokens] | None = None
) -> Site:
    """The site; `named`: the tokens along its axes, where they are not the trace's own."""
    index, mask, bias = entry["index"], entry["mask"], entry["bias"]
    if len(entry["held"]["heads"]) != entry["heads"]:
        raise NotCaptured(
            f"these bytes hold {len(entry['held']['heads'])} of {entry['heads']} heads of {entry['path']}: they are a part of a view."
        )
    projection = entry.get("projection")
    bits = {part: tensors[mask[part]].bool() if mask[part] else None for part in ("keys", "rows")}
    place = {name: entry[name] for name in ("path", "call", "kind", "stack", "layer", "note")}
    place["dtype"] = getattr(torch, entry["model_dtype"])
    place |= {"named": named, "offset": entry.get("query_offset")}
    if entry["weights_only"]:
        return WeightsSite(given=tensors[f"s{index}.weights"], **place)
    return Site(
        q=tensors[f"s{index}.q"],
        k=tensors[f"s{index}.k"],
        v=tensors[f"s{index}.v"],
        **place,
        scaling=real(entry["scaling"], "scaling"),
        softcap=entry["softcap"],
        mask=MaskRule(
            mask["lower"],
            mask["upper"],
            bits["keys"],
            bits["rows"],
            tensors[mask["packed"]] if mask["packed"] else None,
            mask["empty_rows"] == "uniform",
        ),
        position_bias=None if bias is None else BiasRule(**{_BIAS[bias["form"]]: tensors[bias["tensor"]]}),
        sinks=tensors[entry["sinks"]] if entry["sinks"] else None,
        z=tensors.get(f"s{index}.z"),
        z_rows=tensors[f"s{index}.z_rows"].long() if f"s{index}.z_rows" in tensors else None,
        projection=None
        if not projection
        else Projection(
            tensors[projection["weight"]],
            tensors[projection["bias"]] if projection["bias"] else None,
            projection["transposed"],
        ),
        **step_tensors.read(entry, tensors),
        **_written(entry, tensors),
        no_projection=entry.get("no_projection", ""),
    )


def _written(entry: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What a file knows of the writes beside W_O: fields of a Site."""
    index, found = entry["index"], {}
    if entry.get("projection") and (written := tensors.get(f"s{index}.written")) is not None:
        found |= {"written": written, "written_rows": tensors[f"s{index}.written_rows"].long()}
    norms = tensors.get(f"s{index}.norms")
    if norms is not None and entry["norms"] == "output":
        receipt = entry.get("receipt") or {}
        figures = (receipt.get(name) for name in ("write_error", "write_tolerance"))
        error, tolerance = (None if one is None else real(one, "receipt") for one in figures)
        found["stored"] = StoredWrites(norms, tensors.get(f"s{index}.w_o_products"), error, tolerance)
    return found
