"""Anybody's numbers as a tensor."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnscope.errors import InputError


def as_tensor(name: str, value: Any) -> Tensor:
    """A tensor, an array (of numpy, JAX or what else gives numpy one) or nested numbers; InputError, which calls it
    `name`, for anything else."""
    if isinstance(value, Tensor):
        return value
    try:
        if hasattr(value, "__array__"):
            value = np.asarray(value)
            if value.dtype.name == "bfloat16":  # JAX's own: torch does not know it
                return torch.from_numpy(value.astype(np.float32)).bfloat16()
            # numpy's views may be read-only or run backwards, which torch does not take
            return torch.as_tensor(value.copy())
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        kind = f" of {value.dtype}" if isinstance(value, np.ndarray) else ""
        raise InputError(
            f"expected {name} as a tensor or an array of numbers, got {type(value).__name__}{kind}."
        ) from None
