"""Anybody's numbers as a tensor."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnscope.errors import InputError


def as_tensor(name: str, value: Any) -> Tensor:
    """A tensor, an array or nested numbers; InputError, which calls it `name`, for anything else."""
    try:
        # numpy's views may be read-only or run backwards, which torch does not take
        return torch.as_tensor(value.copy() if isinstance(value, np.ndarray) else value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"expected {name} as a tensor or an array of numbers, got {type(value).__name__}.") from None
