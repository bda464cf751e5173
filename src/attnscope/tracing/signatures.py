"""The parameters of a forward, by name."""

import functools
import inspect
from collections.abc import Sequence
from types import MethodType
from typing import Any


def parameters_of(forward: Any) -> Sequence[str]:
    """Names of its parameters, in order, without self. A class's own method is read once; what replaces it in one model, each
    time. Raises TypeError or ValueError for what is made in C."""
    method = getattr(forward, "__func__", None)
    return tuple(inspect.signature(forward).parameters) if method is None else _of_method(method)


@functools.lru_cache(maxsize=64)
def _of_method(method: Any) -> Sequence[str]:
    return tuple(inspect.signature(MethodType(method, object())).parameters)
