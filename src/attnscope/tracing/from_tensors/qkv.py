"""q, k and v from anywhere, of one layer or of several."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.errors import InputError
from attnscope.tracing.biases import BiasRule, bias_rule_of
from attnscope.tracing.from_tensors.as_tensor import as_tensor
from attnscope.tracing.from_tensors.per_layer import layers_of, numbers_of, same_layers
from attnscope.tracing.from_tensors.token_names import token_names
from attnscope.tracing.masks import NO_MASK, MaskRule, causal_rule, rule_of, split_additive
from attnscope.tracing.output_projection import Projection
from attnscope.tracing.places import check_flag
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens

ALL_ROWS_UP_TO = 256  # queries whose output is kept for the receipt; of more, 64 of them
UNCHECKED = "the tensors were handed in, so there is no model's output to compare with"
STACKED = "The first axis of the tensors that were given was read as {} layers, not as a batch of texts."


@dataclass(frozen=True)
class Read:
    """What `Trace.from_qkv` is made of. `target`: the queries' tokens where they are others than the keys'."""

    sites: tuple[Site, ...]
    tokens: Tokens
    target: Tokens | None
    notes: tuple[str, ...]


def read_qkv(query: Any, key: Any, value: Any, tokens: Any, query_tokens: Any, **more: Any) -> Read:
    """See `Trace.from_qkv`, which gives all of its other arguments as `more`."""
    names, causal = more.pop("names"), more["is_causal"]
    check_flag("is_causal", causal)
    if causal and more["mask"] is not None:
        raise InputError("mask and is_causal were both given; pass one of them.")
    given = _by_layer({"query": query, "key": key, "value": value, **more})
    paths = _paths(names, [*given], layers_of(query, 3) is not None)
    crossed = True if query_tokens is not None else None
    rules: dict[Any, Any] = {}
    sites = tuple(
        _site(one, layer, path, crossed, rules) for (layer, one), path in zip(given.items(), paths, strict=True)
    )
    first = sites[0]
    for site in sites:
        if (site.queries, site.keys) != (first.queries, first.keys):
            raise InputError(
                f"{site.name} has {site.queries} queries and {site.keys} keys, and {first.name} has {first.queries} and "
                f"{first.keys}. Layers of one trace have the same; make one trace of each."
            )
    keys = token_names("tokens", tokens, first.keys, "keys", query)
    target = (
        token_names("query_tokens", query_tokens, first.queries, "queries", query) if first.kind == "cross" else None
    )
    stacked = getattr(query, "ndim", 0) == 4 and len(sites) > 1
    return Read(sites, keys, target, (STACKED.format(len(sites)),) if stacked else ())


def _by_layer(given: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Layer -> its arguments by name."""
    tensors = ("query", "key", "value")
    found = {name: layers_of(given[name], 3) for name in tensors}
    several = [name for name in tensors if found[name] is not None]
    if not several:
        return {0: dict(given)}
    layers = [*(found["query"] or {})]
    if len(several) < 3 or not layers:
        one = next((name for name in tensors if name not in several), "query")
        raise InputError(
            f"expected query, key and value of the same layers, and {one} is {'of one layer' if len(several) < 3 else 'empty'}: give "
            "three lists of tensors, one a layer, or three stacked tensors [L, H, T, D]."
        )
    heads, size = (_as_heads(name, found[name][layers[0]]).shape[axis] for name, axis in (("query", 0), ("value", 2)))  # type: ignore[index]
    found |= {name: layers_of(given[name], 3) for name in ("mask", "output")}
    found |= {name: numbers_of(given[name]) for name in ("scaling", "softcap")}
    joined = getattr(given["projection"], "ndim", 0) == 3 and tuple(given["projection"].shape[1:2]) == (heads * size,)
    found |= {"projection": layers_of(given["projection"], 2 if joined else 3)}
    found |= {name: layers_of(given[name], 1) for name in ("projection_bias", "sinks")}
    for name, entries in found.items():
        if entries is not None:
            found[name] = same_layers(name, entries, layers, optional=name not in tensors)
    shared = {name: one for name, one in given.items() if found.get(name) is None}
    own = [(name, entries) for name, entries in found.items() if entries is not None]
    return {layer: {**shared, **{name: entries.get(layer) for name, entries in own}} for layer in layers}


