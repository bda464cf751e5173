"""The function mode: attention that a module asks torch for by itself, outside transformers' interface.

A TorchFunctionMode sees every call of a torch function in the thread that entered it. Three kinds are attention:
`scaled_dot_product_attention` (q, k, v and output, so the site is whole), `multi_head_attention_forward` (the same, see
multi_head_attention.py) and a softmax over keys that is then multiplied with values: its weights, and q and k where the way
from their product to the softmax could be followed (score_trail.py). Torch's own function is called, with the same
arguments. While a mode is entered torch leaves out its fused fast paths (nn.TransformerEncoder, nn.MultiheadAttention),
so outputs agree with a plain pass to 4 ulp only: the mode is entered for models that need it and no others. One mode per
thread serves all captures of that thread.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

from attnscope.capturing.listen import multi_head_attention
from attnscope.capturing.listen.attention_interface import AttentionCall, within_interface
from attnscope.capturing.listen.axes import heads_behind, in_axes, share_keys
from attnscope.capturing.listen.direct_calls import SOFTMAX, edit_product, run_attention
from attnscope.capturing.listen.module_stack import Running, RunningModules
from attnscope.capturing.listen.score_steps import FOLLOWED, Scores
from attnscope.capturing.listen.score_trail import PRODUCTS, ScoreTrail, plain_operands, proves, values_of
from attnscope.capturing.listen.streams import streams_of

_SOFTMAXES = (F.softmax, torch.softmax, torch.special.softmax, Tensor.softmax)
_WAITING = 4  # softmaxes that were not multiplied with values yet
_PROVED_ROWS = 64  # of the queries, where the weights are computed again


@runtime_checkable
class Watcher(Protocol):
    """What the calls of a model are shown to: a recorder."""

    running: RunningModules

    def record(self, call: AttentionCall) -> None: ...
    def saw_softmax(self, running: Running, shape: torch.Size) -> None: ...
    def saw_product(self, running: Running) -> None: ...
    def left_out(self, running: Running) -> None: ...
    def record_weights(self, running: Running, weights: Tensor, call: AttentionCall | None) -> None: ...
    def record_streams(self, running: Running, calls: Sequence[AttentionCall]) -> None: ...


_Callers = list[tuple[Watcher, Running]]


@dataclass(frozen=True, eq=False)
class _Softmax:
    """The result of a softmax that waits for its values. `stack`: the modules that ran; `scores`: what it was made of."""

    weights: Tensor
    watcher: Watcher
    stack: list[Running]
    scores: Scores | None

    def runs(self) -> bool:
        """Whether the module that made it still runs, or the one around it (where a module of its own made it)."""
        return self.watcher.running.stack[: len(self.stack) - 1] == self.stack[:-1]


class FunctionMode(TorchFunctionMode):
    """The mode of one thread, which serves all captures of that thread."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: tuple[Watcher, ...] = ()
        self.thread = threading.get_ident()
        self._waiting: list[_Softmax] = []
        self._trail = ScoreTrail()
        self._main: tuple[int, AttentionCall] | None = None  # of which run of a module, its latest call
        self._handlers: dict[Any, Callable[..., Any]] = {
            F.scaled_dot_product_attention: self._attention,
            F.multi_head_attention_forward: self._multi_head,
            **dict.fromkeys(FOLLOWED, self._follow),
            **dict.fromkeys(_SOFTMAXES, self._softmax),
            **dict.fromkeys(PRODUCTS, self._product),
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler = self._handlers.get(func)
        if handler is None or within_interface() or not (callers := self._callers()):
            return func(*args, **(kwargs or {}))
        return handler(callers, func, args, kwargs or {})

    def forget(self) -> None:
        self._waiting = []
        self._main = None
        self._trail.forget()

    def _callers(self) -> _Callers:
        """The watchers whose model is running, and the module that calls."""
        found = [(watcher, watcher.running.caller()) for watcher in self.watchers]
        return [(watcher, running) for watcher, running in found if running is not None]

    def _attention(self, callers: _Callers, func: Any, args: Any, kwargs: Any) -> Any:
        result, call = run_attention(callers[0][1].module, func, args, kwargs)
        for watcher, running in callers:
            if call is not None:
                watcher.record(replace(call, module=running.module))
        return result

    def _multi_head(self, callers: _Callers, func: Any, args: Any, kwargs: Any) -> Any:
        result, call = multi_head_attention.run(func, args, kwargs, callers[0][1].module)
        for watcher, running in callers:
            if call is not None:
                watcher.record(replace(call, module=running.module))
        return result

    def _softmax(self, callers: _Callers, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if isinstance(result, Tensor) and result.ndim >= 3 and dim in (-1, result.ndim - 1):
            first = callers[0][0]
            scores = self._trail.scores_of(args[0] if args else kwargs.get("input"))
            for watcher, running in callers:
                watcher.saw_softmax(running, result.shape)
            self._waiting = [*self._waiting[1 - _WAITING :], _Softmax(result, first, [*first.running.stack], scores)]
        return result

    def _follow(self, callers: _Callers, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        self._trail.follow(func, args, kwargs, result)
        return result

    def _product(self, callers: _Callers, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        operands = _operands(args)
        if not any(isinstance(operand, nn.Parameter) for operand in operands):
            for watcher, running in callers:
                watcher.saw_product(running)
        self._waiting = [one for one in self._waiting if one.runs()]
        if (found := self._multiplied(operands)) is None:
            self._trail.begin(func, args, kwargs, result, callers[0][1].turn)
            return result
        self._waiting.remove(found)
        module = callers[0][1].module
        split = _split(found.weights, module)
        values = values_of(func, plain_operands(args), found.weights, _holds, result)
        if values is not None and (streams := self._streams(callers[0][1], found, values)):
            for watcher, running in callers:
                watcher.record_streams(running, [replace(one, module=running.module) for one in streams])
            return result
        call = None
        if split is not None and found.scores is not None and values is not None:
            call = _followed(module, found.scores, found.weights, split, *values)
        if split is not None and (call is not None or found.weights.ndim <= 4):
            lay = functools.partial(_laid, func, args, found.weights, module, split.shape[:2])
            result, call = edit_product(call, module, split, lay, result)
        if call is not None:
            self._main = callers[0][1].turn, call
        for watcher, running in callers:
            if split is None:
                continue
            if call is not None or found.weights.ndim <= 4:
                watcher.record_weights(running, split, None if call is None else replace(call, module=running.module))
            else:
                watcher.left_out(running)
        return result

    def _streams(self, running: Running, found: _Softmax, values: tuple[Tensor, Tensor, Tensor]) -> list[AttentionCall]:
        """The calls of the streams that this product is of, each proved; none where it is of something else."""
        if self._main is None or self._main[0] != running.turn or found.scores is None or found.weights.ndim != 5:
            return []
        streams = streams_of(self._main[1], found.scores, found.weights, *values)
        calls = [_followed(running.module, scores, weights, weights, *rest) for scores, weights, *rest in streams]
        return [] if None in calls else [call for call in calls if call is not None]

    def _multiplied(self, operands: list[Tensor]) -> _Softmax | None:
        """The softmax whose result is among the operands: itself, else the newest of that shape."""
        for same in (_is, _holds):
            for one in reversed(self._waiting):
                if any(same(operand, one.weights) for operand in operands):
                    return one
        return None


def _split(weights: Tensor, module: nn.Module) -> Tensor | None:
    """The weights of a softmax as [B, H, Q, K]."""
    turned = heads_behind(weights, module)
    return None if turned is None else in_axes(turned, module)


def _laid(func: Any, args: Any, weights: Tensor, module: nn.Module, lead: Any, result: Tensor) -> Tensor:
    """The product of weights and values as [B, H, Q, Dv], a view where it can be one."""
    values = values_of(func, plain_operands(args), weights, _holds, result)
    assert values is not None
    turned = heads_behind(values[2], module) if weights.ndim > 4 else values[2]
    assert turned is not None
    return turned.reshape(*lead, *turned.shape[-2:])


def _followed(
    module: nn.Module, scores: Scores, weights: Tensor, split: Tensor, used: Tensor, v: Tensor, z: Tensor
) -> AttentionCall | None:
    """The call that a module's own code made of a product, a softmax and a product; None where q and k do not give its
    weights. `split`: the weights as [B, H, Q, K]; `used`: as they met the values."""
    batch, heads, queries, keys = split.shape
    lead = batch, heads

    def split_like(x: Tensor) -> Tensor:
        turned = heads_behind(x, module) if weights.ndim > 4 else x
        assert turned is not None  # the weights have the same axes
        return turned.detach().reshape(*lead, *x.shape[-2:])

    try:
        given, z = z, z.clone()  # VITS adds to it in its place
        q, k, v, z, given = (split_like(x) for x in (scores.query, scores.key, v, z, given))
        added = scores.added()
        if added is not None:
            shape = torch.broadcast_shapes(added.shape, scores.shape)
            if shape != scores.shape:
                return None
            added = (
                _split_added(added, scores.shape, lead) if weights.ndim <= 4 else split_like(added.expand(scores.shape))
            )
    except RuntimeError:  # axes that do not fit: not the product that this softmax came from
        return None
    if share_keys(scores.key if weights.ndim <= 4 else heads_behind(scores.key, module)):  # type: ignore[arg-type]
        return None
    rows = torch.linspace(0, queries - 1, min(queries, _PROVED_ROWS)).round().long().unique()
    if q.shape[2] != queries or k.shape[2] != keys or not proves(q, k, scores, added, split, rows):
        return None
    changed = not torch.equal(used.reshape(weights.shape), weights.to(used.dtype))
    if changed and not module.training:  # a gate, a head switched off: what z was made of is not the softmax's result
        return None
    options = {"is_causal": False, "scaling": scores.scaling, "softcap": scores.softcap, "dropout": float(changed)}
    output, given = z.transpose(1, 2), given.transpose(1, 2)
    return AttentionCall(module, SOFTMAX, q, k, v, added, options, output, direct=True, own_mask=True, given=given)


def _split_added(added: Tensor, shape: torch.Size, lead: tuple[int, int]) -> Tensor:
    """What is added to scores, [B, H, Q, K]; their batch and heads may be one axis."""
    if len(shape) == 4:
        return added[(None,) * (4 - added.ndim)]
    if added.ndim < 3 or added.shape[-3] == 1:
        return added.reshape(1, 1, *added.shape[-2:]) if added.ndim >= 2 else added.reshape(1, 1, 1, -1)
    return added.reshape(*lead, *added.shape[-2:])


def _operands(args: Any) -> list[Tensor]:
    flat = [part for arg in args for part in (arg if isinstance(arg, (list, tuple)) else [arg])]
    return [part for part in flat if isinstance(part, Tensor)]


def _is(operand: Tensor, weights: Tensor) -> bool:
    """Whether these are the very numbers of the weights, in any axes."""
    return operand.data_ptr() == weights.data_ptr() and operand.numel() == weights.numel()


def _holds(operand: Tensor, weights: Tensor) -> bool:
    """Whether these are the weights, perhaps after a dropout, in another dtype, or with batch and heads joined."""
    return operand.numel() == weights.numel() and operand.shape[-2:] == weights.shape[-2:]


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


def forget() -> None:
    """A pass has ended in this thread: nothing of it is followed any more."""
    mode: FunctionMode | None = getattr(_local, "mode", None)
    if mode is not None:
        mode.forget()


def leave(mode: FunctionMode, watcher: Watcher) -> None:
    """Show `watcher` nothing more. The last one leaves the mode, wherever it is on the stack: captures may overlap
    without nesting."""
    mode.watchers = tuple(other for other in mode.watchers if other is not watcher)
    mode.forget()
    if mode.watchers or mode.thread != threading.get_ident():
        return  # another thread cannot leave it; without watchers it does nothing
    _local.mode = None
    above = []
    while mode in _get_current_function_mode_stack():
        if (popped := _pop_mode()) is not mode:
            above.append(popped)
    for other in reversed(above):
        _push_mode(other)
