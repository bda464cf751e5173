"""Linear maps as x @ weight + bias, and which weights may project the heads' outputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnscope.doctor.code_check.run.parameters import Owner


@dataclass(frozen=True)
class Affine:
    """x @ weight + bias; weight [in, out]."""

    weight: Tensor
    bias: Tensor | None = None
    twice: bool = False  # whether it is one map applied twice

    def __call__(self, x: Tensor) -> Tensor:
        y = x @ self.weight.to(x.dtype)
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def transposed(self) -> "Affine":
        return Affine(self.weight.T, self.bias)

    def columns(self, index: Any) -> "Affine":
        return Affine(self.weight[:, index], None if self.bias is None else self.bias[index])


def outs(
    named: list[Owner], other: list[Owner], inner: int, heads: int
) -> Iterator[tuple[Affine | None, Owner | None]]:
    """Output projections that take `inner` numbers: those named so, else a weight that is left over; else none."""
    fits = [(affine, owner) for owner in named for affine in _out_forms(owner, inner, heads)]
    if len(named) > 1 and len(named) == heads and not fits:  # one for each head; their results are added
        parts = [o.weight for o in named]
        if all(w.ndim == 2 for w in parts) and sum(w.shape[0] for w in parts) == inner:
            biases = [o.bias for o in named if o.bias is not None]
            fits = [(Affine(torch.cat(parts), torch.stack(biases).sum(0) if biases else None), None)]
    left = [] if fits else [(affine, owner) for owner in other for affine in _out_forms(owner, inner, heads)][:4]
    yield from fits or left
    for first, owner in fits or left:  # one linear map after another
        for second in [*named, *other]:
            for then in _out_forms(second, first.weight.shape[1], 1):
                yield _after(first, then, twice=second is owner), second
    if not fits:
        yield None, None


def _after(first: Affine, then: Affine, twice: bool) -> Affine:
    """One map after another, as one."""
    bias = then(first.bias) if first.bias is not None else then.bias
    return Affine(first.weight @ then.weight, bias, twice)


def _out_forms(owner: Owner, inner: int, heads: int) -> list[Affine]:
    """(in, out), or (out, in) where it is a bare parameter; (heads, size, out), (out, heads, size), (heads, out, size)."""
    weight = owner.weight
    bias = None if owner.bias is None else owner.bias.flatten()
    if weight.ndim == 2:
        forms = [weight, weight.T] if owner.raw else [weight]
    elif weight.ndim == 3:
        forms = [
            w.flatten(0, 1) for w in (weight, weight.permute(1, 2, 0), weight.permute(0, 2, 1)) if w.shape[0] == heads
        ]
    else:
        return []
    return [
        Affine(w, bias)
        for w in forms
        if w.shape[0] == inner and w.shape[1] > 1 and (bias is None or len(bias) == w.shape[1])
    ]
