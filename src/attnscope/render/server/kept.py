"""Traces in memory, and the answers made of them: the last used, as many as fit."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from attnscope.tracing.trace import Trace


@dataclass
class _Entry:
    trace: Trace
    size: int
    answers: "OrderedDict[Any, tuple[Any, int]]" = field(default_factory=OrderedDict)


class Kept:
    """Traces by their id, each with its answers. The newest trace stays, whatever its size; of the rest what fits `room`."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0

    def trace(self, identity: str) -> Trace | None:
        """The trace of this id, if it is still here."""
        entry = self._used(identity)
        return None if entry is None else entry.trace

    def answer(self, identity: str, key: Any) -> Any:
        """The answer with this key, made of the trace of this id; None if it is not here."""
        entry = self._used(identity)
        if entry is None or key not in entry.answers:
            return None
        entry.answers.move_to_end(key)
        return entry.answers[key][0]

    def put(self, identity: str, trace: Trace, size: int) -> None:
        self._forget(identity)
        self._entries[identity] = _Entry(trace, size)
        self._size += size
        self._make_room()

    def put_answer(self, identity: str, key: Any, answer: Any, size: int) -> None:
        entry = self._used(identity)
        if entry is not None:
            self._size += size - entry.answers.pop(key, (None, 0))[1]
            entry.answers[key] = answer, size
            self._make_room()

    def clear(self) -> None:
        self._entries.clear()
        self._size = 0

    def _used(self, identity: str) -> _Entry | None:
        if identity in self._entries:
            self._entries.move_to_end(identity)
        return self._entries.get(identity)

    def _forget(self, identity: str) -> None:
        if identity in self._entries:
            entry = self._entries.pop(identity)
            self._size -= entry.size + sum(size for _, size in entry.answers.values())

    def _make_room(self) -> None:
        while self._size > self._room and len(self._entries) > 1:
            self._forget(next(iter(self._entries)))
        newest = next(iter(self._entries.values()))
        while self._size > self._room and newest.answers:
            self._size -= newest.answers.popitem(last=False)[1][1]
