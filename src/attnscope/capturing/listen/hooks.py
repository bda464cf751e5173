"""Is a call made by somebody's hook? A hook may run a layer once more, on an input of its own, in the middle of a pass.

Nothing tells such a call from the model's own but who made it, so the frames between the call and the pass are looked at:
torch calls hooks and forward from one function, which names the hook in a variable. That takes as long as all else that a
capture does for a call, so it is done only in a model with hooks.
"""

import sys
from collections.abc import Collection, Iterable
from types import CodeType
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module
from torch.utils.hooks import RemovableHandle

from attnscope.tracing.modules import modules_of

_OUTER = nn.Module._call_impl.__code__
_CALL = "__call__"  # of a class, by name: every class can be called itself
_CALLERS = {_OUTER, *(one for one in _OUTER.co_consts if isinstance(one, CodeType))}


class Hooks:
    """The hooks that others have put on a `model`, or on all modules."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._any, self._made = model, True, -1

    def look(self, modules: Iterable[nn.Module] | None = None) -> None:
        """See whether there are any now. `modules`: of the model, where you have them."""
        self._made = RemovableHandle.next_id  # torch counts the hooks that were ever put on anything
        of_all = torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks
        self._any = bool(of_all) or any(map(has_hooks, modules or modules_of(self._model)))

    def own_are_on(self) -> None:
        """The hooks of this package were put on since the last look, and no others."""
        self._made = RemovableHandle.next_id

    def called(self, roots: Collection[int]) -> bool:
        """Whether one of them made the call that runs now: see `called_by_hook`."""
        if self._made != RemovableHandle.next_id:
            self.look()
        return self._any and called_by_hook(roots)


def has_hooks(module: nn.Module) -> bool:
    """Whether others than attnscope hook into the forward of a module, and may change what it takes or returns."""
    if not module._forward_hooks and not module._forward_pre_hooks:
        return False
    return not all(map(is_own, (*module._forward_hooks.values(), *module._forward_pre_hooks.values())))


def is_own(hook: Any) -> bool:
    """Whether it is one of attnscope's."""
    return str(getattr(hook, "__module__", "")).startswith("attnscope.")


def called_by_hook(roots: Collection[int]) -> bool:
    """Whether a hook stands between here and the innermost running module of `roots`, their ids. Hooks of this package do not
    count."""
    found, frame = False, sys._getframe(1)
    while (above := frame.f_back) is not None:
        if above.f_code in _CALLERS:
            known = above.f_locals
            hook = known.get("hook")
            found |= not is_own(hook) and frame.f_code is _code_of(hook)
            if id(known.get("self")) in roots:
                return found
        frame = above
    return False


def _code_of(hook: Any) -> CodeType | None:
    """Of a function, a method, a partial of one, or an object that can be called."""
    while hasattr(hook, "func"):
        hook = hook.func
    hook = getattr(hook, "__func__", hook)
    code = getattr(hook, "__code__", None) or getattr(getattr(type(hook), _CALL, None), "__code__", None)
    return code if isinstance(code, CodeType) else None
