"""The modules of a model, quickly: torch's generators hand every module up through all levels of the tree.

A short text's trace should cost little more than its forward pass, so what follows from the modules alone is found once. A
model may be changed between two traces (an adapter added, a layer replaced, a module compiled): what is known is used only
while the model looks the same. That is the same modules under the same names, of the same classes, with as many attributes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import is_
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

ModuleRef = Any  # weakref.ref[nn.Module]


class Look(NamedTuple):
    """A model as it is now. `modules`: every one once, the model first. `known`: what was found out about it since it has
    looked like this, by name; nothing in it may keep a module alive."""

    modules: list[nn.Module]
    known: dict[str, Any]


_seen: WeakKeyDictionary[nn.Module, tuple[list[ModuleRef], Any, dict[str, Any]]] = WeakKeyDictionary()


def look_at(model: nn.Module) -> Look:
    """The model's modules, and what is known of them as they are now."""
    modules, names = _walk(model)
    refs = [*map(ref, modules)]  # a module has one as long as it lives; its id may become another's
    looks = names, [*map(type, modules)], [len(module.__dict__) for module in modules]
    seen = _seen.get(model)
    if seen is None or seen[1] != looks or not all(map(is_, seen[0], refs)):
        seen = _seen[model] = refs, looks, {}
    return Look(modules, seen[2])


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Every module once, the model first; those of a level before those below it."""
    return _walk(model)[0]


def _walk(model: nn.Module) -> tuple[list[nn.Module], list[tuple[str, ...]]]:
    """Every module once, and the names of the children of each."""
    found, seen, names = [model], {id(model)}, list[tuple[str, ...]]()
    for module in found:  # the list grows meanwhile
        children = module._modules
        names.append(tuple(children))
        if children:
            for child in children.values():
                if child is not None and id(child) not in seen:
                    seen.add(id(child))
                    found.append(child)
    return found, names


@contextmanager
def in_eval(model: nn.Module, modules: Sequence[nn.Module] | None = None) -> Iterator[bool]:
    """Every module in eval mode inside the block, and each in its own mode again after it: a frozen part of a model in
    training stays frozen. Yields whether some module was in training mode. `modules`: all of them, where you have them."""
    training = [module for module in modules or modules_of(model) if module.training]
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
