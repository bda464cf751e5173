"""Functions of numpy arrays as functions of tensors."""

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


def of_arrays(fn: Callable) -> Callable:
    """A function of numpy arrays as one of tensors; others as they are."""
    return on_arrays(fn) if speaks(fn, "numpy") and not speaks(fn, "torch") else fn


def on_arrays(fn: Callable) -> Callable:
    """`fn` called with arrays for tensors, and its answer with tensors for arrays."""

    @functools.wraps(fn, updated=())
    def called(*args: Any, **kwargs: Any) -> Any:
        arrays = {name: _array(x) for name, x in kwargs.items()}
        return _tensors(fn(*map(_array, args), **arrays))

    return called


def speaks(fn: Any, library: str, depth: int = 2) -> bool:
    """Whether a function, or one of its own file that it calls, uses a library by the names of its file."""
    fn = fn.func if isinstance(fn, functools.partial) else fn
    fn = fn if hasattr(fn, "__code__") or inspect.isroutine(fn) else getattr(type(fn), "__call__", fn)  # noqa: B004
    code, space = getattr(fn, "__code__", None), getattr(fn, "__globals__", {})
    named = [space[name] for name in names_in(code) if name in space]
    named += [cell.cell_contents for cell in getattr(fn, "__closure__", None) or () if _filled(cell)]
    if any(isinstance(x, ModuleType) and x.__name__.split(".")[0] == library for x in named):
        return True
    own = [x for x in named if inspect.isfunction(x) and x.__module__ == getattr(fn, "__module__", None)]
    return depth > 0 and any(speaks(x, library, depth - 1) for x in own)


def names_in(code: Any) -> list[str]:
    """Names that a function's code and the functions inside it use."""
    if code is None:
        return []
    inner = [c for c in code.co_consts if inspect.iscode(c)]
    return [*code.co_names, *(name for c in inner for name in names_in(c))]


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _array(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: _array(part) for name, part in x.items()}
    return x.detach().numpy() if isinstance(x, Tensor) else x


def _tensors(x: Any) -> Any:
    """What came back, with tensors of float32 where it holds arrays."""
    if isinstance(x, tuple | list):
        return tuple(map(_tensors, x))
    if isinstance(x, dict):
        return {name: _tensors(part) for name, part in x.items()}
    if type(x).__module__.split(".")[0] != "numpy" or not hasattr(x, "dtype"):
        return x
    made = torch.as_tensor(x)
    return made.float() if made.dtype == torch.float64 else made
