"""Looks inside one call of torch's multi_head_attention_forward, the function behind nn.MultiheadAttention.

A function mode is off inside its own handler, and within this function it would only be asked for it again. So torch's
own code runs with three of its global names replaced: the two that make q, k and v, and the linear layer that takes the
joined heads. Nothing else changes, and nothing is patched that another thread could see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from attnscope.tracing.output_projection import Projection

_WATCHED = ("_in_projection_packed", "_in_projection", "linear")


@dataclass(frozen=True)
class Seen:
    """`query`: [B, H, Q, D]; `key`, `value`: [B, H, K, D]; `mask`: None, or [B or 1, H or 1, Q or 1, K]; `output`: [B,
    Q, H, D]; `written`: what the output layer made of it, [B, Q, M].
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    options: dict[str, Any]
    output: Tensor
    projection: Projection
    written: Tensor


def run(function: Any, args: Any, kwargs: Any) -> tuple[Any, Seen | None]:
    """The function's own result, and what was seen on the way (None where another torch is built otherwise)."""
    code = getattr(function, "__code__", None)
    if code is None or not set(_WATCHED) <= set(code.co_names):
        return function(*args, **kwargs), None
    made: list[tuple[Tensor, Tensor, Tensor]] = []
    joined: list[tuple[Tensor, Tensor]] = []
    names = dict(function.__globals__)

    def remember(projection: Any) -> Any:
        def project(*args: Any) -> Any:
            made.append(projection(*args))
            return made[-1]

        return project

    def linear(x: Tensor, *parameters: Any) -> Tensor:
        joined.append((x, function.__globals__["linear"](x, *parameters)))
        return joined[-1][1]

    names |= {name: remember(names[name]) for name in _WATCHED[:2]}
    names |= {"linear": linear, "has_torch_function": lambda _: False}
    inside = FunctionType(code, names, function.__name__, function.__defaults__, function.__closure__)
    inside.__kwdefaults__ = function.__kwdefaults__
    result = inside(*args, **kwargs)
    bound = signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return result, _seen(bound.arguments, *made[0], *joined[0]) if made and joined else None


def _seen(given: Mapping[str, Any], q: Tensor, k: Tensor, v: Tensor, joined: Tensor, made: Tensor) -> Seen:
    """`q`, `k`, `v`: [T, B, E]; `joined`: [Q · B, E]; `made` of it: [Q · B, M]."""
    heads, batch = given["num_heads"], q.shape[1]
    query, key, value = (x.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3) for x in (q, k, v))
    output = joined.unflatten(-1, (heads, -1)).unflatten(0, (-1, batch)).transpose(0, 1)
    causal = given["is_causal"] and given["key_padding_mask"] is None and not given["need_weights"]
    options = {
        "is_causal": causal,
        "scaling": None,
        "dropout": given["dropout_p"] if given["training"] else 0.0,
        "cross": len(q) != len(k) or (given["query"] is not given["key"] and given["key"] is given["value"]),
    }
    # Keys that belong to no token. Zeros are a logit of 0 that joins the softmax, which is a sink; torch's causal mask
    # hides it. What the others do depends on the query: they are named, and refused where they change the output.
    if given["add_zero_attn"] and not (causal and len(q) <= len(k)):
        options["s_aux"] = torch.zeros(heads, device=q.device)
    options |= {n: given[n] for n in ("bias_k", "bias_v", "static_k", "static_v") if given[n] is not None}
    mask = None if causal else _merged(given["attn_mask"], given["key_padding_mask"], batch, heads, query.dtype)
    projection = Projection(given["out_proj_weight"], given["out_proj_bias"])
    written = made.unflatten(0, (-1, batch)).transpose(0, 1)
    return Seen(query, key, value, mask, options, output, projection, written)


def _merged(attn_mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, dtype: Any) -> Tensor | None:
    """Both masks as one, additive; True means "not this one" in each of them."""
    parts = []
    if attn_mask is not None:
        parts.append(attn_mask[None, None] if attn_mask.ndim == 2 else attn_mask.unflatten(0, (batch, heads)))
    if padding is not None:
        parts.append(torch.atleast_2d(padding)[:, None, None])
    additive = [
        torch.zeros(part.shape, dtype=dtype, device=part.device).masked_fill_(part, -torch.inf)
        if part.dtype == torch.bool
        else part
        for part in parts
    ]
    return None if not additive else additive[0] if len(additive) == 1 else additive[0] + additive[1]
