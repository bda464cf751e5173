"""From the product q · k to the softmax: the functions through which a module's own code computes its scores.

A module that attends by itself writes, in some order, a product of two tensors (matmul, bmm, baddbmm, einsum), a scaling,
a position bias, a mask, perhaps a soft cap, then the softmax, then a product with the values. `ScoreTrail` sees these
calls one by one, as the function mode does, and keeps for each tensor of scores what it was made of. Where the trail
reaches the softmax unbroken, `scores_of` gives q, k and the rest. Nothing is believed: `proves` computes the weights again.
A function that is not followed breaks the trail, and only the weights are kept.
"""

import math
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

MASKED = -1e4  # what is added to, or put in the place of, a score that must not count
_LONGEST = 32  # tensors of scores that are followed at once

PRODUCTS = (
    *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm),
    *(torch.baddbmm, Tensor.baddbmm, torch.einsum),
)


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


class ScoreTrail:
    """Follows tensors of scores from call to call."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[weakref.ref[Tensor], Scores]] = OrderedDict()

    def scores_of(self, tensor: Any) -> Scores | None:
        """What a tensor was made of, if its trail is unbroken."""
        found = self._known.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def forget(self) -> None:
        self._known.clear()

    def begin(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """A product of two tensors: perhaps the scores of an attention."""
        if isinstance(result, Tensor) and result.ndim >= 2:
            scores = _einsum(args, result) if func is torch.einsum else _matmul(func, args, kwargs, result)
            if scores is not None:
                self._keep(result, scores)

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Any function of `FOLLOWED`: what it makes of scores that are known."""
        if not isinstance(result, Tensor):
            return
        place = next((i for i, arg in enumerate(args) if self.scores_of(arg) is not None), None)
        if place is None:
            return
        scores = self.scores_of(args[place])
        assert scores is not None
        step = FOLLOWED[func](scores, place, args, kwargs, result)
        if step is None:
            self._known.pop(id(result), None)
        else:
            self._keep(result, step)

    def _keep(self, result: Tensor, scores: Scores) -> None:
        self._known[id(result)] = weakref.ref(result), scores
        self._known.move_to_end(id(result))
        while len(self._known) > _LONGEST:
            self._known.popitem(last=False)


# --- products -----------------------------------------------------------------------------------------------------------


