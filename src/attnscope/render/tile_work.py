"""Tiles for a widget: made in a thread of their own, so that the kernel stays free, and given up when the view moves on."""

import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from attnscope.errors import AttnscopeError
from attnscope.payload.messages import ERROR, PROGRESS, REPLY
from attnscope.payload.tile_requests import TilesRequest, answer_tiles
from attnscope.tiles.pyramid import Cancelled
from attnscope.tracing.trace import Trace

NOW_AND_THEN = 0.5  # seconds between two reports of progress


@cache
def _thread() -> ThreadPoolExecutor:
    """One for all widgets: passes over long texts share a processor badly."""
    return ThreadPoolExecutor(1, thread_name_prefix="attnscope-tiles")


class TileWork:
    """The tiles of one widget. `send(message, buffers)`: to its page."""

    def __init__(self, send: Callable[..., Any]) -> None:
        self._send = send
        self._wanted: set[Any] = set()

    def answer(self, trace: Trace, message: Any) -> None:
        """Answer a request: a coarse one at once, an exact one from the thread; by a reply or an error, and by nothing more
        after a cancel."""
        identity = message["id"]
        self._wanted.add(identity)
        if message.get("coarse") is True:
            self._make(trace, message)
        else:
            _thread().submit(contextvars.copy_context().run, self._make, trace, message)

    def cancel(self, identity: Any) -> None:
        """Nobody waits for this request any more."""
        self._wanted.discard(identity)

    def _make(self, trace: Trace, message: Any) -> None:
        identity, told = message["id"], time.monotonic()

        def progress(part: float) -> None:
            nonlocal told
            if identity not in self._wanted:
                raise Cancelled
            if time.monotonic() - told > NOW_AND_THEN:
                told = time.monotonic()
                self._send({"id": identity, "kind": PROGRESS, "part": part})

        try:
            progress(0.0)
            data = answer_tiles(trace, TilesRequest.from_message(message), progress)
        except Cancelled:
            return
        except AttnscopeError as error:
            self._end(identity, {"kind": ERROR, "message": str(error)})
        except Exception as error:  # in a thread nobody would see it
            self._end(identity, {"kind": ERROR, "message": f"The tiles could not be made ({type(error).__name__})."})
        else:
            self._end(identity, {"kind": REPLY}, [data])

    def _end(self, identity: Any, message: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        if identity in self._wanted:
            self._wanted.discard(identity)
            self._send({"id": identity, **message}, buffers)
