"""A session: the hooks of one open edit on its model. It knows where every call stands, and which rules hold there."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.capturing.listen import function_mode
from attnscope.capturing.listen.attention_interface import AttentionCall
from attnscope.capturing.listen.detect import looks_like_attention
from attnscope.capturing.listen.direct_calls import SOFTMAX
from attnscope.capturing.listen.facts import Facts
from attnscope.capturing.listen.fast_paths import FastPaths
from attnscope.capturing.listen.hooks import Hooks
from attnscope.capturing.listen.module_stack import Running, RunningModules
from attnscope.capturing.listen.reads import is_ids
from attnscope.capturing.passes import EnteredCall, Passes
from attnscope.capturing.read.attention_call import BatchRules
from attnscope.capturing.read.output_projection import ProjectionFinder, Took
from attnscope.capturing.read.stacks import Place
from attnscope.capturing.records import Pass
from attnscope.editing.addresses import Addresses
from attnscope.editing.apply import Done
from attnscope.editing.bound import Bound
from attnscope.editing.desk import DESK, here
from attnscope.editing.positions import Here
from attnscope.editing.receipt import Receipts
from attnscope.editing.rules import Rule
from attnscope.editing.texts import Read, Texts
from attnscope.errors import CaptureError
from attnscope.tracing.tokens import Tokens, tokens_of

_OF_TEXT = (None, "encoder", "decoder", "cross", "language_model", "text")  # stacks whose positions are tokens


class ModelSession:
    """Hooks on a `model` while an edit with `rules` is open, in the thread and task that opened it. `facts`: of the model. `tokenizer`: spells the
    ids, or None. `receipts`: get what was done."""

    def __init__(
        self,
        model: nn.Module,
        facts: Facts,
        addresses: Addresses,
        rules: Sequence[Rule],
        tokenizer: Any,
        receipts: Receipts,
    ) -> None:
        self.model, self.rules, self.place, self.paused = model, rules, here(), False
        self.began: int | None = None
        self._facts, self._addresses, self._tokenizer, self._receipts = facts, addresses, tokenizer, receipts
        self._passes = Passes(1, facts.calls_torch, Hooks(model))
        self._texts = Texts(bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False)))
        self._reading: Pass | None = None
        self._used: dict[int, Place] = {}
        self._named: dict[int, list[Tokens]] = {}
        self._began: dict[str | None, int] = {}
        self._closers: list[Callable[[], None]] = []

    # --- opening and closing ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Put the hooks on; where that fails, nothing is left behind."""
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._passes.hooks.look()
        for module in self._facts.trunk():
            self._hook(module.register_forward_pre_hook(self._enter, with_kwargs=True))
            self._hook(module.register_forward_hook(self._leave, always_call=True))
        for path, table in self._facts.token_tables():
            self._hook(table.register_forward_pre_hook(self._saw_ids(path)))
        self._projections = ProjectionFinder(self.model, self._facts)
        self._closers.append(self._projections.close)
        DESK.open(self)
        self._closers.append(lambda: DESK.close(self))
        self._running: RunningModules | None = None
        if self._facts.calls_torch:
            self._running = RunningModules(self.model)
            self._closers.append(self._running.close)
            self._closers.append(FastPaths(self.model).close)
            self._closers.append(function_mode.enter(_Bystander(self._running, self)))
        self._passes.hooks.own_are_on()

    def _hook(self, handle: Any) -> None:
        self._closers.append(handle.remove)

    def close(self) -> None:
        """Take off every hook."""
        for close in reversed(self._closers):
            close()
        self._closers = []

    # --- passes -------------------------------------------------------------------------------------------------------

    @property
    def _mine(self) -> bool:
        return not self.paused and here() == self.place

    def _saw_ids(self, path: str) -> Callable[..., None]:
        def saw(_: Any, args: tuple[Any, ...]) -> None:
            if args and is_ids(args[0]) and self._mine:
                self._passes.read(path, args[0].detach().clone())

        return saw

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        if self._mine:
            self._passes.enter(module, module is self.model, args, kwargs or {})

    def _leave(self, module: nn.Module, _: Any, output: Any = None, *more: Any) -> None:
        if not self._mine or (ended := self._passes.leave(module)) is None:
            return
        self._projections.forget()
        function_mode.forget()
        used, self._used = self._used, {}
        if used and output is not None:  # None: an exception is on its way
            self._addresses.check(ended, used)

    @property
    def order(self) -> tuple[tuple[str, bool], ...]:
        """The calls of the pass that runs now, so far: module path, cross attention or not."""
        opened = self._passes.current
        return () if opened is None else tuple(opened.order)

    # --- what the desk asks -------------------------------------------------------------------------------------------

    def owns(self, module: nn.Module) -> bool:
        """Whether the module is a part of this session's model."""
        return id(module) in self._facts.paths

    def path_of(self, module: nn.Module) -> str:
        """The module's path in the model."""
        return self._facts.paths[id(module)]

    def skipped(self, calls: Sequence[tuple[str, bool]]) -> None:
        """The running pass leaves out these calls, as what came of them is known."""
        self._passes.skipped(calls)

    def masks(self, call: AttentionCall) -> BatchRules:
        """The masks and biases of a call."""
        opened = self._passes.current
        assert opened is not None
        return opened.masks.read(call)

    def bind(self, call: AttentionCall) -> list[Bound]:
        """The rules that hold for a call that is about to run."""
        path = self.path_of(call.module)
        entered = self._entered(path, call)
        if entered is None:
            return []
        opened, at, cross, _ = entered
        place = self._addresses.place_of(path, cross, opened.calls[path] - 1)
        self._receipts.saw(path, place, call)
        if opened is not self._reading:
            self._reading, self._named = opened, {}
            self._texts.read(opened.reads, self._passes.depth == 0)
        standing: Here | None = None
        found = []
        for rule in self.rules:
            if not (heads := rule.heads.at(place, call.query.shape[1])):
                continue
            standing = standing or self._here(call, entered, place)
            self._used[at] = place
            found.append(Bound(rule, heads, standing, place))
        return found

    def is_new(self, bound: list[Bound]) -> bool:
        """Whether there is no receipt of these rules in this place yet."""
        return self._receipts.is_new(bound)

    def done(self, done: Done, bound: list[Bound]) -> None:
        """A call was edited."""
        note, dropped = self._receipts.add(done, bound)
        call, self._took = done.call, note
        if call.projection is None:
            output = call.output if call.given is None else call.given
            instead = None if dropped is None else (done.reference, dropped)
            self._projections.expect(self.path_of(call.module), output, note, instead)

    def wrote(self, projection: Any, written: Tensor) -> None:
        """W_O, where the call that was just edited names it, and what it made, [B, Q, M]."""
        if self._took is not None:
            rows = self._receipts.rows(written.shape[1]).to(written.device)
            self._took(Took(None, written.detach()[:, rows], written.dtype, projection))

    _took: Callable[[Took], None] | None = None

    def _entered(self, path: str, call: AttentionCall) -> EnteredCall | None:
        running = None if self._running is None else self._running.caller()
        opened = self._passes.current
        own_softmax = call.direct and call.implementation == SOFTMAX
        if own_softmax and running is not None and opened is not None and running.turn in opened.complete:
            return None  # the module computes the weights a second time, to return them
        entered = self._passes.enter_attention(path, call)
        if entered is None:
            if torch._C._current_graph_task_id() != -1:
                raise CaptureError(
                    "gradient checkpointing runs the layers a second time within backward, where an edit cannot be held to its place. Turn it off: "
                    "model.gradient_checkpointing_disable()."
                )
            return None
        if running is not None and call.direct:
            if own_softmax:
                shape = torch.Size((*call.query.shape[:3], call.key.shape[2]))
                entered.opened.took_softmax(running.turn, entered.place, shape)
            else:
                entered.opened.complete.add(running.turn)
        return entered

    # --- where a call stands ------------------------------------------------------------------------------------------

    def _here(self, call: AttentionCall, entered: EnteredCall, place: Place) -> Here:
        queries, keys = call.query.shape[2], call.key.shape[2]
        opened, _, cross, offset = entered
        past = opened.reads.past
        first = past if past is not None else 0 if cross else max(0, keys - queries)
        if not cross and not self._passes.cached:
            first = offset if offset is not None else max(0, keys - queries)
        total = first + queries
        dropped = 0 if cross else max(0, total - keys)  # a sliding window has let go of the first keys
        total_keys = keys if cross else total
        of_target = place.stack in ("decoder", "cross") and self._texts.target is not None and self._both
        read = self._texts.target if of_target else self._texts.text
        keys_read = self._texts.text if cross else read
        if first == 0:
            self._began[place.stack] = total
        began = read.began if read.ids is not None and read.began is not None else self._began.get(place.stack, total)
        if self.began is not None and (of_target or not self._both):
            began = self.began
        named = self._names(read, total, place)
        named_keys = self._names(keys_read, total_keys, place)
        unnamed = self._unnamed(place)
        positions = torch.arange(queries) + first
        return Here(
            positions,
            torch.arange(keys) + dropped,
            total,
            total_keys,
            began,
            keys if cross else began,
            named,
            named_keys,
            unnamed,
        )

    @property
    def _both(self) -> bool:
        return bool(getattr(getattr(self.model, "config", None), "is_encoder_decoder", False))

    def _names(self, read: Read, total: int, place: Place) -> list[Tokens] | None:
        ids = read.ids
        if self._tokenizer is None or ids is None or ids.shape[1] != total or place.stack not in _OF_TEXT:
            return None
        if id(read) not in self._named:
            self._named[id(read)] = [tokens_of(self._tokenizer, row.tolist()) for row in ids]
        return self._named[id(read)]

    def _unnamed(self, place: Place) -> str:
        if self._tokenizer is None:
            return "this edit has no tokenizer to find it with: attnscope.edit(model, tokenizer)."
        if place.stack not in _OF_TEXT:
            return f"the positions of the stack {place.stack!r} are no tokens of a text."
        return "which tokens stand at the positions of this pass is not known (it was given no ids, or a cache whose text was not seen)."


class _Bystander:
    """A watcher of the function mode that records nothing: the desk is asked about each call."""

    def __init__(self, running: RunningModules, session: ModelSession) -> None:
        self.running, self._session = running, session

    def record(self, call: AttentionCall) -> None: ...
    def saw_product(self, running: Running) -> None: ...
    def left_out(self, running: Running) -> None: ...
    def record_weights(self, running: Running, weights: Tensor, call: AttentionCall | None) -> None: ...
    def record_streams(self, running: Running, calls: Sequence[AttentionCall]) -> None: ...

    def saw_softmax(self, running: Running, shape: torch.Size) -> None:
        opened = self._session._passes.current
        if opened is not None and looks_like_attention(running.module):
            opened.saw_softmax(running.turn, self._session.path_of(running.module), shape)
