"""Which modules of a model are running right now, thread by thread: whose call is this?"""

import itertools
import threading
from dataclasses import dataclass
from typing import Any

from torch import nn

from attnscope.capturing.listen.detect import attends_itself, looks_like_attention

_turns = itertools.count()


@dataclass(frozen=True)
class Running:
    """One run of a module. `turn`: a number that no other run has."""

    module: nn.Module
    turn: int


class RunningModules:
    """The modules that were entered and not left yet, outermost first."""

    def __init__(self, model: nn.Module) -> None:
        self._local = threading.local()
        self._handles: list[Any] = []
        for module in model.modules():
            self._handles.append(module.register_forward_pre_hook(self._enter))
            self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def stack(self) -> list[Running]:
        """Those of this thread."""
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        return self._local.stack

    def caller(self) -> Running | None:
        """The innermost module that is more than a function (nn.Softmax, say, stands for the module around it)."""
        for running in reversed(self.stack):
            module = running.module
            if looks_like_attention(module) or _has_parts(module) or attends_itself(module):
                return running
        return self.stack[-1] if self.stack else None

    def _enter(self, module: nn.Module, *_: Any) -> None:
        self.stack.append(Running(module, next(_turns)))

    def _leave(self, module: nn.Module, *_: Any) -> None:
        if any(running.module is module for running in self.stack):
            while self.stack.pop().module is not module:
                pass  # a module that broke off before it was left


def _has_parts(module: nn.Module) -> bool:
    return next(module.children(), None) is not None or next(module.parameters(recurse=False), None) is not None
