"""The function mode: attention that a module asks torch for by itself, outside transformers' interface.

A TorchFunctionMode sees every call of a torch function in the thread that entered it. Three kinds are attention:
`scaled_dot_product_attention` (q, k, v and output, so the site is whole), `multi_head_attention_forward` (the same, see
multi_head_attention.py) and a softmax over keys that is then multiplied with values: its weights, and q and k where the way
from their product to the softmax could be followed (score_trail.py). Torch's own function is called, with the same
arguments. While a mode is entered torch leaves out its fused fast paths (nn.TransformerEncoder, nn.MultiheadAttention),
so outputs agree with a plain pass to 4 ulp only: the mode is entered for models that need it and no others. One mode per
thread serves all captures of that thread.
"""

import threading
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

from attnscope.capturing.listen import multi_head_attention
from attnscope.capturing.listen.attention_interface import AttentionCall, within_interface
from attnscope.capturing.listen.module_stack import Running, RunningModules
from attnscope.capturing.listen.score_trail import FOLLOWED, PRODUCTS, Scores, ScoreTrail, proves, values_of

SDPA = "F.scaled_dot_product_attention"
MULTI_HEAD = "F.multi_head_attention_forward"
SOFTMAX = "softmax"

_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads", "h")
_SOFTMAXES = (F.softmax, torch.softmax, torch.special.softmax, Tensor.softmax)
_PROVED_ROWS = 64  # of the queries, where the weights are computed again


@runtime_checkable
class Watcher(Protocol):
    """What the calls of a model are shown to: a recorder."""

    running: RunningModules

    def record(self, call: AttentionCall) -> None: ...
    def saw_softmax(self, running: Running, size: torch.Size) -> None: ...
    def record_weights(self, running: Running, weights: Tensor, call: AttentionCall | None) -> None: ...


