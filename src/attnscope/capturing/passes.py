"""Which forward pass does a call belong to? Passes are told apart by thread and asyncio task; the last few are kept.

A pass may run inside another one: a hook that gives the model another text. It is a pass of its own, and counts as earlier
than the one around it, which ends later. A hook that calls a layer alone makes no pass; what it calls is left out.
"""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from attnscope.capturing.listen.attention_interface import AttentionCall
from attnscope.capturing.listen.hooks import Hooks
from attnscope.capturing.listen.reads import reads_of
from attnscope.capturing.read.attention_call import MaskReader, is_cross
from attnscope.capturing.records import Pass


@dataclass
class _Entered:
    """A pass whose model was entered and not left yet. `modules`: those of its trunk that run, outermost first. `inside`:
    passes that ran within it, the last ones."""

    opened: Pass
    modules: list[int]
    inside: list[Pass] = field(default_factory=list)


class _Running:
    """What runs in one thread, or in one asyncio task of it. `waiting`: ids that a part was given whose pass has not begun."""

    def __init__(self) -> None:
        self.entered: list[_Entered] = []
        self.current: Pass | None = None
        self.waiting: list[tuple[str, Tensor]] = []


class EnteredCall(NamedTuple):
    """Where a call belongs: its pass, its place there, whether its keys are of another sequence, and the position of query 0 among
    the keys, where the mask tells it."""

    opened: Pass
    place: int
    cross: bool
    offset: int | None


class _Thread(threading.local):
    def __init__(self) -> None:
        self.running = _Running()


