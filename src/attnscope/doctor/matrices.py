"""Two attention matrices side by side: the code's and the reference's."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from attnscope.tracing.trace import Trace


@dataclass(frozen=True)
class Matrices:
    """The suspect's weights of one head beside the reference's, and the first cell (query, key) that differs."""

    theirs: Tensor
    reference: Tensor
    cell: tuple[int, int] | None
    note: str
    all_theirs: Tensor | None = None  # [H, Q, K], every head of that text
    all_reference: Tensor | None = None
    operands: tuple[Tensor, Tensor, Tensor] | None = None  # q, k, v, each [H, T, D]
    scaling: float | None = None
    allowed: Tensor | None = None  # [H, Q, K], what the reference lets a query see; None: everything

    def to_dict(self) -> dict[str, Any]:
        """The head's two matrices as plain values; None stands for NaN and infinity."""
        return {
            "note": self.note,
            "theirs": _plain(self.theirs),
            "reference": _plain(self.reference),
            "first_differing_cell": self.cell,
        }

    def theirs_trace(self) -> "Trace":
        """Every head's weights as the code gave them."""
        from attnscope.tracing.trace import Trace

        return Trace.from_attentions(*_named(self.all_theirs))

    def reference_trace(self) -> "Trace":
        """The reference with q and k where a plain chain reproduces its weights, else its weights alone."""
        from attnscope.tracing.trace import Trace

        weights, names = _named(self.all_reference)
        if self.operands is not None:
            trace = Trace.from_qkv(*self.operands, tokens=names, mask=self.allowed, scaling=self.scaling)
            seen = trace.sites[0].weights()
            if seen.shape == weights.shape and torch.allclose(seen, weights, atol=1e-5):
                return trace
        return Trace.from_attentions(weights, names)


def _named(weights: Tensor | None) -> tuple[Tensor, list[str]]:
    """Weights [H, Q, K] and a name for each place; rows and columns of the probe are one text, or made one by zeros."""
    assert weights is not None
    return weights.nan_to_num().clamp_min(0), [f"token {i}" for i in range(weights.shape[-1])]


def _plain(grid: Tensor) -> list[list[float | None]]:
    return [[round(x, 6) if math.isfinite(x) else None for x in row] for row in grid.tolist()]
