"""Code of x whose weights are not its arguments, as a module that holds them: an object's arrays, or names of the notebook."""

import copy
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.run.arrays import names_in, on_arrays, speaks
from attnscope.doctor.code_check.run.parameters import role_of
from attnscope.doctor.code_check.run.projections import candidates


def holding(fn: Any) -> Any:
    """`fn` as a module with its weights, where it is no function of q, k and v and has weights to be found; else as it is."""
    if inspect.ismethod(fn) and isinstance(fn.__self__, nn.Module) and fn.__func__ is type(fn.__self__).forward:
        return fn.__self__
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return fn
    required = [p for p in parameters if p.default is p.empty]
    if {"q", "k", "v"} <= {str(role_of(p.name)) for p in required} or not required:
        return fn
    names = _used(fn) if isinstance(fn, FunctionType) else vars(fn) if hasattr(fn, "__dict__") else {}
    weights = {name: value for name, value in names.items() if _weighs(value)}
    if len(weights) < 2 and not any(role_of(name) == "qkv" for name in weights):
        return fn
    made = Holding(fn, names, weights)
    return fn if next(candidates(made), None) is None else made


def _used(fn: FunctionType) -> dict[str, Any]:
    """Names of its file or notebook that a function uses."""
    return {name: fn.__globals__[name] for name in names_in(fn.__code__) if name in fn.__globals__}


def _weighs(value: Any) -> bool:
    """Whether this is a matrix of numbers with a fraction, or a module that holds one."""
    if isinstance(value, nn.Module):
        return any(p.ndim > 1 for p in value.parameters())
    if isinstance(value, Tensor):
        return value.is_floating_point() and value.ndim > 1
    return type(value).__module__ == "numpy" and getattr(value, "ndim", 0) > 1 and value.dtype.kind == "f"


class Holding(nn.Module):
    """Runs `fn` with these weights in place of those that it would find."""

    def __init__(self, fn: Callable, names: dict[str, Any], weights: dict[str, Any]) -> None:
        super().__init__()
        self.__wrapped__ = fn if isinstance(fn, FunctionType) else type(fn)
        self.__signature__ = inspect.signature(fn)
        self._fn, self._arrays = fn, speaks(fn, "numpy") and not speaks(fn, "torch")
        self._kinds = {name: type(value) for name, value in weights.items()}
        for name, value in weights.items():
            if isinstance(value, nn.Module):
                self.add_module(name, copy.deepcopy(value))
            else:
                self.register_parameter(name, nn.Parameter(torch.as_tensor(value).detach().clone().float()))
        for name, value in names.items():  # how many heads there are, say
            if isinstance(value, int | float) and not isinstance(value, bool) and not hasattr(self, name):
                setattr(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        values = {name: self._as_found(name) for name in self._kinds}
        if isinstance(self._fn, FunctionType):
            old = self._fn
            run: Callable = FunctionType(
                old.__code__, {**old.__globals__, **values}, old.__name__, old.__defaults__, old.__closure__
            )
            run.__kwdefaults__ = old.__kwdefaults__
        else:
            run = copy.copy(self._fn)
            vars(run).update(values)
        return on_arrays(run)(*args, **kwargs) if self._arrays else run(*args, **kwargs)

    def _as_found(self, name: str) -> Any:
        value = getattr(self, name)
        return value.detach().numpy() if self._kinds[name].__module__ == "numpy" else value