def _matmul(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Scores | None:
    terms: tuple[tuple[Tensor, float], ...] = ()
    scaling = 1.0
    if func in (torch.baddbmm, Tensor.baddbmm):
        args = (*args, *(kwargs[name] for name in ("batch1", "batch2") if name in kwargs))
        if len(args) != 3 or kwargs.keys() - {"beta", "alpha", "batch1", "batch2"}:
            return None
        terms, scaling = ((args[0], float(kwargs.get("beta", 1))),), float(kwargs.get("alpha", 1))
        args = args[1:]
    if len(args) != 2 or not all(isinstance(arg, Tensor) and arg.ndim >= 2 for arg in args):
        return None
    left, right = args
    lead = result.shape[:-2]
    query, key = left.expand(*lead, *left.shape[-2:]), right.mT.expand(*lead, right.shape[-1], right.shape[-2])
    return Scores(query, key, result.shape, scaling, terms)


def einsum_axes(equation: Any, operands: tuple[Any, ...]) -> tuple[str, str, str] | None:
    """The letters of two operands and of the result, where each is spelled out."""
    if not isinstance(equation, str) or "..." in equation or equation.count("->") != 1 or len(operands) != 2:
        return None
    inputs, output = equation.replace(" ", "").split("->")
    first, _, second = inputs.partition(",")
    plain = all(len(set(part)) == len(part) for part in (first, second, output))
    return (first, second, output) if plain and second else None


def _einsum(args: tuple[Any, ...], result: Tensor) -> Scores | None:
    """bnqd,bnkd->bnqk in any letters and order of axes; the last two of the result are queries and keys."""
    axes = einsum_axes(args[0], args[1:])
    if axes is None or len(axes[2]) < 2:
        return None
    *lead, q, k = axes[2]
    sides = dict(zip(axes[:2], args[1:], strict=True))
    query = next((letters for letters in sides if q in letters and k not in letters), None)
    key = next((letters for letters in sides if k in letters and q not in letters), None)
    if query is None or key is None or query == key:
        return None
    summed = set(query) & set(key) - set(axes[2])
    if len(summed) != 1 or not set(lead) <= set(query) & set(key) or {len(query), len(key)} != {len(lead) + 2}:
        return None
    (d,) = summed
    return Scores(
        sides[query].permute([query.index(letter) for letter in (*lead, q, d)]),
        sides[key].permute([key.index(letter) for letter in (*lead, k, d)]),
        result.shape,
    )


def values_of(
    func: Any, args: tuple[Any, ...], weights: Tensor, holds: Callable[[Tensor, Tensor], bool], result: Tensor
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Of a product of the weights with values: the weights as they went in, v [*L, K, Dv] and z [*L, Q, Dv]; None where
    it is another product."""
    if func is torch.einsum:
        axes = einsum_axes(args[0], args[1:])
        if axes is None:
            return None
        place = next((i for i in (0, 1) if holds(args[1 + i], weights)), None)
        if place is None:
            return None
        used, other, output = axes[place], axes[1 - place], axes[2]
        *lead, q, k = used
        own = set(other) - set(used)
        if k in output or q in other or k not in other or len(own) != 1 or not set(lead) <= set(other) & set(output):
            return None
        (d,) = own
        v = args[2 - place].permute([other.index(letter) for letter in (*lead, k, d)])
        return args[1 + place], v, result.permute([output.index(letter) for letter in (*lead, q, d)])
    if func in (torch.baddbmm, Tensor.baddbmm) or len(args) != 2 or not holds(args[0], weights):
        return None
    v = args[1]
    if not isinstance(v, Tensor) or v.ndim < 2 or v.shape[-2] != weights.shape[-1]:
        return None
    return args[0], v.expand(*result.shape[:-2], *v.shape[-2:]), result


# --- steps between the product and the softmax ----------------------------------------------------------------------------

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
    return _times(scores, _number(_other(place, args, kwargs)))


def _div(scores: Scores, place: int, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Scores | None:
    by = _number(_other(place, args, kwargs))
    return _times(scores, 1 / by) if by and place == 0 and not kwargs.get("rounding_mode") else None


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
    """max(scores, finfo.min): no score falls below what marks a masked one."""
    number = _number(kwargs["min"] if "min" in kwargs else _other(place, args, kwargs))
    return replace(scores) if number is not None and number <= MASKED and kwargs.keys() <= {"min", "other"} else None


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
        "view": (_view, "view reshape unflatten flatten view_as reshape_as"),
    }
    found: dict[Any, Step] = {torch.where: _where, Tensor.where: _method_where}
    for step, names in steps.values():
        for name in names.split():
            found |= {getattr(home, name): step for home in (torch, Tensor) if hasattr(home, name)}
    return found


FOLLOWED = _table()


# --- proof ----------------------------------------------------------------------------------------------------------------


def proves(
    query: Float[Tensor, "B H Q D"],
    key: Float[Tensor, "B H K D"],
    scores: Scores,
    added: Tensor | None,
    weights: Float[Tensor, "B H Q K"],
    rows: Tensor,
) -> bool:
    """Whether q, k and what was followed give the weights that the module computed, at these query rows.

    `added`: what is added to the scores, [B or 1, H or 1, Q or 1, K]. The tolerance follows the dtype that the scores were in.
    """
    rows = rows.to(query.device)
    again = query[:, :, rows].float() @ key.float().mT * scores.scaling
    if scores.softcap is not None:
        again = scores.softcap * torch.tanh(again / scores.softcap)
    if added is not None:
        again = again + (added if added.shape[-2] == 1 else added[..., rows, :])
    exact = query.dtype in (torch.float32, torch.float64)
    return torch.allclose(again.softmax(-1), weights[:, :, rows].float(), rtol=0, atol=1e-4 if exact else 2e-2)
