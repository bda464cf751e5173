"""The queue before the models and the traces in memory: one text at a time, each text once."""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch

from attnscope.errors import AttnscopeError, InputError
from attnscope.payload.site_requests import SiteRequest, answer
from attnscope.render.server.limits import Limits, Refusal
from attnscope.tracing.trace import Trace
from attnscope.views.state import State

Reader = Callable[..., Trace]  # reader(text, pair=…, truncate=…) -> Trace


@dataclass(frozen=True)
class Ask:
    """A text to read: the model's name, the text, the second text of a pair or None."""

    model: str
    text: str
    pair: str | None = None
    truncate: bool = False

    @classmethod
    def from_json(cls, given: Any, models: Mapping[str, Reader]) -> "Ask":
        """Raises Refusal: 404 for a model that is not served, 400 for anything else that is no such request."""
        if not isinstance(given, dict) or not isinstance(given.get("text"), str):
            raise Refusal(400, "input", 'expected a JSON object with a text, such as {"model": "demo", "text": "…"}.')
        name = given.get("model", next(iter(models)))
        if not isinstance(name, str) or name not in models:
            raise Refusal(
                404,
                "model",
                f"the model {str(name)[:100]!r} is not served here. Expected one of: {', '.join(models)}. To add a model, "
                "start the server with one more --model.",
            )
        pair, truncate = given.get("pair") or None, given.get("truncate", False)
        if not isinstance(pair, str | None) or not isinstance(truncate, bool):
            raise Refusal(400, "input", "expected pair as a text, and truncate as true or false.")
        return cls(name, given["text"], pair, truncate)

    @property
    def id(self) -> str:
        """The same for the same request."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:32]


class Line:
    """Work for threads, first in, first out. While `length` pieces of work wait, it refuses more."""

    def __init__(self, threads: int, length: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="attnscope")
        self._length = length
        self._count = 0

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        if self._count >= self._length:
            raise Refusal(
                503,
                "busy",
                f"{self._count} requests are waiting already. Nothing is lost; try again in a few seconds.",
                retry_after=2,
            )
        self._count += 1
        try:
            job = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
            return await asyncio.shield(job)
        finally:
            self._count -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Workshop:
    """Reads texts and keeps the traces that were used last, as many as memory allows."""

    def __init__(self, models: Mapping[str, Reader], limits: Limits) -> None:
        self.models = models
        self._limits = limits
        self._reading = Line(1, limits.waiting)
        self._answering = Line(2, limits.asking)
        self._under_way: dict[str, asyncio.Task[Trace]] = {}
        self._kept: OrderedDict[str, tuple[Trace, int]] = OrderedDict()

    async def trace(self, ask: Ask) -> Trace:
        """The trace of a text. Two requests for the same text share one pass."""
        if (known := self.known(ask.id)) is not None:
            return known
        if ask.id not in self._under_way:
            task = asyncio.ensure_future(self._read(ask))
            self._under_way[ask.id] = task
            task.add_done_callback(lambda _: self._under_way.pop(ask.id, None))
        return await asyncio.shield(self._under_way[ask.id])

    def known(self, identity: str) -> Trace | None:
        """The trace of this id, if it is still in memory."""
        if identity not in self._kept:
            return None
        self._kept.move_to_end(identity)
        return self._kept[identity][0]

    async def opened(self, trace: Trace, place: Mapping[str, Any]) -> tuple[dict[str, Any], bytes, str]:
        """The state that a view of the trace opens with; the payload of the layer it opens on, with all thumbnails; and, if
        the view could not open at `place`, why."""
        return await self._guarded(self._answering, _open, trace, place)

    async def tile(self, trace: Trace, request: SiteRequest) -> bytes:
        """The payload of another layer."""
        return (await self._guarded(self._answering, answer, trace, request)).data

    def close(self) -> None:
        self._reading.close()
        self._answering.close()

    async def _read(self, ask: Ask) -> Trace:
        reader = self.models[ask.model]
        trace = await self._guarded(self._reading, _pass, reader, ask)
        self._kept[ask.id] = (trace, room(trace))
        while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > self._limits.keep:
            self._kept.popitem(last=False)
        return trace

    async def _guarded(self, line: Line, work: Callable[..., Any], *arguments: Any) -> Any:
        """The result of the work. If memory runs out, it forgets all traces and raises Refusal (507)."""
        try:
            return await line.run(work, *arguments)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            self._kept.clear()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        raise Refusal(
            507,
            "memory",
            "this machine has too little memory for this text. Shorten it, or choose a smaller model; the server goes on, "
            "and you can send other texts.",
        )


def _pass(reader: Reader, ask: Ask) -> Trace:
    """In the thread of the models: one pass and its receipt."""
    trace = reader(ask.text, pair=ask.pair, truncate=ask.truncate)
    trace.verify()
    return trace


def _open(trace: Trace, place: Mapping[str, Any]) -> tuple[dict[str, Any], bytes, str]:
    note = ""
    try:
        view = trace.show(**place)
    except AttnscopeError as error:
        view = trace.show()  # the address may name a layer that this model does not have: the page shows the note
        note = str(error)
    request = SiteRequest(view.site_index, view.state.head, thumbs=True, query=view.state.query)
    return view.traits(), answer(trace, request).data, note


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's error, torch's on a GPU, or torch's on the CPU, which has no type of its own."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def room(trace: Trace) -> int:
    """Bytes that a trace keeps in memory: each storage once, without the model's parameters."""
    storages: dict[int, int] = {}
    for site in trace.sites:
        for value in vars(site).values():
            if isinstance(value, torch.Tensor) and value.numel():
                storage = value.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values()) + sum(site.mask.nbytes for site in trace.sites)


def place_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The place where a view opens, as arguments of `Trace.show`. Raises InputError for a value of the wrong type."""
    found = {name: given[name] for name in (*State.group("place"), "query") if given.get(name) is not None}
    for name, value in found.items():
        if not isinstance(value, str if name == "stack" else int) or isinstance(value, bool):
            raise InputError(
                f"expected {name} as {'a name' if name == 'stack' else 'a number'}, got {str(value)[:40]!r}."
            )
    return found
