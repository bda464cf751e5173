"""Runs of modules whose attention nobody saw, or only in pieces: asked for their weights (read/value_probe.py)."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.capturing.passes import Passes
from attnscope.capturing.read.asked_again import copied, repeatable
from attnscope.capturing.read.value_probe import Probed, TooLong, probe

_Keep = Callable[[str, nn.Module, Probed], None]


class Probing:
    """Hooks on modules that look like attention and do not go through transformers' interface. After a run of one
    without a whole record, or with a softmax beside that which was recorded (Pegasus-X's blocks beside its global tokens), `keep`
    gets what the module says when it is asked."""

    def __init__(
        self, modules: list[tuple[str, nn.Module]], passes: Passes, wants: Callable[[str], bool], keep: _Keep
    ) -> None:
        self._local = threading.local()
        self._passes, self._keep = passes, keep
        self._handles: list[Any] = []
        for path, module in modules:
            if wants(path):
                self._handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
                # before the hooks of others, and before the pass ends where the module is the model
                self._handles.append(module.register_forward_hook(self._leave(path), prepend=True, always_call=True))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def _entered(self) -> list[tuple[nn.Module, tuple[int, int], Any, Any, Tensor]]:
        if not hasattr(self._local, "entered"):
            self._local.entered = []
        return self._local.entered

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        opened, kwargs = self._passes.current, kwargs or {}
        if opened is None or not repeatable(module, args, kwargs):
            return
        given = copied(tuple(args)), {name: copied(value) for name, value in kwargs.items()}
        before = len(opened.order), len(opened.made)
        self._entered.append((module, before, *given, torch.random.get_rng_state()))

    def _leave(self, path: str) -> Callable[..., None]:
        def leave(module: nn.Module, _: Any, output: Any) -> None:
            if not any(one[0] is module for one in self._entered):
                return
            while (entered := self._entered.pop())[0] is not module:
                pass  # a module that broke off before it was left
            opened = self._passes.current
            if opened is None or torch._C._current_graph_task_id() != -1:
                return
            _, (calls, runs), args, kwargs, random = entered
            partial, since = opened.partial, [*opened.made][runs:]
            recorded = any(place not in partial for place in range(calls, len(opened.order)))
            if recorded and not opened.passed_over_in(since):
                return  # all of its attention
            if opened.products.get(path) is False:
                return  # its softmax was of no queries and keys
            try:
                found = probe(module, args, kwargs, output, random)
            except TooLong:
                opened.too_long.add(path)
                return
            except Exception:  # of the module's own code, which was not made to run on such values
                return
            if found is None:
                return
            if recorded:
                if any((found.weights.numel(), found.weights.shape[-1]) in opened.taken[turn] for turn in since):
                    return  # what was recorded is what it says
                opened.took_all(since)
            self._keep(path, module, found)

        return leave
