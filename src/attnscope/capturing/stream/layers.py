"""Norms and linear layers on the way of a followed tensor. `trail`: the StreamTrail that follows it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from attnscope.capturing.stream.functions import argument
from attnscope.capturing.stream.layout import HEADS, PROJECTED, STREAM, Ref
from attnscope.tracing.frozen import Centre, FrozenStep, Linear, Scale
from attnscope.tracing.modules import is_matrix
from attnscope.tracing.stream import Label, Node

AFTER_LINEAR = {STREAM: PROJECTED, PROJECTED: PROJECTED, HEADS: HEADS}


@dataclass(frozen=True, eq=False)
class Operand:
    """What goes into a sum or product: a number or tensor, what is known of it, and what it is if it is a write."""

    value: Any
    ref: Ref | None
    label: Callable[[], Label]


def _layer_norm(trail: Any, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
    weight, bias = argument(args, kwargs, 2, "weight"), argument(args, kwargs, 3, "bias")
    epsilon = argument(args, kwargs, 4, "eps", 1e-5)
    _norm(trail, result, operands, args, kwargs, weight, bias, epsilon, True)


def _rms_norm(trail: Any, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
    weight, epsilon = argument(args, kwargs, 2, "weight"), argument(args, kwargs, 3, "eps")
    epsilon = torch.finfo(operands[0].value.dtype).eps if epsilon is None else epsilon
    _norm(trail, result, operands, args, kwargs, weight, None, epsilon, False)


def _norm(
    trail: Any,
    result: Any,
    operands: list[Operand],
    args: Any,
    kwargs: Any,
    weight: Any,
    bias: Any,
    epsilon: float,
    centres: bool,
) -> None:
    main = operands[0]
    ref, shape = main.ref, argument(args, kwargs, 1, "normalized_shape")
    if ref is None or tuple(shape) != tuple(main.value.shape[-1:]) or (ref.joined and main.value.ndim != 2):
        return trail.lost(result)
    if ref.flow in (STREAM, PROJECTED):
        trail.saw(ref, main.value)
    x = trail.keep(ref, main.value).float()
    spread = x.var(-1, keepdim=True, correction=0) if centres else x.square().mean(-1, keepdim=True)
    node, width = ref.node, ref.node.width
    steps: list[FrozenStep] = []
    if centres:
        steps.append(Centre())
    steps.append(Scale((spread + epsilon).rsqrt()))
    if weight is not None:
        steps.append(Scale(weight.detach()[None, None]))
    for step in steps[:-1]:
        node = Node(trail.next(), width, ((node, step),), flow=ref.flow)
    if bias is None:
        return trail.follow(result, ref.on(node), steps[-1])
    trail.sum_of(result, ref, ref.flow, (node, steps[-1]), (trail.constant(bias, ref), None))
    return None


def _linear(trail: Any, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
    weight, bias = argument(args, kwargs, 1, "weight"), argument(args, kwargs, 2, "bias")
    _project(trail, result, operands[0], weight, bias, False)


def _addmm(trail: Any, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
    if len(args) == 3 and not kwargs:  # GPT-2's Conv1D
        _project(trail, result, operands[1], args[2], args[0], True)
    else:
        trail.lost(result)


def _matmul(trail: Any, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
    if len(args) == 2:
        first, second = operands[0].ref, operands[1].ref
        if first is not None and second is not None:
            trail.scored = first, second, None
        _project(trail, result, operands[0], args[1], None, True)


def _project(trail: Any, result: Any, main: Operand, weight: Any, bias: Any, flipped: bool) -> None:
    ref = main.ref
    flow = None if ref is None else AFTER_LINEAR.get(ref.flow)
    # numbers that are packed (torchao), or lie elsewhere, cannot be multiplied again
    plain = is_matrix(weight) and weight.ndim == 2 and trail.of(weight) is None
    if ref is None or flow is None or not plain or main.value.ndim - 1 in (ref.batch, ref.time):
        return trail.lost(result)
    step = Linear(weight.detach(), flipped)
    if bias is None:
        return trail.follow(result, ref, step, flow)
    wide = bias.detach().expand(*ref.node.width[:-1], len(bias))
    trail.sum_of(result, ref, flow, (ref.node, step), (trail.constant(wide, ref), None))
    return None


LAYERS: dict[str, Callable[..., None]] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "linear": _linear,
    "addmm": _addmm,
    "matmul": _matmul,
}