class FunctionMode(TorchFunctionMode):
    """The mode of one thread, which serves all captures of that thread."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: tuple[Watcher, ...] = ()
        self.thread = threading.get_ident()
        self._weights: tuple[Tensor, Watcher, list[Running], Scores | None] | None = None
        self._trail = ScoreTrail()
        self._handlers: dict[Any, Callable[..., Any]] = {
            F.scaled_dot_product_attention: self._attention,
            F.multi_head_attention_forward: self._multi_head,
            **dict.fromkeys(FOLLOWED, self._follow),
            **dict.fromkeys(_SOFTMAXES, self._softmax),
            **dict.fromkeys(PRODUCTS, self._product),
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler = self._handlers.get(func)
        if handler is None or within_interface() or not self._callers():
            return func(*args, **(kwargs or {}))
        return handler(func, args, kwargs or {})

    def _callers(self) -> list[tuple[Watcher, Running]]:
        """The watchers whose model is running, and the module that calls."""
        found = [(watcher, watcher.running.caller()) for watcher in self.watchers]
        return [(watcher, running) for watcher, running in found if running is not None]

    def _attention(self, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        for watcher, running in self._callers():
            if (call := _read_attention(running.module, result, *args, **kwargs)) is not None:
                watcher.record(call)
        return result

    def _multi_head(self, func: Any, args: Any, kwargs: Any) -> Any:
        result, seen = multi_head_attention.run(func, args, kwargs)
        for watcher, running in self._callers():
            if seen is not None:
                tensors = seen.query, seen.key, seen.value, seen.mask, seen.options, seen.output
                watcher.record(AttentionCall(running.module, MULTI_HEAD, *tensors, True, seen.projection, seen.written))
        return result

    def _softmax(self, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if isinstance(result, Tensor) and result.ndim in (3, 4) and dim in (-1, result.ndim - 1):
            callers = self._callers()
            for watcher, running in callers:
                watcher.saw_softmax(running, result.shape[-2:])
            first = callers[0][0]
            scores = self._trail.scores_of(args[0] if args else kwargs.get("input"))
            self._weights = result, first, [*first.running.stack], scores
            self._trail.forget()
        return result

    def _follow(self, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        self._trail.follow(func, args, kwargs, result)
        return result

    def _product(self, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        if self._weights is None:
            self._trail.begin(func, args, kwargs, result)
            return result
        weights, watcher, stack, scores = self._weights
        # Still in the module that made the softmax, or in the one around it (where a module of its own made it).
        if watcher.running.stack[: len(stack) - 1] != stack[:-1]:
            self._weights = None
        elif any(_holds(operand, weights) for operand in _operands(args)):
            self._weights = None
            for other, running in self._callers():
                if (split := _in_axes(weights, running.module)) is not None:
                    call = None
                    if scores is not None and (values := values_of(func, args, weights, _holds, result)) is not None:
                        call = _followed(running.module, scores, weights, split, *values)
                    other.record_weights(running, split, call)
            return result
        self._trail.begin(func, args, kwargs, result)
        return result


def _followed(
    module: nn.Module, scores: Scores, weights: Tensor, split: Tensor, used: Tensor, v: Tensor, z: Tensor
) -> AttentionCall | None:
    """The call that a module's own code made of a product, a softmax and a product; None where q and k do not give its
    weights. `split`: the weights as [B, H, Q, K]; `used`: as they met the values."""
    batch, heads, queries, keys = split.shape
    lead = batch, heads

    def split_like(x: Tensor) -> Tensor:
        return x.detach().reshape(*lead, *x.shape[-2:])

    try:
        q, k, v, z = (split_like(x) for x in (scores.query, scores.key, v, z))
        added = scores.added()
        if added is not None:
            shape = torch.broadcast_shapes(added.shape, scores.shape)
            if shape != scores.shape:
                return None
            added = added[(None,) * (4 - added.ndim)] if weights.ndim == 4 else _split_added(added, weights.shape, lead)
    except RuntimeError:  # axes that do not fit: not the product that this softmax came from
        return None
    rows = torch.linspace(0, queries - 1, min(queries, _PROVED_ROWS)).round().long().unique()
    if q.shape[2] != queries or k.shape[2] != keys or not proves(q, k, scores, added, split, rows):
        return None
    changed = not torch.equal(used.reshape(weights.shape), weights.to(used.dtype))
    if changed and not module.training:  # a gate, a head switched off: what z was made of is not the softmax's result
        return None
    options = {"is_causal": False, "scaling": scores.scaling, "softcap": scores.softcap, "dropout": float(changed)}
    return AttentionCall(module, SOFTMAX, q, k, v, added, options, z.transpose(1, 2), direct=True, own_mask=True)


def _split_added(added: Tensor, shape: torch.Size, lead: tuple[int, int]) -> Tensor:
    """What is added to scores whose batch and heads are one axis, [B, H, Q, K]."""
    if added.ndim < 3 or added.shape[-3] == 1:
        return added.reshape(1, 1, *added.shape[-2:]) if added.ndim >= 2 else added.reshape(1, 1, 1, -1)
    return added.reshape(*lead, *added.shape[-2:])


def _operands(args: Any) -> list[Tensor]:
    flat = [part for arg in args for part in (arg if isinstance(arg, (list, tuple)) else [arg])]
    return [part for part in flat if isinstance(part, Tensor)]


def _holds(operand: Tensor, weights: Tensor) -> bool:
    """Whether these are the weights, perhaps after a dropout, in another dtype, or with batch and heads joined."""
    return operand.numel() == weights.numel() and operand.shape[-2:] == weights.shape[-2:]


def _read_attention(
    module: nn.Module,
    output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> AttentionCall | None:
    """torch's own signature. None for tensors that have no such axes (nested ones)."""
    if query.is_nested or key.is_nested or value.is_nested:
        return None
    if query.ndim > 4:  # windows, axes and frames are rows of the batch
        leading = query.shape[:-3]
        key, value = (x.expand(*leading, *x.shape[-3:]) for x in (key, value))
        if attn_mask is not None:
            attn_mask = attn_mask.expand(*leading, *((1,) * (3 - attn_mask.ndim)), *attn_mask.shape[-3:])
    elif attn_mask is not None and query.ndim == 4:
        attn_mask = attn_mask.reshape((1,) * (4 - attn_mask.ndim) + tuple(attn_mask.shape))
    parts = [_in_axes(x, module) for x in (query, key, value, output)]
    mask = attn_mask if attn_mask is None else _in_axes(torch.atleast_2d(attn_mask), module)
    q, k, v, z = parts
    if q is None or k is None or v is None or z is None or (mask is None) != (attn_mask is None):
        return None
    options = {"is_causal": is_causal, "scaling": scale, "dropout": dropout_p}
    return AttentionCall(module, SDPA, q, k, v, mask, options, z.transpose(1, 2), direct=True)


def _in_axes(x: Tensor, module: nn.Module) -> Tensor | None:
    """`x` as [B, H, T, D]. The first of three axes is batch × heads if the module names its number of heads."""
    if x.ndim == 2:
        return x[None, None]
    if x.ndim == 3:
        heads = next((n for name in _HEADS if type(n := getattr(module, name, None)) is int and n > 0), 1)
        heads = heads if len(x) % heads == 0 else 1
        return x.unflatten(0, (len(x) // heads, heads))
    return x.flatten(0, -4) if x.ndim >= 4 else None


# --- entering and leaving ---------------------------------------------------------------------------------------------

_local = threading.local()


def enter(watcher: Watcher) -> Callable[[], None]:
    """Show `watcher` the calls of this thread from now on; the first one enters the mode. Returns what ends it."""
    mode: FunctionMode | None = getattr(_local, "mode", None)
    if mode is None:
        mode = _local.mode = FunctionMode()
        mode.__enter__()
    mode.watchers = (*mode.watchers, watcher)
    return lambda: leave(mode, watcher)


def leave(mode: FunctionMode, watcher: Watcher) -> None:
    """Show `watcher` nothing more. The last one leaves the mode, wherever it is on the stack: captures may overlap
    without nesting."""
    mode.watchers = tuple(other for other in mode.watchers if other is not watcher)
    mode._weights = None
    if mode.watchers or mode.thread != threading.get_ident():
        return  # another thread cannot leave it; without watchers it does nothing
    _local.mode = None
    above = []
    while mode in _get_current_function_mode_stack():
        if (popped := _pop_mode()) is not mode:
            above.append(popped)
    for other in reversed(above):
        _push_mode(other)
