"""q, k and v from anywhere."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.errors import InputError
from attnscope.tracing.from_tensors.as_tensor import as_tensor
from attnscope.tracing.masks import NO_MASK, BiasRule, MaskRule, bias_rule_of, causal_rule, rule_of, split_additive
from attnscope.tracing.site import Site


def read_qkv(query: Any, key: Any, value: Any, mask: Any, scaling: Any, is_causal: bool) -> Site:
    """A site made of your q, k and v. Raises InputError for shapes and numbers that do not fit."""
    q, k, v = (_as_heads(name, x) for name, x in (("query", query), ("key", key), ("value", value)))
    if q.shape[-1] != k.shape[-1] or k.shape[:2] != v.shape[:2] or q.shape[0] % k.shape[0]:
        raise InputError(
            "query [H, Q, D], key [Hkv, K, D] and value [Hkv, K, Dv] do not fit: "
            f"they are {list(q.shape)}, {list(k.shape)} and {list(v.shape)} (H must be a multiple of Hkv)."
        )
    rule, bias = _read_mask(mask, len(q), q.shape[1], k.shape[1])
    if is_causal:
        if mask is not None:
            raise InputError("mask and is_causal were both given; pass one of them.")
        rule = causal_rule(q.shape[1], k.shape[1])
    crossed = q.shape[1] != k.shape[1]
    return Site(
        q,
        k,
        v,
        q.shape[-1] ** -0.5 if scaling is None else _read_scaling(scaling),
        path="from_qkv",
        mask=rule,
        position_bias=bias,
        kind="cross" if crossed else "self",
        stack="cross" if crossed else None,
        note="the tensors were handed in, so there is no model's output to compare with",
    )


def _as_heads(name: str, tensor: Any) -> Float[Tensor, "H T D"]:
    x = as_tensor(name, tensor).detach()
    if x.ndim == 4 and x.shape[0] == 1:
        x = x[0]
    if x.ndim == 2:
        x = x[None]
    if x.ndim != 3 or 0 in x.shape:
        raise InputError(
            f"{name} has shape {list(torch.as_tensor(tensor).shape)}; expected (T, D), (H, T, D) or (1, H, T, D), without "
            "empty axes. Of a batch of several, pass one row: x[i]."
        )
    if x.is_complex():
        raise InputError(
            f"{name} has {x.dtype} numbers; expected real ones. Of vectors whose pairs of dimensions are written as complex numbers "
            "(rotary embedding), give torch.view_as_real(x).flatten(-2)."
        )
    return x if x.is_floating_point() else x.float()


def _read_scaling(scaling: Any) -> float:
    try:
        number = math.nan if isinstance(scaling, (bool, str)) else float(scaling)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(
            f"expected scaling as a finite number that q · k is multiplied by (None: 1/√D), got {scaling!r}. A scaling of √D is a "
            "division by it: give 1 / √D."
        )
    return number


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
