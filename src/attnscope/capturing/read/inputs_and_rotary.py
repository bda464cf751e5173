"""What is kept only on request: the input x of an attention module, and q, k before rotary embedding."""

import functools
import itertools
import sys
import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from attnscope.capturing.listen.detect import attends_itself

_lock = threading.Lock()
_patched: dict[tuple[str, str], list[Any]] = {}  # (module, function) -> [original, count of open watchers]
_rotary_inputs = (
    threading.local()
)  # tensors: what went into rotary functions since the latest call; seen_by: its watchers


class InputWatcher:
    """Remembers the latest input of every attention-like module, per thread."""

    def __init__(self, model: nn.Module) -> None:
        self._latest = threading.local()
        self._handles = [
            module.register_forward_pre_hook(self._before, with_kwargs=True)
            for module in model.modules()
            if "attention" in type(module).__name__.lower()
            or "attn" in type(module).__name__.lower()
            or attends_itself(module)
        ]

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def input_of(self, module: nn.Module) -> Tensor | None:
        """[B, Q, M], or None where the module took no tensor."""
        return getattr(self._latest, "inputs", {}).pop(id(module), None)

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = kwargs.get("hidden_states", args[0] if args else kwargs.get("query"))
        if isinstance(x, Tensor):
            if not hasattr(self._latest, "inputs"):
                self._latest.inputs = {}
            self._latest.inputs[id(module)] = x


class RotaryWatcher:
    """Remembers what the model's own rotary functions were given, per thread."""

    def __init__(self, model: nn.Module) -> None:
        files = {type(module).__module__ for module in model.modules()}
        self._names = [
            (file, name)
            for file in files & sys.modules.keys()
            for name, function in vars(sys.modules[file]).items()
            if name.startswith("apply_") and "rotary" in name and callable(function)
        ]
        with _lock:
            for file, name in self._names:
                entry = _patched.setdefault((file, name), [getattr(sys.modules[file], name), 0])
                if entry[1] == 0:
                    setattr(sys.modules[file], name, _remembering(entry[0]))
                entry[1] += 1

    def close(self) -> None:
        with _lock:
            for file, name in self._names:
                entry = _patched[file, name]
                entry[1] -= 1
                if entry[1] == 0:
                    setattr(sys.modules[file], name, entry[0])
                    del _patched[file, name]

    def inputs_of(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor] | None:
        """The latest (q, k) that went into a rotary function and have this call's shapes (`key`: its newest rows)."""
        seen: list[Tensor] = getattr(_rotary_inputs, "tensors", [])
        watchers: set[int] = getattr(_rotary_inputs, "seen_by", set())
        if id(self) in watchers:
            return None  # those belong to an earlier call: this layer has no rotary embedding
        _rotary_inputs.seen_by = watchers | {id(self)}
        for q, k in itertools.pairwise(seen):
            fits = q.shape == query.shape and k.shape[1] == key.shape[1] and k.shape[3] == key.shape[3]
            if fits and k.shape[2] <= key.shape[2]:
                return q, k
        return None


def _remembering(function: Callable) -> Callable:
    @functools.wraps(function)
    def remembering(*args: Any, **kwargs: Any) -> Any:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor) and a.ndim == 4][:2]
        earlier = [] if getattr(_rotary_inputs, "seen_by", None) else getattr(_rotary_inputs, "tensors", [])[-2:]
        _rotary_inputs.tensors, _rotary_inputs.seen_by = [*earlier, *tensors], set()
        return function(*args, **kwargs)

    return remembering
