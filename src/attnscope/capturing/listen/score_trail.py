"""From the product q · k to the softmax: the functions through which a module's own code computes its scores.

A module that attends by itself writes, in some order, a product of two tensors (matmul, bmm, baddbmm, einsum), a scaling,
a position bias, a mask, perhaps a soft cap, then the softmax, then a product with the values. `ScoreTrail` sees these
calls one by one, as the function mode does, and keeps for each tensor of scores what it was made of. Where the trail
reaches the softmax unbroken, `scores_of` gives q, k and the rest. Nothing is believed: `proves` computes the weights again.
A function that is not followed breaks the trail, and only the weights are kept.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.capturing.listen.score_steps import FOLLOWED, Scores

_LONGEST = 32  # tensors of scores that are followed at once

PRODUCTS = (
    *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm),
    *(torch.baddbmm, Tensor.baddbmm, torch.einsum),
)


class ScoreTrail:
    """Follows tensors of scores from call to call."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[weakref.ref[Tensor], Scores]] = OrderedDict()
        self._turn: int | None = None

    def scores_of(self, tensor: Any) -> Scores | None:
        """What a tensor was made of, if its trail is unbroken."""
        found = self._known.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def forget(self) -> None:
        self._known.clear()

    def begin(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, turn: int) -> None:
        """A product of two tensors: perhaps the scores of an attention. `turn`: of the module's run that made it; what other
        runs made is forgotten."""
        if turn != self._turn:
            self.forget()
            self._turn = turn
        args = plain_operands(args)
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


def plain_operands(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of einsum with its operands one by one, which it also takes as a list."""
    return (args[0], *args[1]) if len(args) == 2 and isinstance(args[1], (list, tuple)) else args


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
