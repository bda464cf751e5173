"""The only place that touches transformers' attention interface.

Every attention layer of transformers asks `AttentionInterface.get_interface(name, default)` for the function to call.
While a capture is open that method is wrapped: what it resolves is still called, with the same arguments, and its
numbers are returned untouched; the call is shown to the recorders on the way. The implementation's name is never
changed: registering a new one silently alters the output of models that branch on it.

An editor (attnscope.edit) stands beside the recorders. It alone may change what a call gets and what it gives; recorders see
the call as it was edited.
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
    change it in its place. `edited`: what an editor did in this call; `altered`: so that `output` is no longer weights · v."""

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
    edited: str = ""
    altered: bool = False


@runtime_checkable
class Visit(Protocol):
    """One attention call that is edited. First `inputs` is asked, then attention runs, then `output`."""

    def inputs(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, H, Q, D], [B, Hkv, K, D] and [B, Hkv, K, Dv]: with what attention is to run; the same tensors where they stay."""
        ...

    def output(
        self, call: AttentionCall, weights: Any, untouched: Callable[[], Tensor] | None
    ) -> tuple[AttentionCall, Any]:
        """The call with the output that the module is to get, [B, Q, H, Dv], and the weights that it returns beside it
        (None where it returns none), [B, H, Q, K]. `untouched`: runs attention on what `inputs` was given; None where it cannot
        run twice."""
        ...

    def wrote(self, projection: Projection, written: Tensor) -> None:
        """What W_O, where the call itself names it, made of that output, [B, Q, M]."""
        ...


@runtime_checkable
class Editor(Protocol):
    def visit(self, call: AttentionCall) -> Visit | None:
        """What changes in a call that is about to run, in this thread; None: nothing. Its `output` is not known yet, and holds
        the query."""
        ...


@runtime_checkable
class Listener(Protocol):
    def owns(self, module: nn.Module) -> bool: ...
    def record(self, call: AttentionCall) -> None: ...


_lock = threading.Lock()
_listeners: tuple[Listener, ...] = ()
_editor: Editor | None = None
_restore: Callable[[], None] | None = None
_inside = threading.local()  # depth: attention functions of the interface that run in this thread now


def listen(listener: Listener) -> None:
    """Show `listener` every attention call from now on; the first listener installs the wrapper."""
    global _listeners
    with _lock:
        _ensure_installed()
        _listeners = (*_listeners, listener)


def stop_listening(listener: Listener) -> None:
    """The last listener that leaves removes the wrapper."""
    global _listeners
    with _lock:
        _listeners = tuple(other for other in _listeners if other is not listener)
        _remove_if_unused()


def edit_with(editor: Editor | None) -> None:
    """Ask `editor` about every attention call from now on; None: nobody. There is one, which stands for all open edits."""
    global _editor
    with _lock:
        if editor is not None:
            _ensure_installed()
        _editor = editor
        _remove_if_unused()


def visit_of(call: AttentionCall) -> Visit | None:
    """What the editor changes in a call that is about to run."""
    return None if _editor is None else _editor.visit(call)


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


def _ensure_installed() -> None:
    global _restore
    if _restore is None:
        _restore = _install()


def _remove_if_unused() -> None:
    global _restore
    if not _listeners and _editor is None and _restore is not None:
        _restore()
        _restore = None


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
    """`attend`, with each call of it edited, and shown to the listeners whose model it belongs to."""

    @functools.wraps(attend)
    def watched(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, *args: Any, **options: Any
    ) -> Any:
        def run(query: Any, key: Any, value: Any) -> Any:
            _inside.depth = getattr(_inside, "depth", 0) + 1
            try:
                return attend(module, query, key, value, attention_mask, *args, **options)
            finally:
                _inside.depth -= 1

        def call(output: Any) -> AttentionCall:
            return AttentionCall(module, implementation, query, key, value, attention_mask, options, output)

        visit = None if _editor is None else _editor.visit(call(query))
        seen = None
        if visit is None:
            result = run(query, key, value)
        else:
            given = query, key, value
            query, key, value = visit.inputs(*given)
            result = run(query, key, value)
            seen, result = _edited(visit, call(_output_of(result)), result, lambda: _output_of(run(*given)))
        for listener in _listeners:
            if listener.owns(module):
                seen = seen or call(_output_of(result))
                listener.record(seen)
        return result

    return watched


def _output_of(result: Any) -> Any:
    """[B, Q, H, Dv], with or without weights beside it."""
    return result[0] if isinstance(result, tuple) else result


def _edited(
    visit: Visit, call: AttentionCall, result: Any, untouched: Callable[[], Tensor]
) -> tuple[AttentionCall, Any]:
    """The call as it was edited, and the result that its module gets, in the form of `result`."""
    beside = result[1:] if isinstance(result, tuple) else ()
    given = beside[0] if beside and isinstance(beside[0], Tensor) else None
    call, weights = visit.output(call, given, untouched)
    if not isinstance(result, tuple):
        return call, call.output
    return call, (call.output, *((weights, *beside[1:]) if given is not None else beside))