def _paths(names: Any, layers: Sequence[int], several: bool) -> list[str]:
    if names is None:
        return [f"from_qkv[{layer}]" for layer in layers] if several else ["from_qkv"]
    given = [names] if isinstance(names, str) else names
    if not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given) or len(given) != len(layers):
        got = f"{len(given)} of them" if isinstance(given, Sequence) else type(given).__name__
        raise InputError(f"expected names as {len(layers)} strings, one a layer, got {got}.")
    return list(given)


def _site(given: Mapping[str, Any], layer: int, path: str, crossed: bool | None, rules: dict[Any, Any]) -> Site:
    """One layer. `rules`: masks that were read already; layers with the same mask share one rule."""
    q, k, v = (_as_heads(name, given[name]) for name in ("query", "key", "value"))
    if q.shape[-1] != k.shape[-1] or k.shape[:2] != v.shape[:2] or q.shape[0] % k.shape[0]:
        raise InputError(
            "query [H, Q, D], key [Hkv, K, D] and value [Hkv, K, Dv] do not fit: "
            f"they are {list(q.shape)}, {list(k.shape)} and {list(v.shape)} (H must be a multiple of Hkv)."
        )
    known = id(given["mask"]), *q.shape[:2], k.shape[1]
    if known not in rules:
        rules[known] = _read_mask(given["mask"], len(q), q.shape[1], k.shape[1])
        if given["is_causal"]:
            rules[known] = causal_rule(q.shape[1], k.shape[1]), None
    rule, bias = rules[known]
    crossed = q.shape[1] != k.shape[1] if crossed is None else crossed
    z, rows = _output(given["output"], len(q), q.shape[1], v.shape[2])
    softcap, sinks = given["softcap"], given["sinks"]
    if softcap is not None and _number("softcap", softcap, "of tanh: softcap · tanh(score / softcap)") <= 0:
        raise InputError(f"softcap is {softcap!r}; it is above 0, or None where scores are not bent.")
    return Site(
        q,
        k,
        v,
        q.shape[-1] ** -0.5 if given["scaling"] is None else _read_scaling(given["scaling"]),
        path=path,
        layer=layer,
        mask=rule,
        position_bias=bias,
        kind="cross" if crossed else "self",
        stack="cross" if crossed else None,
        softcap=None if softcap is None else float(softcap),
        sinks=None if sinks is None else _read_sinks(sinks, len(q)),
        projection=_projection(given["projection"], given["projection_bias"], len(q), v.shape[2], rules),
        z=z,
        z_rows=rows,
        note=UNCHECKED if z is None else "",
    )


def _fitting(name: str, given: Any, *shapes: tuple[int | None, ...]) -> Tensor:
    """A real tensor of one of these shapes; None: any size."""
    x = as_tensor(name, given).detach()
    if (
        x.is_complex()
        or x.dtype == torch.bool
        or not any(
            x.ndim == len(shape) and all(wanted in (None, size) for wanted, size in zip(shape, x.shape, strict=True))
            for shape in shapes
        )
    ):
        wanted = " or ".join(f"[{', '.join('M' if size is None else str(size) for size in shape)}]" for shape in shapes)
        raise InputError(
            f"{name} is {str(x.dtype).removeprefix('torch.')} {list(x.shape)}; expected real numbers {wanted}."
        )
    return x if x.is_floating_point() else x.float()


def _read_sinks(given: Any, heads: int) -> Tensor:
    sinks = _fitting("sinks", given, (heads,)).float()
    if bool(sinks.isnan().any()) or bool((sinks == math.inf).any()):
        raise InputError(
            "sinks holds NaN or +inf. A sink is the score of one more key, which takes weight and gives no value: one finite number for each "
            "head, or -inf for a head without one."
        )
    return sinks


def _output(given: Any, heads: int, queries: int, size: int) -> tuple[Tensor | None, Tensor | None]:
    """z of the queries that the receipt looks at, and which they are."""
    if given is None:
        return None, None
    z = _fitting("output", given, (heads, queries, size), (1, heads, queries, size)).reshape(heads, queries, size)
    few = queries <= ALL_ROWS_UP_TO
    rows = torch.arange(queries) if few else torch.linspace(0, queries - 1, 64).round().long().unique()
    return z[:, rows], rows


