"""The functions between the product q · k and the softmax: what each makes of scores that are followed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

MASKED = -1e4  # what is added to, or put in the place of, a score that must not count


@dataclass(frozen=True)
class Scores:
    """What a tensor of scores was made of: softcap · tanh(q · k · scaling / softcap) + Σ factor · term, and `filled` where a
    large negative number took a score's place. `query`: [*L, Q, D]; `key`: [*L, K, D]; terms and `filled` broadcast to
    `shape`: [*, Q, K]."""

    query: Tensor
    key: Tensor
    shape: torch.Size
    scaling: float = 1.0
    terms: tuple[tuple[Tensor, float], ...] = ()
    filled: tuple[Tensor, ...] = ()
    softcap: float | None = None
    in_tanh: bool = False

    def added(self) -> Tensor | None:
        """Everything that is added, masked pairs as finfo.min; it broadcasts to `shape`. None where nothing is."""
        total: Tensor | None = None
        masked: Tensor | None = None
        for term, factor in self.terms:
            one = term.detach().float() * factor
            closed = one <= MASKED
            if bool(closed.any()):
                masked = closed if masked is None else masked | closed
                one = one.masked_fill(closed, 0)
            total = one if total is None else total + one
        for fill in self.filled:
            masked = fill if masked is None else masked | fill
        if masked is None:
            return total
        total = torch.zeros((), device=masked.device) if total is None else total
        return torch.where(masked, torch.finfo(torch.float32).min, total)


Step = Callable[[Scores, int, tuple[Any, ...], dict[str, Any], Tensor], Scores | None]


def _number(value: Any) -> float | None:
    """A scalar, or a tensor of one number."""
    if isinstance(value, (int, float)):
        return float(value)
    return float(value) if isinstance(value, Tensor) and value.numel() == 1 else None


def _other(place: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[1 - place] if len(args) > 1 and place < 2 else kwargs.get("other")


def _times(scores: Scores, number: float | None) -> Scores | None:
    if number is None or not math.isfinite(number) or number == 0:
        return None
    if scores.in_tanh:
        return replace(scores, in_tanh=False, softcap=number, scaling=scores.scaling * number)
    if scores.softcap is not None:
        return None
    terms = tuple((term, factor * number) for term, factor in scores.terms)
    return replace(scores, scaling=scores.scaling * number, terms=terms)


def _mul(scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Scores | None:
    other = _other(place, args, kwargs)
    if (number := _number(other)) is not None or not isinstance(other, Tensor):
        return _times(scores, number)
    if other.shape[-2:] == (1, 1) and other.ndim <= len(scores.shape):
        return _times_by_head(scores, other.detach(), result)
    # 0 where a score will be masked, as GPT does before it adds -10000 there: the addition that follows says it all.
    zeros = other.dtype == torch.bool or bool(((other == 0) | (other == 1)).all())
    return replace(scores) if zeros and result.shape == scores.shape and not scores.in_tanh else None


def _times_by_head(scores: Scores, factors: Tensor, result: Tensor) -> Scores | None:
    """A factor for each head, or row of the batch: it becomes a part of q."""
    if scores.in_tanh or scores.softcap is not None or scores.query.ndim != len(scores.shape):
        return None
    terms = tuple((term * factors, factor) for term, factor in scores.terms)
    return replace(scores, query=scores.query * factors.to(scores.query.dtype), terms=terms, shape=result.shape)


def _div(scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Scores | None:
    other = _other(place, args, kwargs)
    if place != 0 or kwargs.get("rounding_mode"):
        return None
    if by := _number(other):
        return _times(scores, 1 / by)
    plain = isinstance(other, Tensor) and other.shape[-2:] == (1, 1) and other.ndim <= len(scores.shape)
    return _times_by_head(scores, 1 / other.detach(), result) if plain else None


def _adds(sign: float) -> Step:
    def step(
        scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor
    ) -> Scores | None:
        other = _other(place, args, kwargs)
        if scores.in_tanh or (sign < 0 and place == 1) or (place == 1 and kwargs.get("alpha", 1) != 1):
            return None
        if _number(other) is not None or (isinstance(other, Tensor) and other.shape[-1:] == (1,) != result.shape[-1:]):
            return replace(scores, shape=result.shape)  # the same for all keys of a query: no softmax sees it
        if not isinstance(other, Tensor):
            return None
        factor = sign * float(kwargs.get("alpha", 1))
        return replace(scores, shape=result.shape, terms=(*scores.terms, (other, factor)))

    return step


def _fill(scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Scores | None:
    mask, value = [*args[1:], *(kwargs[name] for name in ("mask", "value") if name in kwargs)]
    number = _number(value)
    if place != 0 or scores.in_tanh or number is None or number > MASKED or not isinstance(mask, Tensor):
        return None
    return replace(scores, shape=result.shape, filled=(*scores.filled, mask.detach().bool()))


def _where(scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Scores | None:
    if len(args) != 3 or place == 0 or not isinstance(args[0], Tensor):
        return None
    number = _number(args[3 - place])
    if number is None or number > MASKED or scores.in_tanh:
        return None
    seen = args[0].detach().bool()
    return replace(scores, shape=result.shape, filled=(*scores.filled, ~seen if place == 1 else seen))


def _method_where(
    scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor
) -> Scores | None:
    """scores.where(seen, value)"""
    if place != 0 or len(args) != 3:
        return None
    return _where(scores, 1, (args[1], args[0], args[2]), kwargs, result)


def _at_least(
    scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor
) -> Scores | None:
    """max(scores, finfo.min), clamp(scores, -50000, 50000): no score falls below what marks a masked one."""
    number = _number(kwargs["min"] if "min" in kwargs else _other(place, args, kwargs))
    most = _number(kwargs.get("max", args[2] if len(args) > 2 else None))  # what no score comes near
    known = number is not None and number <= MASKED and kwargs.keys() <= {"min", "max", "other"}
    return replace(scores) if known and (most is None or most >= -MASKED) else None


def _tanh(scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Scores | None:
    done = scores.in_tanh or scores.softcap is not None or scores.terms or scores.filled
    return None if done else replace(scores, in_tanh=True)


def _same(scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Scores | None:
    """The same numbers, in another dtype or place."""
    return scores if place == 0 else None


def _view(scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Scores | None:
    """Batch and heads joined or split; queries and keys stay the last two axes."""
    if place != 0 or result.ndim < 3 or result.shape[-2:] != scores.shape[-2:] or result.dtype != args[0].dtype:
        return None
    if result.shape == scores.shape:
        return scores

    def turned(x: Tensor) -> Tensor:
        return x.expand(scores.shape).reshape(result.shape)

    terms = tuple((turned(term), factor) for term, factor in scores.terms)
    return replace(scores, shape=result.shape, terms=terms, filled=tuple(turned(fill) for fill in scores.filled))


def _turn(scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Scores | None:
    """Queries and keys change places: the other side of one product attends as well (Grounding DINO)."""
    axes = [axis % len(scores.shape) for axis in args[1:] if isinstance(axis, int)]
    swaps = len(args) == 1 or sorted(axes) == [len(scores.shape) - 2, len(scores.shape) - 1]
    if place != 0 or not swaps or kwargs or scores.in_tanh or scores.query.ndim != len(scores.shape):
        return None

    def turned(x: Tensor) -> Tensor:
        return x.expand(scores.shape).mT

    terms = tuple((turned(term), factor) for term, factor in scores.terms)
    filled = tuple(turned(fill) for fill in scores.filled)
    return replace(scores, query=scores.key, key=scores.query, shape=result.shape, terms=terms, filled=filled)


def _table() -> dict[Any, Step]:
    steps: dict[str, tuple[Step, str]] = {
        "mul": (_mul, "mul multiply __mul__ __rmul__ __imul__ mul_ multiply_"),
        "div": (_div, "div true_divide divide __truediv__ __itruediv__ div_ true_divide_ divide_"),
        "add": (_adds(1.0), "add __add__ __radd__ __iadd__ add_"),
        "sub": (_adds(-1.0), "sub subtract __sub__ __isub__ sub_ subtract_"),
        "fill": (_fill, "masked_fill masked_fill_"),
        "max": (_at_least, "max maximum clamp clamp_min clip"),
        "tanh": (_tanh, "tanh tanh_"),
        "same": (_same, "to float half double bfloat16 type type_as contiguous clone detach nan_to_num"),
        "turn": (_turn, "transpose swapaxes swapdims"),
        "view": (_view, "view reshape unflatten flatten view_as reshape_as"),
    }
    found: dict[Any, Step] = {torch.where: _where, Tensor.where: _method_where, Tensor.mT.__get__: _turn}  # type: ignore[attr-defined]
    for step, names in steps.values():
        for name in names.split():
            found |= {getattr(home, name): step for home in (torch, Tensor) if hasattr(home, name)}
    return found


FOLLOWED = _table()
