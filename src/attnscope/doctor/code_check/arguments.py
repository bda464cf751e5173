"""What is declared to `check` besides the code: refused where it cannot be meant, with what was expected."""

import math
from numbers import Real
from typing import Any

from torch import Tensor

from attnscope.errors import InputError


def refuse_unfit(
    *, scaling: Any = None, softcap: Any = None, sinks: Any = None, causal: Any = None, like: Any = None, cached: Any = None,
    model: Any = None, hint: Any = None,
) -> None:  # fmt: skip
    """Raises InputError for the first declaration that does not fit; None is never one."""
    if hint not in (None, 1, 2, 3):
        raise InputError(f"hint is {hint!r}; it is 1 (what fails), 2 (and where) or 3 (the mistake and its cure).")
    expected = (
        ("scaling", scaling, _positive(scaling), "a finite number above 0, what q · k is multiplied by, such as scaling=1.0 or scaling=64 ** -0.5"),
        ("softcap", softcap, _positive(softcap), "a finite number above 0, which no score passes, such as softcap=50.0"),
        ("sinks", sinks, isinstance(sinks, Tensor) and sinks.is_floating_point() and sinks.ndim < 2 and sinks.numel() > 0, "a tensor of real numbers, [heads] or [1], such as sinks=torch.zeros(4)"),
        ("causal", causal, isinstance(causal, bool), "True (no token may see a later one) or False (it may)"),
        ("like", like, callable(like), "a module or function with the same weights that computes what this one should"),
        ("cached", cached, isinstance(cached, bool) or callable(cached), "True, or a function: for the last queries over all keys, or, for a module, one that makes an empty cache"),
        ("model", model, callable(model), "a module or function of (ids or embeddings, mask) that uses the attention"),
    )  # fmt: skip
    for name, value, fits, wanted in expected:
        if value is not None and not fits:
            raise InputError(f"{name} is {_shown(value)}; it is {wanted}. Leave it out where there is nothing to declare.")  # fmt: skip


def _positive(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and float(value) > 0


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {value.dtype}"
    return repr(value) if len(repr(value)) < 60 else f"a {type(value).__name__}"
