"""Steps that are linear once what they divide or multiply by is frozen at its value: scales, norms, projections, moved axes.

x · γ / σ(x) is no linear function of x. With σ held at the value that it had, it is, and then what a sum gives is the sum of
what its terms give (Elhage et al. 2021, "A mathematical framework for transformer circuits"; the norm's scale frozen). LayerNorm is a
`Centre`, then a `Scale` by γ / σ; its β is a term of its own.

Each step has `forward`, and `back`, its transpose: ⟨forward(x), g⟩ = ⟨x, back(g)⟩. Arrays are [..., P, *W]: any axes, then P
positions, then what the step is about. A frozen tensor is [B or 1, P or 1, *W]; a `Cut` picks its row of the batch and its positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """Which row of the batch, and which of the kept positions (None: all)."""

    row: int = 0
    places: tuple[int, ...] | None = None

    def __call__(self, frozen: Tensor) -> Tensor:
        """[P or 1, *W] of a frozen tensor, fp32."""
        own = frozen[self.row if len(frozen) > 1 else 0]
        if self.places is not None and len(own) > 1:
            own = own[list(self.places)]
        return own.float()


@runtime_checkable
class FrozenStep(Protocol):
    """One linear step."""

    def forward(self, x: Tensor, cut: Cut, /) -> Tensor: ...
    def back(self, g: Tensor, cut: Cut, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Scale:
    """x · factor, number by number. `factor`: [B or 1, P or 1, *W], or a number."""

    factor: Tensor | float

    def forward(self, x: Tensor, cut: Cut) -> Tensor:
        return x * (cut(self.factor) if isinstance(self.factor, Tensor) else self.factor)

    back = forward


@dataclass(frozen=True)
class Centre:
    """x - its mean along the last axis, as LayerNorm begins."""

    def forward(self, x: Tensor, cut: Cut) -> Tensor:
        return x - x.mean(-1, keepdim=True)

    back = forward


@dataclass(frozen=True)
class Mean:
    """The mean along the last axis, which stays as one of 1. `width`: how many numbers it is of."""

    width: int

    def forward(self, x: Tensor, cut: Cut) -> Tensor:
        return x.mean(-1, keepdim=True)

    def back(self, g: Tensor, cut: Cut) -> Tensor:
        return (g / self.width).expand(*g.shape[:-1], self.width)


@dataclass(frozen=True, eq=False)
class Linear:
    """x · weightᵀ, as nn.Linear; `flipped`: x · weight. The model's own parameter, not a copy."""

    weight: Tensor
    flipped: bool = False

    @property
    def matrix(self) -> Tensor:
        """[out, in], fp32."""
        weight = self.weight.detach()
        return (weight.T if self.flipped else weight).float()

    def rows(self, ids: Sequence[int]) -> Tensor:
        """[len(ids), in]: what some outputs are made by."""
        chosen = torch.as_tensor(ids, device=self.weight.device)
        weight = self.weight.detach()
        return (weight.T if self.flipped else weight)[chosen].float()

    def forward(self, x: Tensor, cut: Cut) -> Tensor:
        return x @ self.matrix.T

    def back(self, g: Tensor, cut: Cut) -> Tensor:
        return g @ self.matrix


@dataclass(frozen=True)
class Reshape:
    """The last axes in another shape, in the same order of numbers."""

    before: Shape
    after: Shape

    def forward(self, x: Tensor, cut: Cut) -> Tensor:
        return x.reshape(*x.shape[: x.ndim - len(self.before)], *self.after)

    def back(self, g: Tensor, cut: Cut) -> Tensor:
        return g.reshape(*g.shape[: g.ndim - len(self.after)], *self.before)


@dataclass(frozen=True)
class Permute:
    """The last axes in another order. `order`: of each new axis, which of the old ones it is."""

    order: tuple[int, ...]

    def forward(self, x: Tensor, cut: Cut) -> Tensor:
        return self._turn(x, self.order)

    def back(self, g: Tensor, cut: Cut) -> Tensor:
        return self._turn(g, tuple(self.order.index(axis) for axis in range(len(self.order))))

    @staticmethod
    def _turn(x: Tensor, order: tuple[int, ...]) -> Tensor:
        lead = x.ndim - len(order)
        return x.permute(*range(lead), *(lead + axis for axis in order))


@dataclass(frozen=True)
class Expand:
    """Axes of size 1 repeated. `before`, `after`: the last axes, as many of one as of the other."""

    before: Shape
    after: Shape

    def forward(self, x: Tensor, cut: Cut) -> Tensor:
        return x.expand(*x.shape[: x.ndim - len(self.before)], *self.after)

    def back(self, g: Tensor, cut: Cut) -> Tensor:
        last = len(self.before)
        for axis, (old, new) in enumerate(zip(self.before, self.after, strict=True)):
            if old == 1 != new:
                g = g.sum(axis - last, keepdim=True)
        return g


@dataclass(frozen=True)
class Take:
    """Some of the numbers along the last axes, as an index says. `before`, `after`: the shapes; `index`: slices and numbers."""

    before: Shape
    after: Shape
    index: tuple[Any, ...]

    def forward(self, x: Tensor, cut: Cut) -> Tensor:
        return x[(..., *self.index)]

    def back(self, g: Tensor, cut: Cut) -> Tensor:
        whole = g.new_zeros(*g.shape[: g.ndim - len(self.after)], *self.before)
        whole[(..., *self.index)] = g
        return whole


@dataclass(frozen=True)
class Place:
    """The transpose of a `Take`: the numbers at an index of a larger array of zeros."""

    take: Take

    def forward(self, x: Tensor, cut: Cut) -> Tensor:
        return self.take.back(x, cut)

    def back(self, g: Tensor, cut: Cut) -> Tensor:
        return self.take.forward(g, cut)
