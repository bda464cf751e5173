"""Functions that move the numbers of a followed tensor to other axes, cut it, or join it with others."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from attnscope.capturing.stream.functions import argument, whole_number
from attnscope.capturing.stream.layout import Ref, indexed, permuted, picked, reshaped
from attnscope.tracing.frozen import Expand, FrozenStep, Permute, Place, Reshape, Take
from attnscope.tracing.stream import Node


@runtime_checkable
class Follows(Protocol):
    """The trail, as far as these functions need it."""

    def of(self, x: Any) -> Ref | None: ...
    def follow(
        self, result: Any, ref: Ref, step: FrozenStep | None, flow: str | None = None, axes: Mapping[str, int] = ...
    ) -> None: ...
    def sum_of(self, result: Tensor, ref: Ref, flow: str, *inputs: Any, **axes: int) -> Node: ...
    def lost(self, result: Any) -> None: ...


def _reshape(trail: Follows, result: Any, args: Any, kwargs: Any) -> None:
    x, ref = args[0], trail.of(args[0])
    if ref is None:
        return trail.lost(result)
    axes = reshaped(ref, x, result)
    if axes is None:
        return trail.lost(result)
    before, after = ref.node.width, tuple(result.shape[a] for a in ref.on(ref.node, **axes).trailing(result.ndim))
    return trail.follow(result, ref, None if before == after else Reshape(before, after), axes=axes)


def _turn(trail: Follows, result: Any, x: Tensor, order: tuple[int, ...]) -> None:
    ref = trail.of(x)
    if ref is None:
        return trail.lost(result)
    axes, trailing = permuted(ref, order)
    return trail.follow(result, ref, None if [*trailing] == sorted(trailing) else Permute(trailing), axes=axes)


def _transpose(trail: Follows, result: Any, args: Any, kwargs: Any) -> None:
    x = args[0]
    if trail.of(x) is None:
        return trail.lost(result)
    first, second = (argument(args, kwargs, place, name) % x.ndim for place, name in ((1, "dim0"), (2, "dim1")))
    order = [*range(x.ndim)]
    order[first], order[second] = second, first
    return _turn(trail, result, x, tuple(order))


def _permute(trail: Follows, result: Any, args: Any, kwargs: Any) -> None:
    x, dims = args[0], args[1:] or (kwargs["dims"],)
    if trail.of(x) is None:
        return trail.lost(result)
    dims = dims if whole_number(dims[0]) else dims[0]
    return _turn(trail, result, x, tuple(axis % x.ndim for axis in dims))


def _unsqueeze(trail: Follows, result: Any, args: Any, kwargs: Any) -> None:
    ref, axis = trail.of(args[0]), argument(args, kwargs, 1, "dim")
    if ref is None:
        return trail.lost(result)
    axis %= result.ndim
    axes = {"batch": ref.batch + (axis <= ref.batch), "time": ref.time + (axis <= ref.time)}
    after = tuple(result.shape[a] for a in ref.on(ref.node, **axes).trailing(result.ndim))
    return trail.follow(result, ref, Reshape(ref.node.width, after), axes=axes)


def _getitem(trail: Follows, result: Any, args: Any, kwargs: Any) -> None:
    x, ref = args[0], trail.of(args[0])
    if ref is not None and (positions := picked(ref, x, args[1])) is not None:
        return trail.follow(result, ref.on(ref.node, time=-1, picked=positions), None)
    found = None if ref is None else indexed(ref, tuple(x.shape), args[1])
    if ref is None or found is None:
        return trail.lost(result)
    axes, index = found
    if all(one == slice(None) for one in index):
        return trail.follow(result, ref, None, axes=axes)
    after = tuple(result.shape[a] for a in ref.on(ref.node, **axes).trailing(result.ndim))
    return trail.follow(result, ref, Take(ref.node.width, after, index), axes=axes)


def _pieces(trail: Follows, result: Any, args: Any, kwargs: Any) -> None:
    x, ref = args[0], trail.of(args[0])
    if ref is None or not isinstance(result, (tuple, list)) or not result:
        return trail.lost(result)
    drops = result[0].ndim < x.ndim  # unbind
    axis = argument(args, kwargs, 1 if drops else 2, "dim", 0) % x.ndim
    if axis in (ref.batch, ref.time):
        return trail.lost(result)
    at, place, start = ref.trailing(x.ndim).index(axis), [slice(None)] * len(ref.node.width), 0
    axes = {"batch": ref.batch - (drops and axis < ref.batch), "time": ref.time - (drops and axis < ref.time)}
    for piece in result:
        index: list[Any] = [*place]
        index[at] = start if drops else slice(start, start + piece.shape[axis])
        after = tuple(piece.shape[a] for a in ref.on(ref.node, **axes).trailing(piece.ndim))
        trail.follow(piece, ref, Take(ref.node.width, after, tuple(index)), axes=axes)
        start += 1 if drops else piece.shape[axis]
    return None


def _cat(trail: Follows, result: Any, args: Any, kwargs: Any) -> None:
    _join(trail, result, args[0], argument(args, kwargs, 1, "dim", 0), False)


def _stack(trail: Follows, result: Any, args: Any, kwargs: Any) -> None:
    _join(trail, result, args[0], argument(args, kwargs, 1, "dim", 0), True)


def _join(trail: Follows, result: Any, tensors: Any, axis: int, adds: bool) -> None:
    refs = [trail.of(one) for one in tensors]
    if any(ref is None for ref in refs):
        return trail.lost(result)
    known = [ref for ref in refs if ref is not None]
    ref, axis = known[0], axis % result.ndim
    axes = {"batch": ref.batch + (adds and axis <= ref.batch), "time": ref.time + (adds and axis <= ref.time)}
    alike = all(
        (one.batch, one.time, one.flow, one.label) == (ref.batch, ref.time, ref.flow, ref.label) for one in known
    )
    if axis in axes.values() or not alike:
        return trail.lost(result)
    trailing = ref.on(ref.node, **axes).trailing(result.ndim)
    width, at, start, inputs = tuple(result.shape[a] for a in trailing), trailing.index(axis), 0, []
    for one, tensor in zip(known, tensors, strict=True):
        index: list[Any] = [slice(None)] * len(width)
        count = 1 if adds else tensor.shape[axis]
        index[at] = start if adds else slice(start, start + count)
        inputs.append((one.node, Place(Take(width, one.node.width, tuple(index)))))
        start += count
    trail.sum_of(result, ref, ref.flow, *inputs, **axes)
    return None


def _expand(trail: Follows, result: Any, args: Any, kwargs: Any) -> None:
    ref, x = trail.of(args[0]), args[0]
    if ref is None or result.ndim != x.ndim or ref.joined:
        return trail.lost(result)
    if (result.shape[ref.batch], result.shape[ref.time]) != ref.size:
        return trail.lost(result)
    after = tuple(result.shape[a] for a in ref.trailing(result.ndim))
    return trail.follow(result, ref, None if after == ref.node.width else Expand(ref.node.width, after))


def _copy(trail: Follows, result: Any, args: Any, kwargs: Any) -> None:
    """A part of a new tensor is filled: x[..., a:b].copy_(y), as DeepSeek puts its keys together."""
    part, source = args[0], args[1] if len(args) > 1 else None
    ref, whole = trail.of(source), part._base
    if ref is None or whole is None or source is None or source.ndim != part.ndim or whole.ndim != part.ndim:
        return trail.lost(result)
    same = (
        part.shape[:-1] == whole.shape[:-1]
        and part.stride() == whole.stride()
        and whole.ndim - 1 not in (ref.batch, ref.time)
    )
    if not same or (part.shape[ref.batch], part.shape[ref.time]) != ref.size:
        return trail.lost(whole)
    first = (part.storage_offset() - whole.storage_offset()) // whole.stride()[-1]
    trailing = ref.trailing(whole.ndim)
    width, narrow = (tuple(x.shape[a] for a in trailing) for x in (whole, part))
    node, before = ref.node, trail.of(whole)
    if node.width != narrow:
        node = trail.sum_of(part, ref, ref.flow, (node, Expand(node.width, narrow)))
    index = (*[slice(None)] * (len(width) - 1), slice(first, first + narrow[-1]))
    earlier = [] if before is None else [(before.node, None)]
    trail.sum_of(whole, ref, ref.flow, *earlier, (node, Place(Take(width, narrow, index))))
    return None


MOVES: dict[str, Callable[[Follows, Any, Any, Any], None]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "permute": _permute,
    "unsqueeze": _unsqueeze,
    "getitem": _getitem,
    "pieces": _pieces,
    "cat": _cat,
    "stack": _stack,
    "expand": _expand,
    "copy": _copy,
}
