"""The modules of a model, quickly: torch's generators hand every module up through all levels of the tree."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Every module once, the model first; those of a level before those below it."""
    found, seen = [model], {id(model)}
    for module in found:  # the list grows meanwhile
        for child in module._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append(child)
    return found


@contextmanager
def in_eval(model: nn.Module) -> Iterator[bool]:
    """Every module in eval mode inside the block, and each in its own mode again after it: a frozen part of a model in
    training stays frozen. Yields whether some module was in training mode."""
    training = [module for module in modules_of(model) if module.training]
    if training:
        model.eval()
    try:
        yield bool(training)
    finally:
        for module in training:
            module.training = True


def model_name(model: nn.Module) -> str:
    """The name or folder that the model's configuration has of it; its class's where there is none."""
    name = str(getattr(getattr(model, "config", None), "_name_or_path", None) or "")
    # a configuration keeps a name as text: of None that is "None"
    return type(model).__name__ if name in ("", "None") else name


def is_linear(module: nn.Module) -> bool:
    """A layer x · W + b: torch's, or GPT-2's Conv1D, which stores W as [in, out]."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def is_matrix(weight: Any) -> bool:
    """Whether a parameter is the numbers themselves: not quantised, of a subclass of its own, or elsewhere (offloaded)."""
    return type(weight) in (Tensor, nn.Parameter) and weight.is_floating_point() and not weight.is_meta
