"""What is declared to `check` besides the code: refused where it does not fit, with what was expected."""

import math
from numbers import Real
from typing import Any

from torch import Tensor

from attnscope.errors import InputError

EXPECTED = {
    "scaling": "a finite number above 0, what q · k is multiplied by, such as scaling=1.0 or scaling=64 ** -0.5",
    "softcap": "a finite number above 0, which no score passes, such as softcap=50.0",
    "sinks": "a tensor of real numbers, [heads] or [1], such as sinks=torch.zeros(4)",
    "causal": "True (no token may see a later one) or False (it may)",
    "like": "a module or function with the same weights that computes what this one should",
    "cached": "True, or a function: for the last queries over all keys, or, for a module, one that makes an empty cache",
    "model": "a module or function of (ids or embeddings, mask) that uses the attention",
}


def refuse_unfit(*, hint: Any = None, **declared: Any) -> None:
    """Raises InputError for the first declaration that does not fit; None is never one."""
    if hint not in (None, 1, 2, 3):
        raise InputError(f"hint is {hint!r}; it is 1 (what fails), 2 (and where) or 3 (the mistake and its cure).")
    fits = {
        "scaling": _positive,
        "softcap": _positive,
        "sinks": _sinks,
        "causal": lambda value: isinstance(value, bool),
        "like": callable,
        "cached": lambda value: isinstance(value, bool) or callable(value),
        "model": callable,
    }
    for name, value in declared.items():
        if value is not None and not fits[name](value):
            raise InputError(f"{name} is {_shown(value)}; it is {EXPECTED[name]}. Leave it out to declare nothing.")


def _positive(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and float(value) > 0


def _sinks(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim < 2 and value.numel() > 0


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {value.dtype}"
    return repr(value) if len(repr(value)) < 60 else f"a {type(value).__name__}"
