"""Passes of a model that is not ours: guarded, compared with each other, and without a trace left on the model."""

import contextlib
import inspect
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
LookUps = list[tuple[str, Tensor, Tensor]]  # the path of a table, the table, and the rows that were looked up
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

    def __init__(self, model: nn.Module, seen: LookUps | None = None) -> None:
        super().__init__()
        self.paths = {id(p): name.rpartition(".")[0] for name, p in model.named_parameters()}
        self.seen = seen

    @no_type_check  # called for every operation: too often for the type checks of the tests
    def __torch_function__(self, func: Callable, types: Any, args: Sequence = (), kwargs: Mapping | None = None) -> Any:
        if func in (torch.nn.functional.embedding, torch.embedding):
            names = ("weight", "input") if func is torch.embedding else ("input", "weight")
            bound = dict(zip(names, args[:2], strict=False)) | dict(kwargs or {})
            indices, weight = bound["input"], bound["weight"]
            if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= weight.shape[0]):
                raise OutsideTable(self.paths.get(id(weight), "an embedding"), weight.shape[0], indices)
            if self.seen is not None:
                self.seen.append((self.paths.get(id(weight), ""), weight, indices))
        return func(*args, **(kwargs or {}))


def run(
    model: nn.Module,
    inputs: Mapping[str, Any],
    seed: int = 0,
    parameters: dict[str, Tensor] | None = None,
    look_ups: LookUps | None = None,
) -> Outputs | Failure:
    """The floating-point tensors that the model returns, by name; a Failure where it raises.

    `parameters` replace the model's own of these names, in this pass alone. `look_ups` receives what was looked up in
    tables. Raises OutsideTable.
    """
    entered: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, path=path: entered.append(path))
        for path, module in model.named_modules()
    ]
    torch.manual_seed(seed)
    args, named = as_called(model, inputs)
    try:
        with _EmbeddingGuard(model, look_ups):
            output = functional_call(model, parameters, args, named) if parameters else model(*args, **named)
            return _float_tensors(output, _chooses(model))
    except OutsideTable:
        raise
    except Exception as error:  # a model may raise anything, and that is a result
        message = (str(error).strip() or "no message").splitlines()[0]
        return Failure(f"{type(error).__name__}: {message}", entered[-1] if entered else "")
    finally:
        for handle in handles:
            handle.remove()


def as_called(model: nn.Module, inputs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of forward. A hand-written model may have another name for its ids: they are its first argument then,
    and what its forward does not name is left out. A model for multiple choice takes rows as the choices of one question."""
    named = dict(inputs)
    if _chooses(model):
        named = {n: x[None] if isinstance(x, Tensor) and x.ndim == 2 else x for n, x in named.items()}
    parameters = inspect.signature(model.forward).parameters
    if (
        "input_ids" not in named
        or "input_ids" in parameters
        or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    ):
        return (), named
    return (named["input_ids"],), {n: x for n, x in named.items() if n in list(parameters)[1:]}


def _chooses(model: nn.Module) -> bool:
    return type(model).__name__.endswith("ForMultipleChoice")


def attempt(
    model: nn.Module, inputs: Mapping[str, Any], seed: int = 0, look_ups: LookUps | None = None
) -> Outputs | None:
    """The same for probes: None where the model does not accept them, or returns NaN, infinity or no tensor."""
    try:
        outputs = run(model, inputs, seed, look_ups=look_ups)
    except OutsideTable:
        return None
    if isinstance(outputs, Failure) or not outputs or any(not bool(x.isfinite().all()) for x in outputs.values()):
        return None
    return outputs


def attempt_states(model: nn.Module, inputs: Mapping[str, Any]) -> Outputs | None:
    """What the model under a head returns: one vector for each position, where the head may keep one for each row."""
    inner: Any = model
    for _ in range(4):  # an adapter around a head around the model
        below = getattr(inner, "base_model", None)
        if not isinstance(below, nn.Module) or below is inner:
            break
        inner = below
    seen: list[Outputs] = []
    handle = inner.register_forward_hook(lambda _, __, output: seen.append(_float_tensors(output)))
    try:
        outputs = attempt(model, inputs)
    finally:
        handle.remove()
    states = seen[-1] if seen else {}
    return states if outputs and states and all(bool(x.isfinite().all()) for x in states.values()) else outputs


def _float_tensors(output: Any, choices: bool = False) -> Outputs:
    """Tensors at the first level of a model's output; a cache and lists of layers are left out."""
    items: Any = [("output", output)]
    if isinstance(output, Mapping):
        items = output.items()
    elif isinstance(output, (tuple, list)):
        items = enumerate(output)
    found = {str(name): x.detach() for name, x in items if isinstance(x, Tensor) and x.is_floating_point() and x.ndim}
    return {name: x.reshape(-1, 1) for name, x in found.items() if x.ndim == 2} if choices else found


def follows_positions(x: Tensor, shape: Sequence[int]) -> bool:
    """Whether the first two axes of an output are those of the ids, [B, T]: a vector or a score for each token."""
    return x.ndim >= 2 and tuple(x.shape[:2]) == tuple(shape)


def at_positions(outputs: Outputs, shape: Sequence[int], keep: Tensor, decoder: bool) -> list[Tensor]:
    """Each output at the positions `keep` (bool [B, T]); whole, where no output has an axis of positions.

    In an encoder-decoder model (`decoder`) only the encoder's outputs follow the positions of input_ids.
    """
    by_position = [
        x[keep.to(x.device)]
        for name, x in outputs.items()
        if follows_positions(x, shape) and (not decoder or name.startswith("encoder"))
    ]
    if decoder:
        by_position += [x for name, x in outputs.items() if not name.startswith("encoder")]
    return by_position or [x for x in outputs.values() if x.shape[0] == shape[0]]


def first_change(
    model: nn.Module, one: Mapping[str, Any], other: Mapping[str, Any], keep: Tensor, limit: float
) -> tuple[str, bool] | None:
    """The first module whose output differs between two passes at the positions `keep` (bool [1, T]), and whether an output
    before it was shorter than the row (pooled). None where none differs."""
    passes: list[list[tuple[str, Tensor]]] = []
    for inputs in (one, other):
        log: list[tuple[str, Tensor]] = []

        def note(path: str, output: Any, log: list[tuple[str, Tensor]] = log) -> None:
            x = next(iter(_float_tensors(output).values()), None)
            if x is not None and x.ndim >= 3:
                log.append((path, x))

        handles = [m.register_forward_hook(lambda _, __, x, p=p, n=note: n(p, x)) for p, m in model.named_modules()]
        try:
            attempt(model, inputs)
        finally:
            for handle in handles:
                handle.remove()
        passes.append(log)
    shortened = False
    for (path, x), (_, y) in zip(*passes, strict=False):
        if follows_positions(x, keep.shape) and distance([y[keep.to(y.device)]], [x[keep.to(x.device)]]) > limit:
            return path, shortened
        shortened = shortened or 1 < x.shape[1] < keep.shape[1]
    return None


def mixes_neighbours(model: nn.Module) -> bool:
    """Whether a convolution or a pooling mixes neighbouring positions, which no attention mask can prevent."""
    local = (nn.modules.conv._ConvNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._MaxPoolNd)
    return any(
        isinstance(module, local) and max(_numbers(module.kernel_size)) > 1  # pyright: ignore[reportArgumentType]
        for module in model.modules()
    )


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


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
