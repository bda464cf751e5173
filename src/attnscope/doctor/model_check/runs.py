"""Running a model that is not ours: watched, compared, and left exactly as it was found."""

import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

Outputs = dict[str, Tensor]
_SCALARS = (bool, int, float, str, type(None))
_COPIED = 1 << 22  # buffers up to so many entries are restored by value; larger ones hold quantised weights


class Beyond(Exception):
    """A look-up outside a table: in the table at `path` of `size` rows, `low` to `high` was asked for."""

    def __init__(self, path: str, size: int, indices: Tensor) -> None:
        super().__init__(f"{path} has {size} rows")
        self.path, self.size = path, size
        self.low, self.high = int(indices.min()), int(indices.max())
        self.count = int(indices.unique().numel())


@dataclass(frozen=True)
class Failed:
    """The model raised."""

    error: str
    path: str


class _Tables(TorchFunctionMode):
    """Refuses look-ups outside a table before they happen: on a GPU they end the process's device for good."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.paths = {id(p): name.rpartition(".")[0] for name, p in model.named_parameters()}

    @no_type_check  # called for every operation: too often for the checks of types in tests
    def __torch_function__(self, func: Callable, types: Any, args: Sequence = (), kwargs: Mapping | None = None) -> Any:
        if func in (torch.nn.functional.embedding, torch.embedding):
            bound = dict(zip(("input", "weight"), args[:2], strict=False)) | dict(kwargs or {})
            if func is torch.embedding:
                bound = dict(zip(("weight", "input"), args[:2], strict=False))
            indices, weight = bound["input"], bound["weight"]
            if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= weight.shape[0]):
                raise Beyond(self.paths.get(id(weight), "an embedding"), weight.shape[0], indices)
        return func(*args, **(kwargs or {}))


def run(
    model: nn.Module, inputs: Mapping[str, Any], seed: int = 0, parameters: dict[str, Tensor] | None = None
) -> Outputs | Failed:
    """The floating-point tensors that the model returns, by name; Failed where it raises. Beyond is not caught.

    `parameters` stand in for the model's own of these names, in this pass alone.
    """
    inside: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, path=path: inside.append(path))
        for path, module in model.named_modules()
    ]
    torch.manual_seed(seed)
    try:
        with _Tables(model):
            return _named(functional_call(model, parameters, (), dict(inputs)) if parameters else model(**inputs))
    except Beyond:
        raise
    except Exception as error:  # whatever it is, it is the model's answer
        said = (str(error).strip() or "no message").splitlines()[0]
        return Failed(f"{type(error).__name__}: {said}", inside[-1] if inside else "")
    finally:
        for handle in handles:
            handle.remove()


def attempt(model: nn.Module, inputs: Mapping[str, Any], seed: int = 0) -> Outputs | None:
    """The same for probes: None where the model does not take them, or gives what is no number."""
    try:
        answer = run(model, inputs, seed)
    except Beyond:
        return None
    if isinstance(answer, Failed) or not answer or any(not bool(x.isfinite().all()) for x in answer.values()):
        return None
    return answer


def _named(output: Any) -> Outputs:
    """Tensors at the first level of a model's output; a cache and lists of layers are left out."""
    items: Any = output.items() if isinstance(output, Mapping) else enumerate(output) if isinstance(output, (tuple, list)) else [("output", output)]  # fmt: skip
    return {str(name): x.detach() for name, x in items if isinstance(x, Tensor) and x.is_floating_point() and x.ndim}


def places(outputs: Outputs, shape: Sequence[int], keep: Tensor, decoder: bool) -> list[Tensor]:
    """What each output says at the positions `keep` (bool [B, T]); whole, where none goes by position.

    In an encoder-decoder model (`decoder`) only what is the encoder's goes by the positions of input_ids.
    """
    by_place = [
        x[keep.to(x.device)]
        for name, x in outputs.items()
        if x.ndim >= 3 and tuple(x.shape[:2]) == tuple(shape) and (not decoder or name.startswith("encoder"))
    ]
    if decoder:
        by_place += [x for name, x in outputs.items() if not name.startswith("encoder")]
    return by_place or [x for x in outputs.values() if x.shape[0] == shape[0]]


def apart(these: Sequence[Tensor], those: Sequence[Tensor]) -> float:
    """The largest difference, in standard deviations of the second; infinite where shapes differ or numbers are none."""
    far = 0.0
    for x, y in zip(these, those, strict=True):
        if x.shape != y.shape:
            return float("inf")
        x, y = x.double(), y.double()
        spread = float(y.std()) if y.numel() > 1 else float(y.abs().max())
        gap = float((x - y).abs().max()) if y.numel() else 0.0
        if gap != gap:  # NaN on one side
            return float("inf")
        far = max(far, gap / spread if spread else gap)
    return far


def tolerance(outputs: Outputs) -> float:
    """What rounding may do to `apart`: another shape of batch takes another path through the same arithmetic."""
    return 1e-3 if all(x.dtype in (torch.float32, torch.float64) for x in outputs.values()) else 0.05


@contextlib.contextmanager
def mode(model: nn.Module, flags: Mapping[nn.Module, bool] | None = None) -> Iterator[None]:
    """Every module in eval mode, or with the training flags given; the flags of before come back."""
    before = {module: module.training for module in model.modules()}
    for module in before:
        module.training = bool(flags and flags[module])
    try:
        yield
    finally:
        for module, flag in before.items():
            module.training = flag


@contextlib.contextmanager
def as_found(model: nn.Module) -> Iterator[None]:
    """No gradients, and afterwards everything as it was: flags, buffers, counters, random states, log levels."""
    kept = []
    for module in model.modules():
        attributes = {name: x for name, x in vars(module).items() if isinstance(x, _SCALARS)}
        buffers = {
            name: (x, x.clone() if x is not None and x.numel() <= _COPIED and x.device.type != "meta" else None)
            for name, x in module._buffers.items()
        }
        kept.append((module, set(vars(module)), attributes, buffers))
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    # The model's own code may use the old global generators.
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    loud = logging.getLogger("transformers")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            yield
    finally:
        loud.setLevel(level)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        for module, names, attributes, buffers in kept:
            for name in vars(module).keys() - names:
                del vars(module)[name]
            vars(module).update(attributes)
            for name, (tensor, copy) in buffers.items():
                module._buffers[name] = tensor
                if tensor is not None and copy is not None and not torch.equal(tensor, copy):
                    tensor.copy_(copy)
