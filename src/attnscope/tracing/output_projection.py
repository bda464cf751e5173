"""Projection: W_O and b_O, which turn the heads' outputs into what a layer adds to the residual stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


def versions(tensors: Sequence[Tensor]) -> Any:
    """How often each was written into; None where torch does not count."""
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return tuple(tensor._version for tensor in tensors)
