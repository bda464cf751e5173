"""Softmaxes over keys that a module makes beside those which were recorded: an exact row must not pass over them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax
from torch.overrides import TorchFunctionMode

from attnscope.capturing.listen.detect import looks_like_attention
from attnscope.tracing.trace import Trace

_SOFTMAX = (softmax, torch.softmax, torch.special.softmax, Tensor.softmax)


def passed_over(model: nn.Module, inputs: Mapping[str, Any], trace: Trace) -> dict[str, str]:
    """Paths of modules that `trace` has a part of, and how much: "1 of 2 softmaxes"."""
    made, recorded = _made(model, inputs), Counter(site.path for site in trace.sites)
    return {
        path: f"{recorded[path]} of {count} softmaxes" for path, count in made.items() if 0 < recorded[path] < count
    }


@torch.no_grad()
def _made(model: nn.Module, inputs: Mapping[str, Any]) -> Counter[str]:
    """How many softmaxes along the last axis each attention module makes in one pass, by its path."""
    running: list[str] = []
    made: Counter[str] = Counter()

    class Counts(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func in _SOFTMAX and running and isinstance(result, Tensor) and result.ndim >= 3:
                axis = (kwargs or {}).get("dim", args[1] if len(args) > 1 else None)
                made[running[-1]] += axis in (-1, result.ndim - 1)
            return result

    def enter(path: str) -> Any:
        return lambda *_: running.append(path)

    def leave(*_: Any) -> None:
        running.pop()

    handles = []
    for path, module in model.named_modules():
        if looks_like_attention(module):
            handles.append(module.register_forward_pre_hook(enter(path)))
            handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        with Counts():
            model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return made
