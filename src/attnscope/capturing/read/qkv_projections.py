"""Finds W_q, W_k and W_v by data: the linear layers whose outputs q, k and v are.

No table of names: from q (or from what went into the rotary embedding) back through the storage that it shares with the
output of a layer, over a norm where one stands between (Qwen 3). Which outputs of the layer belong to which head is
read from the strides, so one fused layer in any order is found as well as three. Where the model multiplied q itself
(OPT) the storage is another one, and values decide. Whatever is found must make q, k or v again out of its input; what
does not (a clip, an adapter, quantised weights) rightly has no W.
"""

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.capturing.listen.detect import attends_itself
from attnscope.tracing.head_projection import HeadProjection
from attnscope.tracing.modules import is_linear, is_matrix
from attnscope.tracing.receipts import TOLERANCE

REMEMBERED = 16  # layers that ran since the attention module was entered: a handful, for a few projections and norms


@dataclass(frozen=True)
class Made:
    """One layer's run."""

    path: str
    module: nn.Module
    taken: Tensor
    given: Tensor


@dataclass(frozen=True)
class Origin:
    """Where q, k or v came from. `x`: the layer's input, [B, T, M]; `before`: what a norm was given, [B, H, T, D]."""

    projection: HeadProjection
    x: Tensor | None
    before: Tensor | None = None


class OriginFinder:
    """Remembers, per thread, the layers that ran since the latest attention module was entered."""

    def __init__(self, model: nn.Module) -> None:
        self._local = threading.local()
        self._handles = []
        for path, module in model.named_modules():
            name = type(module).__name__.lower()
            if "attention" in name or "attn" in name or attends_itself(module):
                self._handles.append(module.register_forward_pre_hook(self._enter))
            if next(module.children(), None) is None:
                self._handles.append(module.register_forward_hook(self._remember(path)))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def of(
        self, query: Tensor, key: Tensor, value: Tensor, pre_rotary: tuple[Tensor, Tensor] | None
    ) -> dict[str, Origin]:
        """The origins of one call's "q", "k" and "v", those that were found. `query`: [B, H, Q, D]; key, value:
        [B, Hkv, K, D]; `pre_rotary`: q and k as they went into the rotary embedding."""
        made = list(getattr(self._local, "made", None) or ())
        self._local.made = None  # nothing is held until the next attention module
        q, k = pre_rotary or (query, key)
        targets = {"q": q, "v": value} | ({"k": k} if k.shape[2] == key.shape[2] else {})
        found = {name: _origin(target, made) for name, target in targets.items()}
        return {name: origin for name, origin in found.items() if origin is not None}

    def _enter(self, *_: Any) -> None:
        self._local.made = deque(maxlen=REMEMBERED)

    def _remember(self, path: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            made = getattr(self._local, "made", None)
            if made is not None and inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                made.append(Made(path, module, inputs[0].detach(), output.detach()))

        return hook


def sources(found: dict[str, Origin], x: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """(x, x of the keys): what q is made of, and k and v where that is something else. `x`: the module's own input."""
    q, k = found.get("q"), found.get("k") or found.get("v")
    x = x if q is None else q.x
    keys = None if k is None else k.x
    return x, None if keys is None or (x is not None and keys.data_ptr() == x.data_ptr()) else keys


def _origin(target: Tensor, made: Sequence[Made]) -> Origin | None:
    """Where `target`, [B, H, T, D], came from."""
    for place in range(len(made) - 1, -1, -1):
        one = made[place]
        if one.given.untyped_storage().data_ptr() != target.untyped_storage().data_ptr():
            continue
        if is_linear(one.module):
            return _checked(target, one, _layout(target, one))
        if (before := _in_axes_of(target, one.taken)) is None:
            return None
        inner = _origin(before, made[:place])
        if inner is None:
            return None
        named = f"{one.path.rsplit('.', 1)[-1]} ({type(one.module).__name__})"
        return replace(inner, projection=replace(inner.projection, norm=named), before=before)
    heads, size = target.shape[1], target.shape[3]
    for one in reversed(made):
        if is_linear(one.module) and one.given.ndim == 3 and one.given.shape[1:] == (target.shape[2], heads * size):
            found = _checked(target, one, (0, size, 1))
            if found is not None:
                return found
    return None


def _in_axes_of(target: Tensor, taken: Tensor) -> Tensor | None:
    """`taken`, with the axes of [B, H, T, D]; None where it has another number of values."""
    batch, heads, tokens, size = target.shape
    if tuple(taken.shape) == (batch, heads, tokens, size) and heads != tokens:
        return taken
    if tuple(taken.shape) == (batch, tokens, heads, size):
        return taken.transpose(1, 2)
    if tuple(taken.shape) == (batch, tokens, heads * size):
        return taken.unflatten(-1, (heads, size)).transpose(1, 2)
    return taken if tuple(taken.shape) == (batch, heads, tokens, size) else None


def _layout(target: Tensor, one: Made) -> tuple[int, int, int] | None:
    """(first, head_step, size_step): which outputs of the layer are number d of head h, read from the strides."""
    given = one.given
    unit, outputs = given.stride(-1), given.shape[-1]
    tokens = target.shape[2]
    if given.ndim != 3 or given.shape[1] != tokens or (tokens > 1 and target.stride(2) != given.stride(1)):
        return None
    first = int(target.storage_offset() - given.storage_offset()) // unit
    head_step = target.stride(1) // unit if target.shape[1] > 1 else 0
    size_step = target.stride(3) // unit if target.shape[3] > 1 else 1
    last = first + (target.shape[1] - 1) * head_step + (target.shape[3] - 1) * size_step
    return (first, head_step, size_step) if first >= 0 and last < outputs else None


def _checked(target: Tensor, one: Made, layout: tuple[int, int, int] | None) -> Origin | None:
    """The origin, if the layer's input through this part of it gives `target`, or a fixed multiple of it."""
    module: Any = one.module
    weight = module._parameters.get("weight")
    if layout is None or one.taken.ndim != 3 or not is_matrix(weight) or weight.device != one.taken.device:
        return None
    projection = HeadProjection(
        module.weight,
        getattr(module, "bias", None),
        target.shape[1],
        target.shape[3],
        *layout,
        flipped=not isinstance(module, nn.Linear),
        path=one.path,
    )
    sample = torch.linspace(0, target.shape[2] - 1, min(4, target.shape[2])).round().long().to(target.device)
    x = one.taken[0, sample]
    made = torch.stack([projection.apply(x, head) for head in range(projection.heads)]).double()  # [H, 4, D]
    wanted = target[0][:, sample].double()
    size = float((made * made).sum())
    if not (size > 0 and math.isfinite(size)):
        return None
    factor = float((made * wanted).sum()) / size
    tolerance = TOLERANCE.get(target.dtype, 1e-4)
    error = float((made * factor - wanted).abs().max())
    if not error <= tolerance * max(float(wanted.abs().max()), 1e-30):
        return None
    for usual in (1.0, target.shape[3] ** -0.5):
        if abs(factor / usual - 1) < tolerance:
            factor = usual
    return Origin(replace(projection, factor=factor), one.taken)