def _projection(weight: Any, bias: Any, heads: int, size: int, known: dict[Any, Any]) -> Projection | None:
    """W_O and b_O; the same object for layers that share them."""
    if weight is None:
        if bias is not None:
            raise InputError("projection_bias was given without projection: give W_O too.")
        return None
    if (id(weight), id(bias)) not in known:
        shape = tuple(as_tensor("projection", weight).shape)
        if len(shape) == 2 and shape[0] != heads * size and shape[1] == heads * size:
            raise InputError(
                f"projection is {list(shape)}; expected [{heads} · {size}, M], the heads first. nn.Linear stores it the other way "
                "round: give layer.weight.T."
            )
        whole = _fitting("projection", weight, (heads, size, None), (heads * size, None)).reshape(heads * size, -1)
        offset = None if bias is None else _fitting("projection_bias", bias, (whole.shape[1],))
        known[id(weight), id(bias)] = Projection(whole, offset, transposed=False)
    return known[id(weight), id(bias)]


def _as_heads(name: str, tensor: Any) -> Float[Tensor, "H T D"]:
    x = as_tensor(name, tensor).detach()
    if x.ndim == 4 and x.shape[0] == 1:
        x = x[0]
    if x.ndim == 2:
        x = x[None]
    if x.ndim != 3 or 0 in x.shape:
        raise InputError(
            f"{name} has shape {list(as_tensor(name, tensor).shape)}; expected (T, D), (H, T, D) or (1, H, T, D), without "
            "empty axes; of several layers a list of these, or (L, H, T, D). Of a batch of several, pass one row: x[i]."
        )
    if x.is_complex():
        raise InputError(
            f"{name} has {x.dtype} numbers; expected real ones. Of vectors whose pairs of dimensions are written as complex numbers "
            "(rotary embedding), give torch.view_as_real(x).flatten(-2)."
        )
    if x.dtype == torch.bool:
        raise InputError(f"{name} holds True and False; expected numbers. Of a mask, give mask=.")
    return x if x.is_floating_point() else x.float()


def _number(name: str, given: Any, what: str) -> float:
    try:
        number = math.nan if isinstance(given, (bool, str)) else float(given)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"expected {name} as a finite number {what}, got {given!r:.60}.")
    return number


def _read_scaling(scaling: Any) -> float:
    return _number(
        "scaling", scaling, "that q · k is multiplied by (None: 1/√D; where the model divides by √D, give 1 / √D)"
    )


def _read_mask(mask: Any, heads: int, queries: int, keys: int) -> tuple[MaskRule, BiasRule | None]:
    if mask is None:
        return NO_MASK, None
    tensor = as_tensor("mask", mask)
    if tensor.dtype != torch.bool and not tensor.is_floating_point():
        raise InputError(
            f"mask has {tensor.dtype} numbers: make it boolean (True: may look) or a float that is added to the scores."
        )
    try:
        tensor = tensor[0] if tensor.ndim == 4 and len(tensor) == 1 else tensor
        tensor = tensor.expand(heads if tensor.ndim == 3 and len(tensor) > 1 else 1, queries, keys)
    except RuntimeError:
        raise InputError(
            f"mask has shape {list(tensor.shape)}, which does not broadcast to (H, Q, K) = ({heads}, {queries}, {keys})."
        ) from None
    if tensor.dtype == torch.bool:
        return rule_of(tensor), None
    _check_added(tensor)
    allowed, bias, uniform = split_additive(tensor)
    return rule_of(allowed, uniform), None if bias is None else bias_rule_of(bias.float())


def _check_added(mask: Tensor) -> None:
    """Refuse float masks that cannot be added to scores, or are hardly meant to be."""
    if bool(mask.isnan().any()) or bool((mask == math.inf).any()):
        raise InputError(
            "mask holds NaN or +inf. A float mask is added to the scores: 0 where a query may look, -inf where it may not; or make it "
            "boolean (True: may look). 0 · -inf is NaN: use torch.where or masked_fill, not a product."
        )
    if bool((mask == 1).any()) and bool(((mask == 0) | (mask == 1)).all()):
        raise InputError(
            "mask holds 0 and 1 as floats. A float mask is added to the scores, and then a 1 would hide nothing. If 1 means that a query "
            "may look, give mask.bool(); if 0 means it, give mask == 0."
        )
