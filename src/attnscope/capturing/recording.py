"""Recording: what is written down while a capture is open. A Recorder holds one and makes traces of it."""

from collections.abc import Callable, Sequence
from functools import partial
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.capturing.listen import function_mode
from attnscope.capturing.listen.attention_interface import AttentionCall, listen, listeners, stop_listening
from attnscope.capturing.listen.detect import looks_like_attention
from attnscope.capturing.listen.direct_calls import SOFTMAX
from attnscope.capturing.listen.facts import Facts
from attnscope.capturing.listen.fast_paths import FastPaths
from attnscope.capturing.listen.hooks import Hooks
from attnscope.capturing.listen.module_stack import Running, RunningModules
from attnscope.capturing.listen.reads import is_ids
from attnscope.capturing.passes import Passes
from attnscope.capturing.probing import Probing
from attnscope.capturing.read.kv_cache import KeyKeeper, row_of
from attnscope.capturing.read.value_probe import Probed
from attnscope.capturing.records import (
    ALL_ROWS_UP_TO,
    ASKED,
    Pass,
    Unread,
    WeightsRecord,
    autocast_of,
    record_of,
)
from attnscope.capturing.store import Store
from attnscope.capturing.stream.room import ALL, Room
from attnscope.capturing.surroundings import Surroundings
from attnscope.capturing.to_trace import places_of


