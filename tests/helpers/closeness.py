"""Are two computations the same but for rounding? One rule for every test: the tolerance follows dtype and magnitude.

Processors add in different orders and with fused or separate multiplications, so the last digits of a result depend on
the machine. What they may differ by is a number of roundings of the largest number involved, and nothing else.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Roundings between two ways to the same result. In fp32 and fp64 each addition rounds: sums of some hundred terms, through
# a few layers. In half precision torch adds in fp32, so only what leaves a link of the chain is rounded.
ROUNDINGS = {torch.float64: 64, torch.float32: 64, torch.float16: 4, torch.bfloat16: 4}


@dataclass(frozen=True)
class Closeness:
    """True within the tolerance; pytest shows the figures where it is not."""

    difference: float
    allowed: float
    problem: str = ""

    def __bool__(self) -> bool:
        return not self.problem and bool(self.difference <= self.allowed)

    def __repr__(self) -> str:
        return self.problem or f"largest difference {self.difference:.3g}, expected at most {self.allowed:.3g}"


def tolerance(dtype: torch.dtype = torch.float32, magnitude: float = 1.0) -> float:
    """What rounding explains: a number of roundings of a number of this size."""
    return ROUNDINGS[dtype] * torch.finfo(dtype).eps * magnitude


def close(actual: Any, expected: Any, dtype: torch.dtype | None = None, magnitude: float | None = None) -> Closeness:
    """Whether two results agree to rounding: tensors, arrays, numbers or lists of them, of one shape.

    dtype: what the coarser of the two was computed in (None: the coarser dtype of the tensors given; fp32 where there is
    none, since attnscope computes in fp32). magnitude: the largest number on the way (None: the largest of `expected`); name
    it where large numbers cancel, or pass through an exponential: the scores, for weights. NaN equals NaN, ∞ equals ∞.
    """
    mine, theirs = _numbers(actual), _numbers(expected)
    if mine.shape != theirs.shape:
        return Closeness(float("inf"), 0.0, f"shape {list(mine.shape)}, expected {list(theirs.shape)}")
    finite = theirs.isfinite()
    if (
        not torch.equal(mine[~finite].nan_to_num(0.5), theirs[~finite].nan_to_num(0.5))
        or not mine[finite].isfinite().all()
    ):
        return Closeness(float("inf"), 0.0, "NaN or infinite values in other places than expected")
    largest = float(theirs[finite].abs().max()) if bool(finite.any()) else 0.0
    difference = float((mine - theirs)[finite].abs().max()) if bool(finite.any()) else 0.0
    return Closeness(difference, tolerance(dtype or _coarser(actual, expected), magnitude or largest))


def through_softmax(scores: Tensor) -> float:
    """The magnitude of weights made of these scores: a score's rounding moves a weight by at most a quarter of itself
    (w · (1 - w) <= 1/4), and two links round it, by half a unit each, where `tolerance` allows four whole ones."""
    finite = scores[scores.isfinite()]
    return max(1.0, float(finite.abs().max()) / 16) if len(finite) else 1.0


def same_weights(site: Any, theirs: Tensor, dtype: torch.dtype = torch.float32) -> Closeness:
    """Whether all weights of a site are `theirs`. Largest differences over the architectures of the tests, on one machine:
    0, 1e-2 and 1.3e-3 (fp32, bf16, fp16; scores up to 19)."""
    return close(site.weights(), theirs, dtype, through_softmax(site.scores()))


def _numbers(values: Any) -> Tensor:
    tensor = values.detach() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values, dtype=float))
    return tensor.cpu().double()


def _coarser(*values: Any) -> torch.dtype:
    kinds = [value.dtype for value in values if isinstance(value, Tensor) and value.is_floating_point()]
    return max(kinds, key=lambda kind: torch.finfo(kind).eps, default=torch.float32)
