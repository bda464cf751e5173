"""What the steps level draws beyond q, k and v: x, the projections of a head, q and k before norm and rotary embedding.

They are large for a whole model and small for one head, so a payload holds them for the heads that are asked for, and
says what there is of the others and how large it is (docs/payload.md, "steps").
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from attnscope.payload.fields import real
from attnscope.tracing.head_projection import HeadProjection
from attnscope.tracing.site import Site


def groups_of(site: Site, heads: Sequence[int]) -> list[int]:
    """The key/value heads that these query heads read."""
    return sorted({head // (site.heads // site.kv_heads) for head in heads})


def tensors_of_steps(
    site: Site, heads: Sequence[int], projections: bool = True, output: bool = True
) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all that is kept for these heads, as the names of docs/payload.md without their "s{i}.".

    `projections`: W_q, W_k and W_v too; `output`: W_O too. No two share storage, nor those of two sites.
    """
    if site.weights_only:
        return
    groups = groups_of(site, heads)
    for name in ("x", "x_keys"):
        if (kept := getattr(site, name)) is not None:
            yield name, kept.clone()
    for name in ("pre_rotary_q", "pre_norm_q", "pre_rotary_k", "pre_norm_k"):
        kept = getattr(site, name)
        if kept is not None and (name.endswith("q") or kept.shape[1] == site.keys):
            yield name, kept[list(heads) if name.endswith("q") else groups]
    for letter in "qkv" if projections else "":
        made: HeadProjection | None = getattr(site, f"w_{letter}")
        if made is None:
            continue
        chosen = heads if letter == "q" else groups
        yield f"w_{letter}", torch.stack([made.weight(head) for head in chosen])
        offsets = [made.offset(head) for head in chosen]
        if all(offset is not None for offset in offsets):
            yield f"b_{letter}", torch.stack([offset for offset in offsets if offset is not None])
    if output and site.projection is not None:
        yield "w_o", site.projection.blocks(site.heads, heads)
        if site.projection.bias is not None:
            yield "b_o", site.projection.bias.detach().clone()


def sizes(site: Site) -> tuple[int, int]:
    """Bytes of what is kept for one head, and for all of them."""
    shared = sum(kept.nbytes for kept in (site.x, site.x_keys) if kept is not None)
    by_head = [kept.nbytes for kept in (site.pre_rotary_q, site.pre_norm_q) if kept is not None]
    by_group = [kept.nbytes for kept in (site.pre_rotary_k, site.pre_norm_k) if kept is not None]
    for made, found in ((site.w_q, by_head), (site.w_k, by_group), (site.w_v, by_group)):
        if made is not None:
            found.append(made.heads * made.weight(0).nbytes)
    if site.projection is not None:
        by_head.append(site.projection.nbytes)
    queries, groups = sum(by_head), sum(by_group)
    return shared + queries // site.heads + groups // site.kv_heads, shared + queries + groups


def describe(site: Site) -> dict[str, Any]:
    """The entry "steps" of a site's description, without tensors: what the trace keeps, and its size."""
    one, every = sizes(site)
    kept = [
        name
        for name in ("x", "x_keys", "w_q", "w_k", "w_v", "pre_rotary_q", "pre_norm_q")
        if getattr(site, name) is not None
    ]
    kept += ["w_o"] if site.projection is not None else []
    facts = ("path", "norm", "factor", "flipped", "first", "head_step", "size_step")
    made = {letter: getattr(site, f"w_{letter}") for letter in "qkv"}
    named = {letter: {fact: getattr(one, fact) for fact in facts} for letter, one in made.items() if one is not None}
    return {"heads": [], "kept": kept, "bytes": one, "all_bytes": every, "projections": named}


def put(
    tensors: dict[str, Tensor],
    index: int,
    site: Site,
    heads: Sequence[int],
    dtype: torch.dtype | None = None,
    projections: bool = True,
    output: bool = True,
) -> list[int]:
    """Add the tensors of these heads (floats in `dtype`, None: their own), and return the heads."""
    for name, tensor in tensors_of_steps(site, heads, projections, output):
        tensors[f"s{index}.{name}"] = tensor if dtype is None else tensor.to(dtype)
    return list(heads)


def read(entry: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Back from a payload that holds all heads: fields of a Site."""
    index, steps = entry["index"], entry.get("steps") or {}
    if len(steps.get("heads", ())) != entry["heads"]:
        return {}
    fields: dict[str, Any] = {
        name: tensors.get(f"s{index}.{name}")
        for name in ("x", "x_keys", "pre_rotary_q", "pre_rotary_k", "pre_norm_q", "pre_norm_k")
    }
    for letter, named in steps["projections"].items():
        weight = tensors.get(f"s{index}.w_{letter}")
        if weight is None:
            continue
        heads, size, _ = weight.shape
        bias = tensors.get(f"s{index}.b_{letter}")
        fields[f"w_{letter}"] = HeadProjection(
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            heads,
            size,
            0,
            size,
            1,
            path=named["path"],
            norm=named["norm"],
            factor=real(named["factor"], "factor"),
        )
    return fields
