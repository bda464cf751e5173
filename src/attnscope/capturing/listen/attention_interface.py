"""The only place that touches transformers' attention interface.

Every attention layer of transformers asks `AttentionInterface.get_interface(name, default)` for the function to call.
While a capture is open that method is wrapped: what it resolves is still called, with the same arguments, and its
numbers are returned untouched; the call is shown to the recorders on the way. The implementation's name is never
changed: registering a new one silently alters the output of models that branch on it.
"""

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from attnscope.capturing.listen.cache_updates import watch_caches
from attnscope.errors import CaptureError
from attnscope.tracing.output_projection import Projection
from attnscope.versions import unsupported


@dataclass(frozen=True)
class AttentionCall:
    """One call of an attention function: what went in and what came out. `query`: [B, H, Q, D]; `key`, `value`: [B,
    Hkv, K, D];
    `output`: [B, Q, H, Dv]. `direct`: torch was called by itself, and not through the interface. `projection`: W_O,
    where the call itself names it; `written`: what that made of the output, [B, Q, M]. `own_mask`: the mask was put together
    for this call, so no other call shares it. `given`: what the module holds of the output, where `output` is a copy: it may
    change it in its place."""

    module: nn.Module
    implementation: str
    query: Tensor
    key: Tensor
    value: Tensor
    attention_mask: Any
    options: dict[str, Any]
    output: Tensor
    direct: bool = False
    projection: Projection | None = None
    written: Tensor | None = None
    own_mask: bool = False
    given: Tensor | None = None


@runtime_checkable
class Listener(Protocol):
    def owns(self, module: nn.Module) -> bool: ...
    def record(self, call: AttentionCall) -> None: ...


_lock = threading.Lock()
_listeners: tuple[Listener, ...] = ()
_restore: Callable[[], None] | None = None
_inside = threading.local()  # depth: attention functions of the interface that run in this thread now


def listen(listener: Listener) -> None:
    """Show `listener` every attention call from now on; the first listener installs the wrapper."""
    global _listeners, _restore
    with _lock:
        if not _listeners:
            _restore = _install()
        _listeners = (*_listeners, listener)


def stop_listening(listener: Listener) -> None:
    """The last listener that leaves removes the wrapper."""
    global _listeners, _restore
    with _lock:
        _listeners = tuple(other for other in _listeners if other is not listener)
        if not _listeners and _restore is not None:
            _restore()
            _restore = None


def listeners() -> tuple[Listener, ...]:
    """Who listens now."""
    return _listeners


def within_interface() -> bool:
    """Whether this thread is inside an attention function of the interface, whose call is recorded as that one."""
    return getattr(_inside, "depth", 0) > 0


def _interface() -> type:
    why = unsupported()
    if why:
        raise CaptureError(why)
    from transformers import modeling_utils

    return modeling_utils.AttentionInterface


def _install() -> Callable[[], None]:
    interface = _interface()
    leave_caches = watch_caches()
    original: Any = interface.get_interface  # type: ignore[attr-defined]

    @functools.wraps(original)
    def get_interface(self: Any, attn_implementation: str, default: Callable) -> Callable:
        return _watched(original(self, attn_implementation, default), attn_implementation or "eager")

    interface.get_interface = get_interface  # type: ignore[attr-defined]

    def restore() -> None:
        leave_caches()
        interface.get_interface = original  # type: ignore[attr-defined]

    return restore


@functools.lru_cache(maxsize=32)
def _watched(attend: Callable, implementation: str) -> Callable:
    """`attend`, with each call of it shown to the listeners whose model it belongs to."""

    @functools.wraps(attend)
    def watched(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, *args: Any, **options: Any
    ) -> Any:
        _inside.depth = getattr(_inside, "depth", 0) + 1
        try:
            result = attend(module, query, key, value, attention_mask, *args, **options)
        finally:
            _inside.depth -= 1
        for listener in _listeners:
            if listener.owns(module):
                output = result[0] if isinstance(result, tuple) else result
                listener.record(
                    AttentionCall(module, implementation, query, key, value, attention_mask, options, output)
                )
        return result

    return watched
