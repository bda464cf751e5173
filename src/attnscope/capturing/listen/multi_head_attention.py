"""Looks inside one call of torch's multi_head_attention_forward, the function behind nn.MultiheadAttention.

A function mode is off inside its own handler, and within this function it would only be asked for it again. So torch's
own code runs with three of its global names replaced: the two that make q, k and v, and the linear layer that takes the
joined heads. Nothing else changes, and nothing is patched that another thread could see.
"""

from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.capturing.listen.attention_interface import AttentionCall, Visit, visit_of
from attnscope.tracing.output_projection import Projection

MULTI_HEAD = "F.multi_head_attention_forward"
_WATCHED = ("_in_projection_packed", "_in_projection", "linear")


def run(function: Any, args: Any, kwargs: Any, module: nn.Module) -> tuple[Any, AttentionCall | None]:
    """The function's own result, edited where an editor wants it, and what was seen on the way (None where another torch is
    built otherwise). `module`: that calls it."""
    code = getattr(function, "__code__", None)
    if code is None or not set(_WATCHED) <= set(code.co_names):
        return function(*args, **kwargs), None
    bound = signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    seen = _Seen(module, bound.arguments)
    names = dict(function.__globals__)

    def remember(projection: Any) -> Any:
        return lambda *args: seen.projected(*projection(*args))

    def linear(x: Tensor, *parameters: Any) -> Tensor:
        x = seen.joined(x)
        return seen.wrote(function.__globals__["linear"](x, *parameters))

    names |= {name: remember(names[name]) for name in _WATCHED[:2]}
    names |= {"linear": linear, "has_torch_function": lambda _: False}
    inside = FunctionType(code, names, function.__name__, function.__defaults__, function.__closure__)
    inside.__kwdefaults__ = function.__kwdefaults__
    result = inside(*args, **kwargs)
    return result, seen.call


class _Seen:
    """One run, as it goes by. `query`: [B, H, Q, D]; `key`, `value`: [B, H, K, D]; the mask: None, or [B or 1, H or 1, Q or 1, K]; the
    output: [B, Q, H, D], and what the output layer made of it, [B, Q, M]."""

    def __init__(self, module: nn.Module, given: Mapping[str, Any]) -> None:
        self._module, self._given = module, given
        self._visit: Visit | None = None
        self.call: AttentionCall | None = None

    def projected(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v as the layers made them, [T, B, E] each; returned as attention gets them."""
        if self.call is not None:
            return q, k, v
        heads, batch = self._given["num_heads"], q.shape[1]
        query, key, value = (x.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3) for x in (q, k, v))
        options, mask = _options(self._given, q, k, heads, batch)
        self.call = AttentionCall(
            self._module, MULTI_HEAD, query, key, value, mask, options, query, True, self._projection
        )
        if (visit := visit_of(self.call)) is None:
            return q, k, v
        self._visit, made = visit, visit.inputs(query, key, value)
        self.call = replace(self.call, query=made[0], key=made[1], value=made[2])
        q, k, v = (
            old if new is one else new.permute(2, 0, 1, 3).flatten(2)
            for old, one, new in zip((q, k, v), (query, key, value), made, strict=True)
        )
        return q, k, v

    @property
    def _projection(self) -> Projection:
        return Projection(self._given["out_proj_weight"], self._given["out_proj_bias"])

    def joined(self, x: Tensor) -> Tensor:
        """The heads' outputs side by side, [Q · B, E]; returned as the output layer gets them."""
        if self.call is None:
            return x
        heads, batch = self.call.query.shape[1], self.call.query.shape[0]
        output = x.unflatten(-1, (heads, -1)).unflatten(0, (-1, batch)).transpose(0, 1)
        self.call = replace(self.call, output=output)
        if self._visit is None:
            return x

        self.call, _ = self._visit.output(self.call, None, None)  # torch runs once
        return self.call.output.transpose(0, 1).reshape(x.shape)

    def wrote(self, made: Tensor) -> Tensor:
        """What the output layer made, [Q · B, M]."""
        if self.call is not None:
            batch = self.call.query.shape[0]
            written = made.unflatten(0, (-1, batch)).transpose(0, 1)
            self.call = replace(self.call, written=written)
            if self._visit is not None:
                self._visit.wrote(self._projection, written)
        return made


def _options(
    given: Mapping[str, Any], q: Tensor, k: Tensor, heads: int, batch: int
) -> tuple[dict[str, Any], Tensor | None]:
    """The options of the call, and its mask. `q`, `k`: [T, B, E]."""
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
    mask = None if causal else _merged(given["attn_mask"], given["key_padding_mask"], batch, heads, q.dtype)
    return options, mask


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
