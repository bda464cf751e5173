"""The trail: a TorchFunctionMode that follows the residual stream through the functions of a forward pass.

No class name tells what is what. The stream begins as the input of a stack's first block. A tensor that is added to it is a
write. What is multiplied with it, such as the 1 / σ of a norm, is frozen at its value. Each tensor that is followed has a *flow*:

    stream      the residual stream, or a norm of it
    heads       the z of one attention, on its way through W_O (or a gate, a norm, an adapter)
    projected   the stream after a linear layer: q and k, logits, or a part of an MLP
    mixed       a sum of several writes that has not met the stream yet (blocks in parallel)
    capped      logits after softcap · tanh(logits / softcap); the node is that of the logits before it

A function that is not in the table ends the trail of its result. Then the result is a write as a whole, if it is added to
the stream, and the receipt shows whether the sum is right.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from attnscope.capturing.listen.attention_interface import within_interface
from attnscope.capturing.stream.functions import CHANGES_IN_PLACE, TABLE, argument
from attnscope.capturing.stream.layers import LAYERS, Operand
from attnscope.capturing.stream.layout import CAPPED, HEADS, IN_TANH, MIXED, PROJECTED, STREAM, Ref
from attnscope.capturing.stream.moves import MOVES
from attnscope.capturing.stream.room import ALL, Room
from attnscope.tracing.frozen import Centre, Expand, FrozenStep, Mean, Scale
from attnscope.tracing.stream import Join, Label, Node

AFTER_PICKING = frozenset({"linear", "same", "dropout"})  # what is followed of the one position that a classifier reads


class StreamTrail(TorchFunctionMode):
    """Follows the tensors that `begin` and `heads` name, in the thread that entered it.

    `label`: says what a tensor is that meets the stream as a whole; of None, what a bias is that is added now. `room`: how much is
    kept; `full`: it did not do, and nothing is followed any more. `joins`: what was added to a stream, in order. `scored`: q, k and (None: not known) v of the product that
    was made last.
    """

    def __init__(self, label: Callable[[Tensor | None], Label], room: Room = ALL) -> None:
        super().__init__()
        self._label, self._positions = label, None if room.positions is None else list(room.positions)
        self._most, self._kept = room.most, 0  # bytes
        self._waiting: tuple[Label, int] | None = None
        self.scored: tuple[Ref | None, Ref | None, Ref | None] = (None, None, None)
        self._refs: Any = WeakTensorKeyDictionary()
        self._serial = 0
        self.joins: list[Join] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = TABLE.get(func)
        if name is None or not len(self._refs) or within_interface() or self.full:
            return func(*args, **kwargs)
        handle = getattr(self, f"_{name}", None)
        operands = [self._operand(one, func in CHANGES_IN_PLACE and place == 0) for place, one in enumerate(args[:2])]
        if func is F.scaled_dot_product_attention:
            self.scored = operands[0].ref, operands[1].ref, self.of(args[2] if len(args) > 2 else None)
        result = func(*args, **kwargs)
        if name not in AFTER_PICKING and any(one.ref is not None and one.ref.picked is not None for one in operands):
            self.lost(result)
        elif self._waiting is not None:
            if isinstance(result, Tensor) and result.ndim == 4:
                self.heads(result, *self._waiting)
            self._waiting = None
        elif handle is not None:
            if len(operands) < 2 and "other" in kwargs:
                operands.append(self._operand(kwargs["other"], False))
            handle(result, operands, args, kwargs)
        elif name in LAYERS:
            LAYERS[name](self, result, operands, args, kwargs)
        elif name in MOVES:
            MOVES[name](self, result, args, kwargs)
        return result

    # --- what others say ------------------------------------------------------------------------------------------

    def begin(self, x: Tensor, label: Label) -> Ref:
        """`x`, [B, T, M], begins a stream."""
        return self._begin(x, label, STREAM, 1)

    def heads(self, z: Tensor, label: Label, time: int = 1) -> None:
        """`z`, [B, Q, H, Dv], or [B, H, Q, Dv] with `time` 2, is what the heads of an attention made."""
        self._begin(z, label, HEADS, time)

    def next_is(self, label: Label) -> None:
        """What the function that runs now returns, [B, H, Q, Dv], is what the heads of an attention made."""
        self._waiting = label, 2

    def of(self, x: Any) -> Ref | None:
        """What is known of a tensor."""
        return self._refs.get(x) if isinstance(x, Tensor) else None

    def keep(self, ref: Ref, x: Tensor) -> Tensor:
        """The numbers of `x`, which has the axes of `ref`, at the kept positions, [B, P, *W]: a copy, for the model may write
        into it."""
        return self._cut(ref.canonical(x.detach()), ref.size[1])

    def forget(self) -> None:
        """Nothing is followed any more."""
        self._refs.clear()
        self.joins, self._kept = [], 0

    @property
    def full(self) -> bool:
        """Whether what is kept takes more than it may."""
        return self._most is not None and self._kept > self._most

    # --- nodes ----------------------------------------------------------------------------------------------------

    def _begin(self, x: Tensor, label: Label, flow: str, time: int) -> Ref:
        size = x.shape[0], x.shape[time]
        width = tuple(s for axis, s in enumerate(x.shape) if axis not in (0, time))
        ref = Ref(Node(self.next(), width, label=label, flow=flow), flow, size, 0, time, label)
        ref.node.value = self.keep(ref, x)
        self._refs[x] = ref
        return ref

    def next(self) -> int:
        """The serial number of a new node."""
        self._serial += 1
        return self._serial

    def _cut(self, x: Tensor, length: int) -> Tensor:
        """[B or 1, T or 1, *W] at the kept positions of `length`: a copy."""
        every = self._positions is None or (x.shape[1] == 1 and length > 1)
        kept = x.clone() if every else x[:, self._positions]
        self._kept += kept.nbytes
        if self.full:
            self._refs.clear()
            self.joins = []
        return kept

    def _operand(self, value: Any, overwritten: bool) -> Operand:
        if not isinstance(value, Tensor):
            return Operand(value, None, lambda: self._label(None))
        if not overwritten:
            return Operand(value, self.of(value), lambda: self._label(value))
        label = self._label(value)  # x += y: what x was is needed
        return Operand(value.detach().clone(), self.of(value), lambda: label)

    def follow(
        self,
        result: Any,
        ref: Ref,
        step: FrozenStep | None,
        flow: str | None = None,
        axes: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`result` is a `step` away from a tensor; without one it is the same in other axes."""
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return
        after = ref.on(ref.node, flow=flow or ref.flow, **axes)
        if step is not None:
            width = tuple(result.shape[axis] for axis in after.trailing(result.ndim))
            after = after.on(Node(self.next(), width, ((ref.node, step),), flow=after.flow))
        self._refs[result] = after

    def sum_of(self, result: Tensor, ref: Ref, flow: str, *inputs: tuple[Node, FrozenStep | None], **axes: int) -> Node:
        """`result` is the sum of `inputs`, in the axes of `ref` or in others."""
        after = ref.on(ref.node, flow=flow, **axes)
        width = tuple(result.shape[axis] for axis in after.trailing(result.ndim))
        after = after.on(Node(self.next(), width, inputs, flow=flow))
        self._refs[result] = after
        return after.node

    def lost(self, result: Any) -> None:
        """The trail of `result` ends."""
        for one in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(one, Tensor) and one in self._refs:
                del self._refs[one]

    def constant(self, value: Tensor, ref: Ref) -> Node:
        """A leaf for a bias, [*W], that is added to a tensor."""
        label = ref.label.as_bias() if ref.label is not None and ref.flow == HEADS else self._label(None)
        return Node(self.next(), tuple(value.shape), value=value.detach()[None, None], label=label)

    # --- sums -----------------------------------------------------------------------------------------------------

    def _add(self, result: Any, operands: list[Operand], args: Any, kwargs: Any, sign: float = 1.0) -> None:
        first, second = operands
        sign *= float(kwargs.get("alpha", 1))
        if first.ref is None and second.ref is None:
            return self.lost(result)
        if first.ref is None or (second.ref is not None and second.ref.flow == STREAM != first.ref.flow):
            return self._sum(result, second, first, sign, 1.0)
        return self._sum(result, first, second, 1.0, sign)

    def _sub(self, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
        self._add(result, operands, args, kwargs, -1.0)

    def _sum(self, result: Any, main: Operand, other: Operand, factor: float, sign: float) -> None:
        """`factor` · main + `sign` · other; `main` is followed, and is the stream if one of them is."""
        ref = main.ref
        assert ref is not None
        if not isinstance(result, Tensor) or main.value.shape != result.shape or ref.flow in (IN_TANH, CAPPED):
            return self.lost(result)
        term = self._term(ref, other, result)
        if term is None:
            return self.lost(result)
        node, flow = term
        width = ref.node.width
        second: FrozenStep | None = None if sign == 1 else Scale(sign)
        if node.width != width:  # the mean that is taken away
            if len(node.width) != len(width) or sign == 1:
                return self.lost(result)
            wide = Node(self.next(), width, ((node, Expand(node.width, width)),))
            node = wide
        inputs = (ref.node, None if factor == 1 else Scale(factor)), (node, second)
        if ref.flow != STREAM or flow == STREAM:
            self.sum_of(result, ref, ref.flow if flow in (ref.flow, "constant") else MIXED, *inputs)
        else:
            after = self.sum_of(result, ref, STREAM, *inputs)
            self.joins.append(Join(ref.node, node, after))
        return None

    def _term(self, ref: Ref, other: Operand, result: Tensor) -> tuple[Node, str] | None:
        """What is added to a tensor, as a node, and its flow: "constant" for a bias. None where that cannot be followed."""
        theirs = other.ref
        if theirs is not None:
            if (theirs.batch, theirs.time, theirs.size) != (ref.batch, ref.time, ref.size):
                return None
            same = theirs.flow == ref.flow and (ref.flow != HEADS or theirs.label is ref.label)
            if same or theirs.flow in (HEADS, MIXED) or (theirs.flow == STREAM):
                return theirs.node, theirs.flow if same else MIXED
        value = other.value if isinstance(other.value, Tensor) else torch.tensor(float(other.value))
        aligned = ref.aligned(value, result.ndim)
        if aligned is None:
            return None
        constant = aligned.shape[:2] == (1, 1) and value.ndim < result.ndim
        if constant:
            wide = aligned[0, 0].expand(ref.node.width)
            return self.constant(wide, ref), "constant"
        if ref.flow == PROJECTED:
            return None
        label = other.label()
        if theirs is not None and (raw := self._before_norm(theirs.node, label)) is not None:
            return raw, MIXED
        wide = aligned.expand(*aligned.shape[:2], *ref.node.width)
        return Node(self.next(), ref.node.width, value=self._cut(wide, ref.size[1]).detach(), label=label), MIXED

    def _before_norm(self, node: Node, label: Label) -> Node | None:
        """What was written, where a norm of its own followed: a leaf of what the norm was given, and the frozen norm."""
        steps: list[FrozenStep] = []
        while node.seen is None and len(node.inputs) == 1 and isinstance(node.inputs[0][1], (Scale, Centre)):
            steps.append(node.inputs[0][1])
            node = node.inputs[0][0]
        if node.seen is None or not steps:
            return None
        made = Node(self.next(), node.width, value=node.seen, label=label)
        for step in reversed(steps):
            made = Node(self.next(), node.width, ((made, step),), flow=MIXED)
        return made

    # --- products -------------------------------------------------------------------------------------------------

    def _mul(self, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
        first, second = operands
        if (first.ref is None) == (second.ref is None):
            return self.lost(result)
        main, other = (first, second) if first.ref is not None else (second, first)
        return self._times(result, main, other.value, False)

    def _div(self, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
        first, second = operands
        if first.ref is None or second.ref is not None or kwargs.get("rounding_mode"):
            return self.lost(result)
        return self._times(result, first, second.value, True)

    def _times(self, result: Any, main: Operand, factor: Any, divides: bool) -> None:
        ref = main.ref
        assert ref is not None
        if not isinstance(result, Tensor) or result.shape != main.value.shape or ref.flow == CAPPED:
            return self.lost(result)
        if not isinstance(factor, Tensor) or factor.ndim == 0:
            number = 1 / float(factor) if divides else float(factor)
            return self.follow(result, ref, Scale(number), CAPPED if ref.flow == IN_TANH else ref.flow)
        aligned = ref.aligned(factor.detach(), result.ndim)
        if aligned is None or ref.flow == IN_TANH:
            return self.lost(result)
        frozen = self._cut(aligned, ref.size[1]).float()
        flow, by_position = ref.flow, aligned.shape[1] == ref.size[1] and factor.ndim == result.ndim
        if flow == STREAM and by_position:
            flow = STREAM if aligned.shape[-1] == 1 else PROJECTED  # a norm, or a gate
        if flow in (STREAM, PROJECTED) and by_position and aligned.shape[-1] == 1:
            self.saw(ref, main.value)
        return self.follow(result, ref, Scale(1 / frozen if divides else frozen), flow)

    def _neg(self, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
        self._one(result, operands, Scale(-1.0))

    def _mean(self, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
        axis = argument(args, kwargs, 1, "dim")
        axis = axis[0] if isinstance(axis, (tuple, list)) and len(axis) == 1 else axis
        x = operands[0].value
        keeps = isinstance(result, Tensor) and result.ndim == x.ndim and axis in (-1, x.ndim - 1)
        self._one(result, operands, Mean(x.shape[-1]) if keeps and result.shape[:-1] == x.shape[:-1] else None)

    def _one(self, result: Any, operands: list[Operand], step: FrozenStep | None) -> None:
        ref = operands[0].ref if operands else None
        if ref is None or step is None or ref.flow in (IN_TANH, CAPPED):
            return self.lost(result)
        return self.follow(result, ref, step)

    def _same(self, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
        ref = operands[0].ref
        if ref is not None and isinstance(result, Tensor) and result.shape == operands[0].value.shape:
            self.follow(result, ref, None)

    def _dropout(self, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
        p, training = argument(args, kwargs, 1, "p", 0.5), argument(args, kwargs, 2, "training", True)
        if not training or p == 0:
            self._same(result, operands, args, kwargs)
        else:
            self.lost(result)

    def _tanh(self, result: Any, operands: list[Operand], args: Any, kwargs: Any) -> None:
        ref = operands[0].ref
        if ref is not None and ref.flow == PROJECTED:
            self.follow(result, ref, None, IN_TANH)

    def saw(self, ref: Ref, x: Tensor) -> None:
        """What the model had where a norm begins: `x`, which is this node."""
        if ref.node.seen is None:
            ref.node.seen = self.keep(ref, x)
