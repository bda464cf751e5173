"""attnscope: a microscope for self-attention.

    model, tokenizer = attnscope.load("demo")
    attnscope.show(model, tokenizer, "The cat sat.")

Importing it is light: each name below brings in what it needs when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "AttnscopeError": "errors",
    "CaptureError": "errors",
    "InputError": "errors",
    "LoadError": "errors",
    "NotCaptured": "errors",
    "OutputError": "errors",
    "PayloadError": "errors",
    "Receipt": "tracing",
    "Site": "tracing",
    "Tokens": "tokens",
    "Trace": "tracing",
    "View": "views",
    "capture": "capturing",
    "check": "doctor",
    "compare": "api",
    "load": "loading",
    "load_trace": "payload",
    "show": "api",
    "trace": "api",
}

__all__ = [
    "AttnscopeError",
    "CaptureError",
    "InputError",
    "LoadError",
    "NotCaptured",
    "OutputError",
    "PayloadError",
    "Receipt",
    "Site",
    "Tokens",
    "Trace",
    "View",
    "capture",
    "check",
    "compare",
    "load",
    "load_trace",
    "show",
    "trace",
]

if TYPE_CHECKING:
    from attnscope.api import compare, show, trace
    from attnscope.capturing import capture
    from attnscope.doctor import check
    from attnscope.errors import (
        AttnscopeError,
        CaptureError,
        InputError,
        LoadError,
        NotCaptured,
        OutputError,
        PayloadError,
    )
    from attnscope.models.loading import load
    from attnscope.payload.codec import load_trace
    from attnscope.tracing.tokens import Tokens
    from attnscope.tracing.trace import Receipt, Site, Trace
    from attnscope.views.view import View


_ROOMS = ("attention", "bertviz", "errors")  # submodules that are part of the door


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"attnscope.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'attnscope' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"attnscope.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS, "__version__"})
