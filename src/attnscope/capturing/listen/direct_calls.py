"""Calls of torch's scaled_dot_product_attention, and of a module's own softmax: read as attention calls, and edited.

The axes of a call are those of the module that makes it: windows, frames and crops stand before the heads, or batch and heads
are one axis. An edit is made in [B, H, T, D], and laid back into the axes that the module has.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.attention.functions import cap
from attnscope.capturing.listen.attention_interface import AttentionCall, visit_of
from attnscope.capturing.listen.axes import in_axes
from attnscope.errors import CaptureError

SDPA = "F.scaled_dot_product_attention"
SOFTMAX = "softmax"


def run_attention(module: nn.Module, func: Any, args: Any, kwargs: Any) -> tuple[Any, AttentionCall | None]:
    """torch's own result, edited where an editor wants it, and the call as the module sees it; None for tensors that have no such
    axes."""
    call = read_attention(module, None, *args, **kwargs)
    visit = None if call is None else visit_of(call)
    if call is None or visit is None:
        result = func(*args, **kwargs)
        return result, read_attention(module, result, *args, **kwargs)
    names = ("query", "key", "value")
    bound = {**dict(zip((*names, "attn_mask", "dropout_p", "is_causal"), args, strict=False)), **kwargs}
    given = [bound[name] for name in names]
    read = call.query, call.key, call.value
    made = visit.inputs(*read)
    inputs = [
        old if new is one else new.reshape(*old.shape[:-2], *new.shape[-2:]) if old.numel() == new.numel() else new
        for old, one, new in zip(given, read, made, strict=True)
    ]
    edited = {**bound, **dict(zip(names, inputs, strict=True))}
    result = func(**edited)
    after = read_attention(module, result, **edited)
    assert after is not None

    def untouched() -> Tensor:
        found = read_attention(module, func(**bound), **bound)
        assert found is not None
        return found.output

    after, _ = visit.output(after, None, untouched)
    return after.output.transpose(1, 2).reshape(result.shape), after


def edit_product(
    call: AttentionCall | None, module: nn.Module, weights: Tensor, lay: Callable[[Tensor], Tensor], result: Tensor
) -> tuple[Tensor, AttentionCall | None]:
    """The product of a module's own softmax with its values, edited where an editor wants it.

    `call`: the attention around it, None where it could not be followed. `weights`: [B, H, Q, K]. `lay`: of the product, the axes
    [B, H, Q, Dv]; a view. Raises CaptureError where it is to be edited and cannot be.
    """
    if call is None:
        shown = AttentionCall(module, SOFTMAX, weights, weights.mT, weights.mT, None, {}, weights, direct=True)
        if visit_of(shown) is None:
            return result, None
        raise CaptureError(
            f"{type(module).__name__} computes its softmax by itself, in a way that could not be followed back to q and k, so its heads cannot be "
            'edited. Load the model with attn_implementation="sdpa" or "eager" where it has these.'
        )
    if (visit := visit_of(call)) is None:
        return result, call
    made = visit.inputs(call.query, call.key, call.value)
    old = call.output
    after = replace(call, query=made[0], key=made[1], value=made[2])
    after = replace(after, output=_run_again(call, after), given=None)
    after, _ = visit.output(after, None, lambda: old)
    changed = [
        h
        for h in range(old.shape[2])
        if after.output[:, :, h] is not old[:, :, h] and not torch.equal(after.output[:, :, h], old[:, :, h])
    ]
    written = result.clone()
    view = lay(written)
    if view.untyped_storage().data_ptr() != written.untyped_storage().data_ptr():
        raise CaptureError(
            f"{type(module).__name__} lays its heads out in a way that cannot be written into, so its heads cannot be edited. Load the model with "
            'attn_implementation="sdpa" or "eager" where it has these.'
        )
    view[:, changed] = after.output[:, :, changed].transpose(1, 2).to(view.dtype)
    return written, replace(after, given=lay(written).transpose(1, 2))


def _run_again(before: AttentionCall, after: AttentionCall) -> Tensor:
    """z where q, k or v of a head were changed, [B, Q, H, Dv]; that of the others as it was."""
    pairs = ((before.query, after.query), (before.key, after.key), (before.value, after.value))
    if all(one is other for one, other in pairs):
        return before.output
    heads = [h for h in range(before.query.shape[1]) if any(not torch.equal(a[:, h], b[:, h]) for a, b in pairs)]
    q, k, v = (x[:, heads].float() for x in (after.query, after.key, after.value))
    scores = cap(q @ k.mT * after.options["scaling"], after.options.get("softcap"))
    if (added := after.attention_mask) is not None:
        scores = scores + (added if added.shape[1] == 1 else added[:, heads])
    output = before.output.clone()
    output[:, :, heads] = (scores.softmax(-1) @ v).transpose(1, 2).to(output.dtype)
    return output


def read_attention(
    module: nn.Module,
    output: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> AttentionCall | None:
    """torch's own signature; without an `output` its place holds the query. None for tensors that have no such axes (nested ones)."""
    if query.is_nested or key.is_nested or value.is_nested:
        return None
    if query.ndim > 4:  # windows, axes and frames are rows of the batch
        leading = query.shape[:-3]
        key, value = (x.expand(*leading, *x.shape[-3:]) for x in (key, value))
        if attn_mask is not None:
            attn_mask = attn_mask.expand(*leading, *((1,) * (3 - attn_mask.ndim)), *attn_mask.shape[-3:])
    elif attn_mask is not None and query.ndim == 4:
        attn_mask = attn_mask.reshape((1,) * (4 - attn_mask.ndim) + tuple(attn_mask.shape))
    parts = [in_axes(x, module) for x in (query, key, value, query if output is None else output)]
    mask = attn_mask if attn_mask is None else in_axes(torch.atleast_2d(attn_mask), module)
    q, k, v, z = parts
    if q is None or k is None or v is None or z is None or (mask is None) != (attn_mask is None):
        return None
    options = {"is_causal": is_causal, "scaling": scale, "dropout": dropout_p}
    return AttentionCall(module, SDPA, q, k, v, mask, options, z.transpose(1, 2), direct=True)