class Recording:
    """Listens to the attention calls of one model, in every thread, and keeps a record of each.

    `model`, `keep_passes`, `keep`, `layers`, `sites`, `all_rows`, `own_thread`, `room`, `store`: as for `Recorder`, checked; `facts`: of
    the model; `modules`: its own, where you have them. `ran` holds the paths of the attention-like modules that ran; `calls_torch` tells whether some module calls torch's attention by
    itself.
    """

    def __init__(
        self,
        model: nn.Module,
        facts: Facts,
        keep_passes: int,
        keep: frozenset[str],
        layers: frozenset[int] | None,
        sites: tuple[str, ...] | None,
        all_rows: bool,
        own_thread: bool,
        room: Room = ALL,
        modules: Sequence[nn.Module] | None = None,
        store: str = "device",
    ) -> None:
        self.store = Store(store)
        self.model, self.layers, self.sites = model, layers, sites
        self._keep, self._all_rows, self._own_thread = keep, all_rows, own_thread
        self._room = room
        self.calls_torch = facts.calls_torch
        self.passes = Passes(keep_passes, self.calls_torch, Hooks(model))
        self.ran: set[str] = set()
        self._facts, self._paths = facts, facts.paths
        self._modules = modules
        self._cached = KeyKeeper()
        self._closers: list[Callable[[], None]] = []

    # --- opening and closing --------------------------------------------------------------------------------------

    def open(self) -> None:
        """Put the hooks on and begin to listen; where that fails, nothing is left behind."""
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.passes.hooks.look(self._modules)
        self._modules = None
        handles = []
        for module in self._facts.trunk():
            handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
            handles.append(module.register_forward_hook(self._leave, always_call=True))
        handles += [
            module.register_forward_pre_hook(self._saw_module(path))
            for path, module in self._facts.attention_like()
            if path
        ]
        handles += [table.register_forward_pre_hook(self._saw_ids(path)) for path, table in self._facts.token_tables()]
        self._closers = [handle.remove for handle in handles]
        self._surroundings = Surroundings(self.model, self._facts, self._keep, self._room)
        self._closers.append(self._surroundings.close)
        self._closers.append(lambda: stop_listening(self))
        self.passes.thread = get_ident()
        if asked := self._facts.may_be_asked():
            self._closers.append(Probing(asked, self.passes, self._wants, self._keep_probed).close)
        listen(self)
        if self.calls_torch:
            self.running = RunningModules(self.model)
            self._closers.append(self.running.close)
            self._closers.append(FastPaths(self.model).close)
            self._closers.append(function_mode.enter(self))
        self._surroundings.listen()
        self.passes.hooks.own_are_on()

    def close(self) -> None:
        """Stop listening and take off every hook. What was recorded stays."""
        for close in reversed(self._closers):
            close()
        self._closers = []
        self._cached.forget()
        self.passes.forget_masks()

    def _takes_this_thread(self) -> bool:
        """Whether a call in this thread is for this recording: always in the thread that opened it; in another one
        unless that one has a capture of its own open on the same model, or only the own thread is recorded."""
        here = get_ident()
        if self.passes.thread == here:
            return True
        return not self._own_thread and not any(
            isinstance(other, Recording) and other.passes.thread == here and other.model is self.model
            for other in listeners()
        )

    def _saw_module(self, path: str) -> Callable[..., None]:
        def saw(*_: Any) -> None:
            if self._takes_this_thread():
                self.ran.add(path)
                if (opened := self.passes.current) is not None:
                    opened.ran.add(path)

        return saw

    def _saw_ids(self, path: str) -> Callable[..., None]:
        def saw(_: Any, args: tuple[Any, ...]) -> None:
            if args and is_ids(args[0]) and self._takes_this_thread():
                self.passes.read(path, args[0].detach().clone())

        return saw

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        # Torch puts a hook into one table and "with kwargs" into another: a pass of another thread may come between.
        if self._takes_this_thread():
            self.passes.enter(module, module is self.model, args, kwargs or {})

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        ended = self.passes.leave(module)
        if ended is None:
            return
        ended.streams = self._surroundings.streams(output)
        self._surroundings.forget()
        function_mode.forget()
        known = self._facts.passes.get("widest")
        if ended.order and (known is None or len(ended.order) >= len(known.order)):
            self._facts.passes["widest"] = ended.calls_alone()
        if self.layers is not None:  # which layer a call was, only the whole pass tells
            places = places_of(ended, self.model)
            ended.records = [r for r in ended.records if r.place in places and places[r.place].layer in self.layers]

    # --- recording ------------------------------------------------------------------------------------------------

    def owns(self, module: nn.Module) -> bool:
        """Whether the module is a part of this recording's model."""
        return id(module) in self._paths

    def _wants(self, path: str) -> bool:
        return self.sites is None or any(path == wanted or path.startswith(wanted + ".") for wanted in self.sites)

    def record(self, call: AttentionCall) -> None:
        """Keep one attention call of this model.

        `call`: what went into the attention function and what came out.
        """
        if not self._takes_this_thread():
            return
        path, size = self._paths[id(call.module)], (call.query.shape[2], call.key.shape[2])
        alone = self.passes.depth == 0
        if (entered := self.passes.enter_attention(path, call)) is None:
            return
        opened, place, cross, offset = entered
        if self.calls_torch and (running := self.running.caller()) is not None:
            cells = call.query.shape[0] * call.query.shape[1] * size[0] * size[1]
            opened.taken[running.turn].add((cells, size[1]))
            if call.direct:
                opened.complete.add(running.turn)
        if self._wants(path):
            self._add_record(call, opened, place, path, cross, alone, offset)

    def _add_record(
        self,
        call: AttentionCall,
        opened: Pass,
        place: int,
        path: str,
        cross: bool,
        alone: bool,
        offset: int | None = None,
    ) -> None:
        """A record of the call. `alone`: a part of the model was called by itself. `offset`: where query 0 stands among
        the keys, where the mask tells."""
        size, number = (call.query.shape[2], call.key.shape[2]), opened.calls[path] - 1
        if (alone or self.passes.cached) and place not in opened.beside:  # the keys may change later
            keys = self._cached.keep(path, number, size[0], call.key, call.value)
        else:
            keys = partial(row_of, self.store.keep(call.key), self.store.keep(call.value))
        autocast = autocast_of(call)
        at_once = alone or call.direct or call.edited or self._keep or self._all_rows or self.store.kind != "device"
        if not (at_once or size[0] > ALL_ROWS_UP_TO):
            # a model may write into its mask and bias before its next layer
            now = call.attention_mask is not None or "position_bias" in call.options
            rules = opened.masks.read(call) if now else None
            unread = Unread(call, path, place, number, cross, keys, offset, autocast, rules)
            opened.unread.append(unread)
            self._surroundings.expect(path, call, unread.took_by)
            return
        record = record_of(call, path, place, number, cross, opened.masks, keys, self._all_rows, offset, autocast)
        self._surroundings.add_to(record, call)
        record.query = self.store.keep(record.query)
        opened.records.append(record)

    def saw_softmax(self, running: Running, shape: torch.Size) -> None:
        """Note a softmax over keys in an attention module, whether it is multiplied with values or not.

        `running`: the module's run. `shape`: of its result; with more than four axes it is no one attention.
        """
        opened = self.passes.current
        if opened is not None and looks_like_attention(running.module):
            opened.saw_softmax(running.turn, self._paths[id(running.module)], shape)

    def left_out(self, running: Running) -> None:
        """Note a softmax that met its values, and whose axes or places are not known."""
        opened = self.passes.current
        if opened is not None:
            opened.left_out.add(self._paths[id(running.module)])

    def saw_product(self, running: Running) -> None:
        """Note that a module multiplied two matrices that are no parameters: perhaps queries and keys."""
        opened = self.passes.current
        if opened is not None:
            opened.products[self._paths[id(running.module)]] = True

    def record_weights(self, running: Running, weights: Tensor, call: AttentionCall | None) -> None:
        """Keep the weights of a softmax that were multiplied with values.

        `running`: the module's run. `weights`: [B, H, Q, K]. `call`: the attention around them, where it could be followed.
        """
        if not self._takes_this_thread():
            return
        path, size = self._paths[id(running.module)], (weights.shape[2], weights.shape[3])
        opened = self.passes.current
        if opened is not None and running.turn in opened.complete:
            return  # the module computes them a second time, beside the attention that was recorded, to return them
        alone = self.passes.depth == 0
        cross = self.passes.is_cross(running.module, path, *size)
        if (entered := self.passes.enter_call(path, cross)) is None:
            return
        opened, place = entered
        opened.took_softmax(running.turn, place, weights.shape)
        if not self._wants(path):
            return
        if call is not None:
            self._add_record(call, opened, place, path, cross, alone)
            return
        kept = weights.detach().clone()  # a copy: what the model does with it next is not known
        number = opened.calls[path] - 1
        opened.records.append(WeightsRecord(place, path, number, kept, SOFTMAX, cross))

    def record_streams(self, running: Running, calls: Sequence[AttentionCall]) -> None:
        """Keep the calls of the streams that a run of a module has beside its latest call. Their queries see its keys, and behind
        them their own."""
        opened = self.passes.current
        if not self._takes_this_thread() or opened is None:
            return
        path, alone = self._paths[id(running.module)], self.passes.depth == 0
        main = max(place for place, (other, _) in enumerate(opened.order) if other == path)
        cells = sum(call.query.shape[:3].numel() * call.key.shape[2] for call in calls)
        opened.taken[running.turn].add((cells, calls[0].key.shape[2]))
        for number, call in enumerate(calls, 1):
            if (entered := self.passes.enter_call(path, False)) is None:
                return
            opened, place = entered
            opened.beside[place] = main, number
            if self._wants(path):
                self._add_record(call, opened, place, path, False, alone, 0)

    def _keep_probed(self, path: str, module: nn.Module, found: Probed) -> None:
        """Keep what a module said of its run when it was asked."""
        alone = self.passes.depth == 0
        queries, keys = found.weights.shape[2:]
        cross = self.passes.is_cross(module, path, queries, keys - found.beside)
        if (entered := self.passes.enter_call(path, cross)) is None:
            return
        opened, place = entered
        offset = 0 if found.beside else None
        if found.q is None or found.k is None:
            record = WeightsRecord(place, path, opened.calls[path] - 1, found.weights, ASKED, cross, offset=offset)
            opened.records.append(record)
            return
        options = {"is_causal": False, "scaling": found.scaling}
        seen = found.weights > 0
        mask = seen if found.bias is None else found.bias.masked_fill(~seen, -torch.inf)
        tensors = found.q, found.k, found.v, mask, options, found.z.transpose(1, 2)
        wrote = {"projection": found.projection, "written": found.written}
        call = AttentionCall(module, ASKED, *tensors, direct=True, own_mask=True, **wrote)
        self._add_record(call, opened, place, path, cross, alone, offset)
