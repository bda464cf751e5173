"""Code that takes something else than tensors, as code that takes tensors: numpy arrays, lazy layers."""

import copy
import inspect
import re
from typing import Any

import torch
from torch import nn

from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.arrays import of_arrays
from attnscope.doctor.code_check.run.holding import holding
from attnscope.doctor.code_check.run.parameters import input_role, numbers_in
from attnscope.doctor.code_check.run.sandbox import run
from attnscope.doctor.code_check.run.weights_given import WIDTH, of_weights
from attnscope.errors import InputError


def ready(fn: Any, name: str) -> Any:
    """Something to call with tensors: a class without required arguments is made, all else must be callable. Raises InputError."""
    if isinstance(fn, type):
        if not issubclass(fn, nn.Module):
            raise InputError(f"{name} is a class, and not an nn.Module; pass a function or an instance.")
        try:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)
                fn = fn()
        except TypeError as error:
            message = f"{name} is a class that needs arguments ({error}); pass an instance: check({name}(…))."
            raise InputError(message) from None
    if not callable(fn):
        raise InputError(f"{name} cannot be called; check wants a function of (query, key, value[, mask]) or a module.")
    if isinstance(fn, nn.Module):
        return without_weights(fn)
    held = holding(fn)
    return held if isinstance(held, nn.Module) else of_weights(of_arrays(fn))


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
