"""Which forward pass does a call belong to? Passes are told apart by thread; the last few are kept."""

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attnscope.capturing.listen.reads import reads_of
from attnscope.capturing.read.attention_call import MaskReader
from attnscope.capturing.records import Pass


class Passes:
    """The forward passes of one model while it is captured.

    `most`: how many to keep. `watched`: whether the thread that opened the capture watches torch's own functions too.
    `count` counts all passes; `kept` holds the last ones; `elsewhere` is True once a pass ran in another thread.
    """

    def __init__(self, most: int, watched: bool) -> None:
        self.count = 0
        self.kept: list[Pass] = []
        self.elsewhere = False
        self.thread = threading.get_ident()
        self.most, self._watched = most, watched
        self._running = threading.local()  # of each thread: depth, current, cached
        self._lock = threading.Lock()

    @property
    def depth(self) -> int:
        """How many calls of the model's own forward this thread is inside: 0 where a part of it is called by itself."""
        return getattr(self._running, "depth", 0)

    @property
    def current(self) -> Pass | None:
        """The pass that runs in this thread."""
        return getattr(self._running, "current", None)

    @property
    def cached(self) -> bool:
        """Whether the pass of this thread was given a key/value cache."""
        return getattr(self._running, "cached", False)

    def enter_model(self, arguments: Mapping[str, Any]) -> None:
        """The model's forward begins in this thread, with these arguments."""
        self._running.depth = self.depth + 1
        if self._running.depth == 1:
            self.begin().reads = reads_of(arguments)
            self._running.cached = any(hasattr(value, "get_seq_length") for value in arguments.values())

    def read(self, path: str, ids: Tensor) -> None:
        """A table of tokens, at this path, received ids [B, T] in this thread."""
        opened = self.current if self.depth else None
        if opened is not None:
            opened.reads.tables.append((path, ids))
        else:  # of a part that is called by itself: its pass begins with its first attention
            self._running.waiting = [*getattr(self._running, "waiting", ()), (path, ids)]

    def leave_model(self) -> Pass | None:
        """The model's forward ends in this thread; returns the pass that ended with it."""
        depth = self.depth
        if depth == 0:  # this pass began before the capture was opened
            return None
        self._running.depth = depth - 1
        ended = self.current if depth == 1 else None
        if ended is not None:
            ended.masks = MaskReader()
            self._running.current = None
        return ended

    def begin(self) -> Pass:
        """A new pass in this thread."""
        here = threading.get_ident() == self.thread
        opened = Pass(watched=self._watched and here)
        self.elsewhere |= not here
        with self._lock:
            self.count += 1
            self.kept = [*self.kept, opened][-self.most :]
        self._running.current = opened
        return opened

    def enter_call(self, path: str, cross: bool) -> tuple[Pass, int] | None:
        """The pass that a call of this module belongs to, and the call's place in it; None for calls that are no part
        of a pass: of another thread whose pass began before the capture, or of gradient checkpointing, which runs the
        layers once more within backward."""
        alone = self.depth == 0  # a part of the model was called by itself
        if (alone and self.thread != threading.get_ident()) or torch._C._current_graph_task_id() != -1:
            return None
        opened = self.current
        if opened is None or (alone and path in opened.calls):
            opened = self.begin()
        if alone:
            opened.reads.tables += getattr(self._running, "waiting", ())
            self._running.waiting = []
        opened.calls[path] += 1
        opened.order.append((path, cross))
        return opened, len(opened.order) - 1

    def forget_masks(self) -> None:
        """Let go of the mask tensors, which only a running pass needs."""
        for kept in self.kept:
            kept.masks = MaskReader()
