"""Lines of work: first in, first out, as long as somebody waits for it; each piece once for all who ask."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from attnscope.render.server.faults import safely
from attnscope.render.server.limits import Refusal


class Line:
    """Work for threads, first in, first out. While `length` pieces of work wait, it refuses more."""

    def __init__(self, threads: int, length: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="attnscope")
        self._length = length
        self._count = 0

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """The result of the work, in its turn. Cancelled while it waits, it leaves the line; once begun, it is finished."""
        if self._count >= self._length:
            raise Refusal(
                503,
                "busy",
                f"{self._count} requests are waiting already. Nothing is lost; try again in a few seconds.",
                retry_after=2,
            )
        loop = asyncio.get_running_loop()
        job = self._threads.submit(safely, work, *arguments)
        self._count += 1
        job.add_done_callback(lambda _: _soon(loop, self._left))
        return await _finished(job)

    def _left(self) -> None:
        self._count -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _finished(job: "Future[Any]") -> Any:
    result = asyncio.wrap_future(job)
    while True:
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            if job.cancel() or job.cancelled():
                raise
            # it has begun and cannot be stopped: what comes out is kept for the next one who asks


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: the server ends
        loop.call_soon_threadsafe(call)


@dataclass(eq=False)
class _Job:
    task: "asyncio.Task[Any]"
    waiting: int = 0


class Shared:
    """Work under way, by a key. Who asks for the same waits for the same; it is given up when nobody waits any more."""

    def __init__(self) -> None:
        self._jobs: dict[Any, _Job] = {}

    async def run(self, key: Any, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        while True:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = _Job(asyncio.ensure_future(work()))
                job.task.add_done_callback(lambda task, key=key: self._done(key, task))
            job.waiting += 1
            try:
                await asyncio.wait({job.task})
            finally:
                job.waiting -= 1
                if not job.waiting and not job.task.done():
                    job.task.cancel()
            if not job.task.cancelled():
                return job.task.result()
            # all others left in the moment in which this one came: it is begun again

    def _done(self, key: Any, task: "asyncio.Task[Any]") -> None:
        del self._jobs[key]
        if not task.cancelled():
            task.exception()  # seen, even if nobody waits for it