class Passes:
    """The forward passes of one model while it is captured.

    `most`: how many to keep. `watched`: whether the thread that opened the capture watches torch's own functions too.
    `hooks`: of others, on the model, looked at as the capture opens.
    `count` counts all passes; `kept` holds the last ones; `elsewhere` is True once a pass ran in another thread. `recorded`:
    paths of the modules that were recorded in any pass.
    """

    def __init__(self, most: int, watched: bool, hooks: Hooks) -> None:
        self.count = 0
        self.kept: list[Pass] = []
        self.elsewhere = False
        self.thread = threading.get_ident()
        self.most, self._watched, self.hooks = most, watched, hooks
        self.recorded: set[str] = set()
        self._threads = _Thread()
        self._tasks: WeakKeyDictionary[Any, _Running] = WeakKeyDictionary()
        self._lock = threading.Lock()

    @property
    def _running(self) -> _Running:
        loop = asyncio._get_running_loop()
        if loop is None or (task := asyncio.current_task(loop)) is None:
            return self._threads.running
        with self._lock:
            return self._tasks.setdefault(task, _Running())

    @property
    def depth(self) -> int:
        """How many passes of the model this thread is inside: 0 where a part of it is called by itself."""
        return len(self._running.entered)

    @property
    def current(self) -> Pass | None:
        """The pass that runs in this thread."""
        return self._running.current

    @property
    def cached(self) -> bool:
        """Whether the pass of this thread was given a key/value cache."""
        entered = self._running.entered
        return bool(entered) and entered[-1].opened.reads.cached

    def enter(self, module: nn.Module, root: bool, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """A module of the model's trunk begins in this thread; with the model itself (`root`), or with one that is running
        already, a pass does. `args`, `kwargs`: what it is given."""
        running = self._running
        inner = running.entered[-1] if running.entered else None
        if inner is not None and id(module) not in inner.modules:
            inner.modules.append(id(module))
        elif inner is not None or root:
            opened = self.begin()
            opened.reads = reads_of(module, args, kwargs)
            running.entered.append(_Entered(opened, [id(module)]))

    def read(self, path: str, ids: Tensor) -> None:
        """A table of tokens, at this path, received ids [B, T] in this thread."""
        running = self._running
        if running.entered:
            running.entered[-1].opened.reads.tables.append((path, ids))
        else:  # of a part that is called by itself: its pass begins with its first attention
            running.waiting.append((path, ids))

    def leave(self, module: nn.Module) -> Pass | None:
        """It ends in this thread; returns the pass that ended with it."""
        running = self._running
        if not running.entered or id(module) not in running.entered[-1].modules:
            return None  # it began before the capture was opened
        inner = running.entered[-1]
        del inner.modules[inner.modules.index(id(module)) :]
        if inner.modules:
            return None
        running.entered.pop()
        ended = inner.opened
        running.current = running.entered[-1].opened if running.entered else None
        _ = ended.records  # read while its masks are at hand
        ended.masks = MaskReader()
        if running.entered:
            around = running.entered[-1]
            around.inside = [*around.inside, ended][-self.most :]
        if inner.inside and not ended.order:  # a model that runs itself on parts of its input
            self._replace(ended, inner.inside)
        return ended

    def begin(self) -> Pass:
        """A new pass in this thread."""
        here, running = threading.get_ident() == self.thread, self._running
        opened = Pass(watched=self._watched and here)
        self.elsewhere |= not here
        around = [entered.opened for entered in running.entered]
        with self._lock:
            self.count += 1
            at = next(
                (place for place, kept in enumerate(self.kept) if any(kept is one for one in around)), len(self.kept)
            )
            self.kept = [*self.kept[:at], opened, *self.kept[at:]][-self.most :]
        running.current = opened
        return opened

    def _replace(self, empty: Pass, inside: list[Pass]) -> None:
        """Keep the passes that ran inside an empty one in its place."""
        with self._lock:
            before = [kept for kept in self.kept if kept is not empty and not any(kept is one for one in inside)]
            self.kept = [*before, *inside][-self.most :]

    def enter_call(self, path: str, cross: bool) -> tuple[Pass, int] | None:
        """The pass that a call of this module belongs to, and the call's place in it; None for calls that are no part
        of a pass: of another thread whose pass began before the capture, of a hook that calls a layer by itself, or of
        gradient checkpointing, which runs the layers once more within backward."""
        running = self._running
        alone = not running.entered  # a part of the model was called by itself
        if (alone and self.thread != threading.get_ident()) or torch._C._current_graph_task_id() != -1:
            return None
        if not alone and self.hooks.called(running.entered[-1].modules):
            running.entered[-1].opened.by_hooks.add(path)
            return None
        opened = running.current
        if opened is None or (alone and path in opened.calls):
            opened = self.begin()
        if alone:
            opened.reads.tables += running.waiting
            running.waiting = []
        opened.calls[path] += 1
        opened.order.append((path, cross))
        self.recorded.add(path)
        return opened, len(opened.order) - 1

    def skipped(self, calls: Sequence[tuple[str, bool]]) -> None:
        """Calls (path, cross or not) that the pass of this thread leaves out, as what came of them is known: they count as made."""
        opened = self._running.current
        if opened is not None:
            opened.calls.update(path for path, _ in calls)
            opened.order += calls

    def enter_attention(self, path: str, call: AttentionCall) -> EnteredCall | None:
        """As `enter_call`, with what q, k and the mask of the `call` tell. Its output is not looked at."""
        queries, keys = call.query.shape[2], call.key.shape[2]
        cross = call.options["cross"] if "cross" in call.options else is_cross(call.module, path)
        if call.direct and not cross:
            cross = self.is_cross(call.module, path, queries, keys)
        if (entered := self.enter_call(path, cross)) is None:
            return None
        opened, place = entered
        offset = None
        if not cross and queries != keys and not self.cached:
            offset = opened.masks.read(call).row(0)[0].own_keys(queries, keys)
            cross = offset is None
            opened.order[place] = path, cross
        return EnteredCall(opened, place, cross, offset)

    def is_cross(self, module: nn.Module, path: str, queries: int, keys: int) -> bool:
        """For modules that call torch by themselves: other lengths are another sequence, unless a cache holds earlier
        keys."""
        return is_cross(module, path) or (queries != keys and not self.cached)

    def forget_masks(self) -> None:
        """Let go of the mask tensors, which only a running pass needs."""
        for kept in self.kept:
            kept.masks = MaskReader()
