"""The desk: which of the open edits is a call of, in this thread and asyncio task?

There is one desk. It is the editor of the attention interface while some edit with a rule is open.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from torch import nn

from attnscope.capturing.listen.attention_interface import AttentionCall, edit_with
from attnscope.editing.apply import Done, EditedCall
from attnscope.editing.bound import Bound


@runtime_checkable
class Session(Protocol):
    """What the desk asks of an open edit."""

    place: Any
    paused: bool
    began: int | None

    def owns(self, module: nn.Module) -> bool: ...
    def bind(self, call: AttentionCall) -> list[Bound]: ...
    def masks(self, call: AttentionCall) -> Any: ...
    def path_of(self, module: nn.Module) -> str: ...
    def is_new(self, bound: list[Bound]) -> bool: ...
    def done(self, done: Done, bound: list[Bound]) -> None: ...
    def wrote(self, projection: Any, written: Any) -> None: ...
    def skipped(self, calls: Sequence[tuple[str, bool]]) -> None: ...


def here() -> tuple[int, Any]:
    """This thread, and the asyncio task that runs in it."""
    loop = asyncio._get_running_loop()
    return threading.get_ident(), None if loop is None else asyncio.current_task(loop)


class Desk:
    """The edits that are open, outermost first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: tuple[Session, ...] = ()

    def open(self, session: Session) -> None:
        """The session's rules hold from now on, in this thread and task."""
        with self._lock:
            self._sessions = (*self._sessions, session)
            edit_with(self)

    def close(self, session: Session) -> None:
        """They hold no more. The last session takes the desk off the interface."""
        with self._lock:
            self._sessions = tuple(one for one in self._sessions if one is not session)
            if not self._sessions:
                edit_with(None)

    def skipped(self, module: nn.Module, calls: Sequence[tuple[str, bool]]) -> None:
        """A module of the model does not run in this pass, as what came of it is known: its calls (path, cross or not) count as made."""
        place = here()
        for one in self._sessions:
            if one.place == place and not one.paused and one.owns(module):
                one.skipped(calls)

    def visit(self, call: AttentionCall) -> EditedCall | None:
        """The edits of a call that is about to run; None where there are none."""
        place = here()
        mine = [
            (one, one.bind(call))
            for one in self._sessions
            if one.place == place and not one.paused and one.owns(call.module)
        ]
        concerned = [(session, bound) for session, bound in mine if bound]
        if not concerned:
            return None
        first = concerned[-1][0]

        def done(made: Done) -> None:
            for session, bound in concerned:
                session.done(made, bound)

        def wrote(projection: Any, written: Any) -> None:
            for session, _ in concerned:
                session.wrote(projection, written)

        return EditedCall(
            [one for _, bound in concerned for one in bound],
            first.masks,
            first.path_of(call.module),
            done,
            wrote,
            any(session.is_new(bound) for session, bound in concerned),
        )

    @contextmanager
    def goes_on_behind(self, began: int) -> Iterator[None]:
        """A with block in which what is read is a text of `began` tokens and its continuation."""
        place = here()
        mine = [one for one in self._sessions if one.place == place]
        before = [one.began for one in mine]
        for one in mine:
            one.began = began
        try:
            yield
        finally:
            for one, value in zip(mine, before, strict=True):
                one.began = value


DESK = Desk()


@contextmanager
def paused(session: Session) -> Iterator[None]:
    """A with block in which a session's rules do not hold; those of edits around it do."""
    before, session.paused = session.paused, True
    try:
        yield
    finally:
        session.paused = before
