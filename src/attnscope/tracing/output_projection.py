"""Projection: W_O and b_O, which turn the heads' outputs into what a layer adds to the residual stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.attention.precision import without_autocast


@dataclass(frozen=True)
class Projection:
    """The model's own parameters (references, not copies): output = Σ over heads z · W_O[h] + b_O.

    `parameter`: W_O, [M, heads · Dv] as nn.Linear stores it, or [heads · Dv, M]. `bias`: b_O, [M], or None.
    `transposed`: True for the first of these forms.
    """

    parameter: Tensor
    bias: Tensor | None = None
    transposed: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes of W_O."""
        return self.parameter.nbytes

    @property
    def state(self) -> Any:
        """Another value after each write into W_O or b_O; None where torch does not count them (inference_mode)."""
        return versions([self.parameter] if self.bias is None else [self.parameter, self.bias])

    def heads(self, count: int) -> Float[Tensor, "H Dv M"]:
        """W_O cut into one [Dv, M] block per head, fp32. `count`: how many heads there are."""
        weight = self.parameter.detach().T if self.transposed else self.parameter.detach()
        return weight.float().reshape(count, -1, weight.shape[-1])

    def blocks(self, count: int, heads: Sequence[int]) -> Float[Tensor, "h Dv M"]:
        """The blocks of some `heads` of `count`, in the parameter's dtype."""
        weight = self.parameter.detach().T if self.transposed else self.parameter.detach()
        return weight.reshape(count, -1, weight.shape[-1])[list(heads)]

    @without_autocast
    def total(self, z: Float[Tensor, "H R Dv"]) -> Float[Tensor, "R M"]:
        """Σ over heads z · W_O[h] + b_O, fp32: what the layer returns. `z`: the outputs of all heads."""
        weight = self.parameter.detach().T if self.transposed else self.parameter.detach()
        made = z.transpose(0, 1).flatten(1).to(weight.device).float() @ weight.float()
        return made if self.bias is None else made + self.bias.detach().float()


@dataclass(frozen=True)
class StoredWrites:
    """What a file says of a W_O that it does not hold.

    `norms`: ‖v · W_O[h]‖, [H, K]. `products`: W_O[h] · W_O[h]ᵀ, its upper half row by row, [H, Dv · (Dv + 1) / 2]. `error`,
    `tolerance`: of the receipt when the file was written, as a SiteReceipt's `write_error` and `write_tolerance`. None where
    the file has none of it.
    """

    norms: Float[Tensor, "H K"]
    products: Float[Tensor, "H P"] | None = None
    error: float | None = None
    tolerance: float | None = None

    def norms_error(self, v: Float[Tensor, "Hkv K Dv"]) -> float:
        """Largest |‖v · W_O[h]‖² by the products - by the norms|, as a part of the largest; 0 without products."""
        if self.products is None:
            return 0.0
        size = v.shape[-1]
        row, column = torch.triu_indices(size, size)
        squares = torch.empty(self.norms.shape)
        for head, half in enumerate(self.products.float()):
            product = torch.zeros(size, size)
            product[row, column] = product[column, row] = half
            value = v[head // (len(self.products) // len(v))].float().cpu()
            squares[head] = (value @ product * value).sum(-1)
        stored = self.norms.cpu() ** 2
        finite = torch.isfinite(squares) & torch.isfinite(stored)
        if not bool(finite.any()):
            return 0.0
        error, largest = float((squares - stored)[finite].abs().max()), float(stored[finite].max())
        return error / largest if largest else error


def versions(tensors: Sequence[Tensor]) -> Any:
    """How often each was written into; None where torch does not count."""
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return tuple(tensor._version for tensor in tensors)
