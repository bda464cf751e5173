"""Passes of a model that is not ours: guarded, compared with each other, and without a trace left on the model."""

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
_COPIED = 1 << 22  # buffers up to this many entries are restored by value; larger ones hold quantised weights


class OutsideTable(Exception):
    """A look-up outside an embedding: rows `low` to `high` of the table at `path`, which has `size` rows."""

    def __init__(self, path: str, size: int, indices: Tensor) -> None:
        super().__init__(f"{path} has {size} rows")
        self.path, self.size = path, size
        self.low, self.high = int(indices.min()), int(indices.max())
        self.count = int(indices.unique().numel())


@dataclass(frozen=True)
class Failure:
    """The model raised `error`; `path` is the last module that was entered."""

    error: str
    path: str


class _EmbeddingGuard(TorchFunctionMode):
    """Refuses look-ups outside a table before they happen: on a GPU they end the process's device for good."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.paths = {id(p): name.rpartition(".")[0] for name, p in model.named_parameters()}

    @no_type_check  # called for every operation: too often for the type checks of the tests
    def __torch_function__(self, func: Callable, types: Any, args: Sequence = (), kwargs: Mapping | None = None) -> Any:
        if func in (torch.nn.functional.embedding, torch.embedding):
            names = ("weight", "input") if func is torch.embedding else ("input", "weight")
            bound = dict(zip(names, args[:2], strict=False)) | dict(kwargs or {})
            indices, weight = bound["input"], bound["weight"]
            if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= weight.shape[0]):
                raise OutsideTable(self.paths.get(id(weight), "an embedding"), weight.shape[0], indices)
        return func(*args, **(kwargs or {}))


def run(
    model: nn.Module, inputs: Mapping[str, Any], seed: int = 0, parameters: dict[str, Tensor] | None = None
) -> Outputs | Failure:
    """The floating-point tensors that the model returns, by name; a Failure where it raises.

    `parameters` replace the model's own of these names, in this pass alone. Raises OutsideTable.
    """
    entered: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, path=path: entered.append(path))
        for path, module in model.named_modules()
    ]
    torch.manual_seed(seed)
    try:
        with _EmbeddingGuard(model):
            output = functional_call(model, parameters, (), dict(inputs)) if parameters else model(**inputs)
            return _float_tensors(output)
    except OutsideTable:
        raise
    except Exception as error:  # a model may raise anything, and that is a result
        message = (str(error).strip() or "no message").splitlines()[0]
        return Failure(f"{type(error).__name__}: {message}", entered[-1] if entered else "")
    finally:
        for handle in handles:
            handle.remove()


def attempt(model: nn.Module, inputs: Mapping[str, Any], seed: int = 0) -> Outputs | None:
    """The same for probes: None where the model does not accept them, or returns NaN, infinity or no tensor."""
    try:
        outputs = run(model, inputs, seed)
    except OutsideTable:
        return None
    if isinstance(outputs, Failure) or not outputs or any(not bool(x.isfinite().all()) for x in outputs.values()):
        return None
    return outputs


def _float_tensors(output: Any) -> Outputs:
    """Tensors at the first level of a model's output; a cache and lists of layers are left out."""
    items: Any = [("output", output)]
    if isinstance(output, Mapping):
        items = output.items()
    elif isinstance(output, (tuple, list)):
        items = enumerate(output)
    return {str(name): x.detach() for name, x in items if isinstance(x, Tensor) and x.is_floating_point() and x.ndim}


def at_positions(outputs: Outputs, shape: Sequence[int], keep: Tensor, decoder: bool) -> list[Tensor]:
    """Each output at the positions `keep` (bool [B, T]); whole, where no output has an axis of positions.

    In an encoder-decoder model (`decoder`) only the encoder's outputs follow the positions of input_ids.
    """
    by_position = [
        x[keep.to(x.device)]
        for name, x in outputs.items()
        if x.ndim >= 3 and tuple(x.shape[:2]) == tuple(shape) and (not decoder or name.startswith("encoder"))
    ]
    if decoder:
        by_position += [x for name, x in outputs.items() if not name.startswith("encoder")]
    return by_position or [x for x in outputs.values() if x.shape[0] == shape[0]]


def distance(these: Sequence[Tensor], those: Sequence[Tensor]) -> float:
    """The largest difference, in standard deviations of `those`; infinite where shapes differ or one side is NaN."""
    largest = 0.0
    for x, y in zip(these, those, strict=True):
        if x.shape != y.shape:
            return float("inf")
        x, y = x.double(), y.double()
        spread = float(y.std()) if y.numel() > 1 else float(y.abs().max())
        difference = float((x - y).abs().max()) if y.numel() else 0.0
        if difference != difference:
            return float("inf")
        largest = max(largest, difference / spread if spread else difference)
    return largest


def tolerance(outputs: Outputs) -> float:
    """The `distance` that rounding explains: another batch shape takes another path through the same arithmetic."""
    return 1e-3 if all(x.dtype in (torch.float32, torch.float64) for x in outputs.values()) else 0.05


@contextlib.contextmanager
def training_flags(model: nn.Module, flags: Mapping[nn.Module, bool] | None = None) -> Iterator[None]:
    """Every module in eval mode, or with the training flags given; restores the flags afterwards."""
    before = {module: module.training for module in model.modules()}
    for module in before:
        module.training = bool(flags and flags[module])
    try:
        yield
    finally:
        for module, flag in before.items():
            module.training = flag


@contextlib.contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """No gradients inside; restores flags, buffers, counters, random states and log levels afterwards."""
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
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            yield
    finally:
        logger.setLevel(level)
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
