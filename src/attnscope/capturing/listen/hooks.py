"""Is a call made by somebody's hook? A hook may run a layer once more, on an input of its own, in the middle of a pass.

Nothing tells such a call from the model's own but who made it, so the frames between the call and the pass are looked at:
torch calls hooks and forward from one function, which names the hook in a variable.
"""

import sys
from collections.abc import Collection
from types import CodeType
from typing import Any

from torch import nn

_OUTER = nn.Module._call_impl.__code__
_CALL = "__call__"  # of a class, by name: every class can be called itself
_CALLERS = {_OUTER, *(one for one in _OUTER.co_consts if isinstance(one, CodeType))}


def called_by_hook(roots: Collection[int]) -> bool:
    """Whether a hook stands between here and the innermost running module of `roots`, their ids. Hooks of this package do not
    count."""
    found, frame = False, sys._getframe(1)
    while (above := frame.f_back) is not None:
        if above.f_code in _CALLERS:
            known = above.f_locals
            hook = known.get("hook")
            own = str(getattr(hook, "__module__", "")).startswith("attnscope.")
            found |= not own and frame.f_code is _code_of(hook)
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
