"""HeadProjection: the part of a linear layer that makes a head's q, k or v out of x."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from attnscope.attention.precision import without_autocast


@dataclass(frozen=True)
class HeadProjection:
    """W_q, W_k or W_v and its bias, the model's own parameters (references, not copies): x · W[h] + b[h].

    One layer may make all three, in any order: number d of head h is output `first + h · head_step + d · size_step` of
    it. `flipped` tells that the parameter is stored [in, out] (GPT-2's Conv1D), not [out, in] (nn.Linear). `path` names
    the module. `norm` names a norm between this layer and q or k (Qwen 3), `factor` is what the model multiplies by
    itself before the call (OPT, Whisper: 1/√D).
    """

    parameter: Tensor
    bias: Tensor | None
    heads: int
    size: int
    first: int = 0
    head_step: int = 0
    size_step: int = 1
    flipped: bool = False
    path: str = ""
    norm: str = ""
    factor: float = 1.0

    def rows(self, head: int) -> slice:
        """The outputs of the layer that are this head's."""
        start = self.first + head * self.head_step
        return slice(start, start + (self.size - 1) * self.size_step + 1, self.size_step)

    def weight(self, head: int) -> Float[Tensor, "D M"]:
        """W[h], one row for each number of the head, in the parameter's dtype."""
        weight = self.parameter.detach()
        return (weight.T if self.flipped else weight)[self.rows(head)]

    def offset(self, head: int) -> Float[Tensor, " D"] | None:
        """b[h], or None where the layer has no bias."""
        return None if self.bias is None else self.bias.detach()[self.rows(head)]

    @without_autocast
    def apply(self, x: Float[Tensor, "T M"], head: int) -> Float[Tensor, "T D"]:
        """x · W[h] + b[h], fp32: what leaves the layer, before any norm, factor or rotary embedding."""
        made = x.float() @ self.weight(head).float().T
        offset = self.offset(head)
        return made if offset is None else made + offset.float()

    def named(self, head: int) -> str:
        """Where this head's part lies, for people: "rows 64 to 95 of layers.0.attn.q_proj.weight"."""
        rows, axis = self.rows(head), "columns" if self.flipped else "rows"
        step = f", every {self.size_step}th" if self.size_step > 1 else ""
        return f"{axis} {rows.start} to {rows.stop - 1}{step} of {self.path}.weight" if self.path else ""
