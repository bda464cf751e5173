"""A module that runs again on the same inputs, without hooks, with other outputs in the place of those of its linear layers."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.capturing.listen.axes import heads_named_by
from attnscope.capturing.listen.detect import makes_shares
from attnscope.tracing.modules import is_linear

_PLAIN = (bool, int, float, str, Tensor, type(None))


class Layer(nn.Module):
    """A linear layer, with what it took and gave in each of its runs. `instead`: what it gives in the place of its output."""

    def __init__(self, inner: nn.Module, order: list["Run"]) -> None:
        super().__init__()
        self.inner, self.order = inner, order
        self.instead: dict[int, Tensor] = {}
        self.ran = 0

    def __getattr__(self, name: str) -> Any:  # a module may read the weight of its layer
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        number, self.ran = self.ran, self.ran + 1
        given = self.inner(x, *more)
        given = self.instead[number].to(given.dtype) if number in self.instead else given
        self.order.append(Run(self, number, x, given))
        return given


@dataclass(frozen=True)
class Run:
    """One run of a layer: the `number`-th in a run of the module, what it took and gave. Runs of the same place are equal."""

    layer: Layer
    number: int
    taken: Tensor = field(compare=False)
    given: Tensor = field(compare=False)


class Asked:
    """A copy of the module without hooks, which shares its parameters."""

    def __init__(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], random: Tensor) -> None:
        self.order: list[Run] = []
        self._args, self._kwargs, self._random = args, kwargs, random
        self.heads = heads_named_by(module) or 1
        self.hidden = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.ndim == 3), None)
        self._module = _bare(module, self.order)

    def run(self, instead: Mapping[Run, Tensor] | None = None, to: Run | None = None) -> Tensor | None:
        """The module's output, or what `to` took; with `instead` in the place of what runs of layers give."""
        self.order.clear()
        for one in self._module.modules():
            if isinstance(one, Layer):
                one.ran = 0
                one.instead = {run.number: x for run, x in (instead or {}).items() if run.layer is one}
        torch.random.set_rng_state(self._random)
        args, kwargs = copied(tuple(self._args)), {name: copied(x) for name, x in self._kwargs.items()}
        came = first_tensor(self._module.forward(*args, **kwargs))
        return came if to is None else next((run.taken for run in self.order if run == to), None)


def _bare(module: nn.Module, order: list[Run]) -> nn.Module:
    plain = copy.copy(module)
    plain.__dict__ = dict(module.__dict__)
    for name, value in module.__dict__.items():
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")) and isinstance(value, dict):
            plain.__dict__[name] = type(value)()
    plain.__dict__["_modules"] = {
        name: None if child is None else _bare(child, order) for name, child in module._modules.items()
    }
    return Layer(plain, order) if is_linear(module) else plain


def first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


def repeatable(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a second run would change nothing: no training, arguments that can be copied, no forward that something else has
    replaced. A cache is copied only for modules whose softmax nobody sees: for others it would cost much for nothing."""
    if not makes_shares(module) and any(hasattr(value, "update") for value in (*args, *kwargs.values())):
        return False
    plain = all(_plain(value) for value in (*args, *kwargs.values()))
    return plain and not module.training and not any("forward" in vars(part) for part in module.modules())


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_plain, value))
    return isinstance(value, _PLAIN) or hasattr(value, "update")  # a cache


def copied(value: Any) -> Any:
    """Arguments as they are now: the module may change them in their place."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(copied, value))
    if isinstance(value, Tensor):
        return value.detach().clone()
    return value if isinstance(value, _PLAIN) else copy.deepcopy(value)
