"""Where batch and positions are among the axes of a tensor that is followed, and what a function does to them."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attnscope.tracing.stream import Label, Node

STREAM, HEADS, PROJECTED, MIXED, IN_TANH, CAPPED = "stream", "heads", "projected", "mixed", "in tanh", "capped"


@dataclass(frozen=True, eq=False)
class Ref:
    """A tensor as a node: `batch` and `time` are its axes for rows and positions, one and the same where they are joined.
    `size`: how many rows and positions. `flow`: what it is, see `attnscope.capturing.stream.trail`. `label`: of the heads that it
    is made of. `picked`: of a tensor [B, *W] that has one position of each row, which, [B]; then `time` is no axis of it."""

    node: Node
    flow: str
    size: tuple[int, int]
    batch: int = 0
    time: int = 1
    label: Label | None = None
    picked: Tensor | None = None

    @property
    def joined(self) -> bool:
        """Whether rows and positions are one axis."""
        return self.batch == self.time

    def trailing(self, ndim: int) -> list[int]:
        """The other axes, in order."""
        return [axis for axis in range(ndim) if axis not in (self.batch, self.time)]

    def canonical(self, x: Tensor) -> Tensor:
        """`x`, which has these axes, as [B, T, *W]."""
        if self.joined:
            return x.reshape(*self.size, *x.shape[1:])
        return x.movedim((self.batch, self.time), (0, 1))

    def aligned(self, other: Tensor, ndim: int) -> Tensor | None:
        """Another operand of a function that broadcasts, as [B or 1, T or 1, *W or 1]; None where its axes do not fit."""
        if other.ndim > ndim:
            return None
        other = other[(None,) * (ndim - other.ndim)]
        if not self.joined:
            found = other.movedim((self.batch, self.time), (0, 1))
            fits = found.shape[0] in (1, self.size[0]) and found.shape[1] in (1, self.size[1])
            return found if fits else None
        if other.shape[0] == 1:
            return other[None]
        whole = self.size[0] * self.size[1]
        return other.reshape(*self.size, *other.shape[1:]) if other.shape[0] == whole else None

    def on(self, node: Node, **changes: Any) -> "Ref":
        """Another node with these axes, or with others."""
        return replace(self, node=node, **changes)


def reshaped(ref: Ref, before: Tensor, after: Tensor) -> dict[str, int] | None:
    """The axes after a reshape that moves no number to another row or position; None for another one."""
    rows, positions = ref.size
    if ref.joined and after.ndim and after.shape[0] == rows * positions and tuple(after.shape[:2]) != ref.size:
        return {"batch": 0, "time": 0}
    ahead = (
        {"batch": 1, "time": rows}
        if ref.joined
        else {"batch": _ahead(before, ref.batch), "time": _ahead(before, ref.time)}
    )
    found: dict[str, int] = {}
    for name, count in (("batch", rows), ("time", positions)):
        places = [
            axis
            for axis in range(after.ndim)
            if after.shape[axis] == count and _ahead(after, axis) == ahead[name] and axis not in found.values()
        ]
        if not places:
            break
        found[name] = places[0]
    if len(found) == 2:
        return found
    in_front = (ref.batch, ref.time) == (0, 1) and after.ndim and after.shape[0] == rows * positions
    return {"batch": 0, "time": 0} if in_front else None


def _ahead(x: Tensor, axis: int) -> int:
    """How many numbers the axes before this one count."""
    return math.prod(x.shape[:axis])


def permuted(ref: Ref, order: tuple[int, ...]) -> tuple[dict[str, int], tuple[int, ...]]:
    """The axes after a permutation, and the order of the others among themselves. `order`: of each new axis the old one."""
    old = ref.trailing(len(order))
    new = [axis for axis in order if axis not in (ref.batch, ref.time)]
    changes = {"batch": order.index(ref.batch), "time": order.index(ref.time)}
    return changes, tuple(old.index(axis) for axis in new)


def picked(ref: Ref, x: Tensor, index: Any) -> Tensor | None:
    """Which position of each row x[index] takes, [B], as a classifier does: x[:, 0], or x[rows, last]; None where it does something else."""
    given = [*index] if isinstance(index, tuple) else []
    if (ref.batch, ref.time) != (0, 1) or len(given) < 2 or any(one != slice(None) for one in given[2:]):
        return None
    (rows, positions), every = ref.size, torch.arange(ref.size[0])
    row, position = given[:2]
    if isinstance(row, slice) and row == slice(None) and isinstance(position, int):
        return torch.full((rows,), position % positions)
    whole = isinstance(row, Tensor) and not row.is_floating_point() and torch.equal(row.cpu().long(), every)
    if whole and isinstance(position, int):
        return torch.full((rows,), position % positions)
    if whole and isinstance(position, Tensor) and position.shape == every.shape and not position.is_floating_point():
        return position.cpu().long() % positions
    return None


def indexed(ref: Ref, shape: tuple[int, ...], index: Any) -> tuple[dict[str, int], tuple[Any, ...]] | None:
    """What x[index] does: the axes after it, and the index into the other axes; None where it picks rows or positions."""
    given = list(index) if isinstance(index, tuple) else [index]
    if any(not isinstance(one, (int, slice, type(None), type(Ellipsis))) or isinstance(one, bool) for one in given):
        return None
    used = sum(one is not None and one is not Ellipsis for one in given)
    if given.count(Ellipsis) > 1 or used > len(shape):
        return None
    at = given.index(Ellipsis) if Ellipsis in given else len(given)
    given[at : at + 1] = [slice(None)] * (len(shape) - used)
    axis, out, batch, time, taken = 0, 0, -1, -1, []
    for one in given:
        if one is None:
            if out == 0 or batch < 0 or time < 0:
                return None  # a new axis before rows or positions
            taken.append(None)
            out += 1
            continue
        if axis in (ref.batch, ref.time):
            if not isinstance(one, slice) or one.indices(shape[axis]) != (0, shape[axis], 1):
                return None
            batch, time = (out if axis == ref.batch else batch), (out if axis == ref.time else time)
        else:
            taken.append(one)
        out += not isinstance(one, int)
        axis += 1
    return {"batch": batch, "time": time}, tuple(taken)
