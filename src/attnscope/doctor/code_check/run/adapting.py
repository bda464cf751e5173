"""Code that takes something else than tensors, as code that takes tensors: numpy arrays, weights as arguments, lazy layers."""

import copy
import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.arrays import of_arrays
from attnscope.doctor.code_check.run.holding import holding
from attnscope.doctor.code_check.run.parameters import input_role, numbers_in
from attnscope.doctor.code_check.run.sandbox import run
from attnscope.errors import InputError

_WEIGHT = re.compile(
    r"^w_?(q|k|v|o|qkv|query|key|value|out)$|^(q|k|v|o|query|key|value|out)_?(w|weights?|proj\w*|matrix)$", re.I
)
_BIAS = re.compile(r"^b_?(q|k|v|o|query|key|value|out)$|^(q|k|v|o|query|key|value|out)_?(b|bias)$", re.I)
_FUSED = re.compile(r"^w?_?qkv", re.IGNORECASE)
WIDTH, WIDTH_HEADS = 20, 4  # of what has no width of its own


def ready(fn: Any, name: str) -> Any:
    """Something to call with tensors: a class without required arguments is made, all else must be callable. Raises InputError."""
    if isinstance(fn, type):
        if not issubclass(fn, nn.Module):
            raise InputError(f"{name} is a class, and not an nn.Module; pass a function or an instance.")
        try:
            torch.manual_seed(0)
            fn = fn()
        except TypeError as error:
            message = f"{name} is a class that needs arguments ({error}); pass an instance: check({name}(…))."
            raise InputError(message) from None
    if not callable(fn):
        raise InputError(f"{name} cannot be called; check wants a function of (query, key, value[, mask]) or a module.")
    if isinstance(fn, nn.Module):
        return without_weights(fn)
    held = holding(fn)
    return held if isinstance(held, nn.Module) else _of_weights(of_arrays(fn))


# --- modules without weights ---------------------------------------------------------------------------------------


def without_weights(module: nn.Module) -> Any:
    """A module that projects nothing, and whose forward takes query, key and value, as a function; others as they are.
    `sizes` of that function: head sizes for which the module's own numbers (a temperature of 8, say) are meant."""
    if any(isinstance(p, nn.parameter.UninitializedParameter) or p.ndim > 1 for p in module.parameters()):
        return module
    signature = inspect.signature(module.forward)
    if not {"q", "k", "v"} <= {str(input_role(name)) for name in signature.parameters}:
        return module
    try:
        mine = copy.deepcopy(module).eval()
    except Exception:
        mine = module.eval()

    def called(*args: Any, **kwargs: Any) -> Any:
        return mine(*args, **kwargs)

    called.__name__, called.__wrapped__, called.__signature__ = type(module).__name__, type(module), signature  # type: ignore[attr-defined]
    called.sizes = _sizes_meant(module)  # type: ignore[attr-defined]
    return called


def _sizes_meant(module: nn.Module) -> list[int]:
    """Head sizes that a module's numbers speak of: d_k = 64, a temperature of 8, a scale of 0.125."""
    found: list[float] = []
    for name, value in numbers_in(module).items():
        if re.search(r"temp|scal|sqrt|norm_fact", name, re.IGNORECASE) and value > 0:
            found.insert(0, value**2 if value > 1 else value**-2)
        elif re.search(r"^d$|d_?k|head_?(dim|size)|dim_?head|d_?head|^dim$|d_?q", name, re.IGNORECASE):
            found.append(value)
    return [round(x) for x in found if 2 <= x <= 1024 and abs(x - round(x)) < 1e-3 * x]


# --- weights as arguments -----------------------------------------------------------------------------------------


def _of_weights(fn: Callable) -> Any:
    """A function of x and weight matrices as a module that holds such matrices; others as they are."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return fn
    weights = [p.name for p in parameters if p.default is p.empty and _WEIGHT.match(p.name)]
    letters = {re.sub("^w_?|weights?", "", name.lower())[:1] for name in weights}
    fused = any(_FUSED.match(name) for name in weights)
    if not fused and (len(weights) < 3 or not {"q", "k", "v"} <= letters):
        return fn
    return WithWeights(fn, parameters, weights)


class WithWeights(nn.Module):
    """`fn` with weights of WIDTH x WIDTH (and biases) that are parameters; its forward takes what is left."""

    def __init__(self, fn: Callable, parameters: list[inspect.Parameter], weights: list[str]) -> None:
        super().__init__()
        self.__wrapped__ = fn
        self._names = list(weights)
        for name in weights:
            width = 3 * WIDTH if _FUSED.match(name) else WIDTH
            self.register_parameter(name, nn.Parameter(probes.gaussian(name, WIDTH, width) * WIDTH**-0.5))
        for p in parameters:
            if p.default is p.empty and _BIAS.match(p.name):
                self._names.append(p.name)
                self.register_parameter(p.name, nn.Parameter(0.3 * probes.gaussian(p.name, WIDTH)))
        self._heads = next(
            (p.name for p in parameters if re.search(r"heads?$|^h$", p.name) and p.default is p.empty), None
        )
        default = next((p.default for p in parameters if re.search(r"heads?$|^h$", p.name)), None)
        self.heads = WIDTH_HEADS if self._heads else default if isinstance(default, int) and default > 0 else 1
        left = [p for p in parameters if p.name not in (*self._names, self._heads)]
        self.__signature__ = inspect.Signature(left)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = {name: getattr(self, name) for name in self._names}
        given |= {self._heads: self.heads} if self._heads else {}
        named = dict(zip(self.__signature__.parameters, args, strict=False))
        return self.__wrapped__(**named, **given, **kwargs)


# --- lazy layers --------------------------------------------------------------------------------------------------


def awake(module: nn.Module, inputs: int) -> None:
    """Gives lazy layers a width, by one run on WIDTH numbers for each token. Raises InputError where that run fails."""
    if not any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
        return
    x = probes.gaussian("lazy", 2, 5, WIDTH)
    outcome = run(module, (x,) * inputs)
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
        raise InputError(
            f"expected a module whose layers have their sizes; {type(module).__name__} has lazy layers, and a run on "
            f"{tuple(x.shape)} gave none ({outcome.error}). Run it once, then check it."
        )
