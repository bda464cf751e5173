"""Texts read and looked at: one text at a time, each text once, each answer once."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from attnscope.errors import AttnscopeError, InputError
from attnscope.payload.edit_requests import Editor, EditRequest
from attnscope.payload.messages import EDITS
from attnscope.payload.site_requests import SiteRequest, answer
from attnscope.payload.tile_requests import TilesRequest, answer_tiles
from attnscope.render.server.faults import OutOfMemory
from attnscope.render.server.kept import Kept
from attnscope.render.server.limits import Limits, Refusal
from attnscope.render.server.lines import Line, Shared
from attnscope.text.characters import half_character
from attnscope.tracing.trace import Trace
from attnscope.views.state import State

Reader = Callable[..., Trace]  # reader(text, pair=…, truncate=…) -> Trace; one with edits is an EditingReader as well
NOTE = 1000  # characters of a note, which travels in a header


@runtime_checkable
class EditingReader(Protocol):
    """A reader whose model can be edited."""

    def editor(self, trace: Trace) -> Editor: ...


@dataclass(frozen=True)
class Opened:
    """The state that a view opens with; the payload of the layer it opens on, with all thumbnails; and, if the view could
    not open where the request wanted it, why."""

    state: dict[str, Any]
    data: bytes
    note: str


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
        for what, written in (("text", given["text"]), ("pair", pair or "")):
            if (place := half_character(written)) is not None:
                raise Refusal(
                    400,
                    "input",
                    f"{what} holds half of a character (a lone surrogate) at position {place}. Send the whole character, or "
                    "leave it out.",
                )
        return cls(name, given["text"], pair, truncate)

    @property
    def id(self) -> str:
        """The same for the same request."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:32]


class Workshop:
    """Reads texts, and keeps the traces that were used last with the answers made of them, as many as memory allows."""

    def __init__(self, models: Mapping[str, Reader], limits: Limits) -> None:
        self.models = models
        self._reading = Line(1, limits.waiting)
        self._answering = Line(2, limits.asking)
        self._shared = Shared()
        self._kept = Kept(limits.keep)

    async def trace(self, ask: Ask) -> Trace:
        """The trace of a text. Two requests for the same text share one pass."""
        known = self.known(ask.id)
        return known if known is not None else await self._shared.run(ask.id, lambda: self._read(ask))

    def known(self, identity: str) -> Trace | None:
        """The trace of this id, if it is still in memory."""
        return self._kept.trace(identity)

    async def opened(self, ask: Ask, place: Mapping[str, Any]) -> Opened:
        """A view of the text that opens at `place`."""
        trace = await self.trace(ask)
        return await self._made(ask.id, tuple(sorted(place.items())), lambda o: len(o.data), _open, trace, place)

    async def tile(self, identity: str, trace: Trace, request: SiteRequest) -> bytes:
        """The payload of another layer of the trace of this id."""
        return await self._made(identity, request, len, _tile, trace, request)

    async def edited(self, ask: Ask, request: EditRequest) -> dict[str, Any]:
        """Predictions before and after some edits of a text, or the band. The model does one thing at a time: who leaves before it begins is not waited for."""
        reader = self.models[ask.model]
        if not isinstance(reader, EditingReader):
            raise Refusal(404, "model", f"the model {ask.model!r} is served without edits.")
        trace = await self.trace(ask)
        editor = self._kept.answer(ask.id, EDITS)
        if editor is None:
            editor = reader.editor(trace)
            self._kept.put_answer(ask.id, EDITS, editor, 0)
        answer = await self._guarded(self._reading, request.ask, editor)
        self._kept.put_answer(ask.id, EDITS, editor, editor.nbytes)
        return answer

    async def tiles(self, identity: str, trace: Trace, request: TilesRequest) -> bytes:
        """Parts of the picture of a head of the trace of this id. Coarse ones are not kept: exact ones follow."""
        if request.coarse:
            return await self._guarded(self._answering, answer_tiles, trace, request)
        return await self._made(identity, request, len, answer_tiles, trace, request)

    def close(self) -> None:
        self._reading.close()
        self._answering.close()

    async def _made(
        self, identity: str, key: Any, size: Callable[[Any], int], work: Callable[..., Any], *arguments: Any
    ) -> Any:
        """An answer: from memory, or made once for all who ask for it now."""

        async def make() -> Any:
            answer = await self._guarded(self._answering, work, *arguments)
            self._kept.put_answer(identity, key, answer, size(answer))
            return answer

        known = self._kept.answer(identity, key)
        return known if known is not None else await self._shared.run((identity, key), make)

    async def _read(self, ask: Ask) -> Trace:
        trace = await self._guarded(self._reading, _pass, self.models[ask.model], ask)
        self._kept.put(ask.id, trace, room(trace))
        return trace

    async def _guarded(self, line: Line, work: Callable[..., Any], *arguments: Any) -> Any:
        """The result of the work. If memory runs out, it forgets all traces and raises Refusal (507)."""
        try:
            return await line.run(work, *arguments)
        except OutOfMemory:
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


def _open(trace: Trace, place: Mapping[str, Any]) -> Opened:
    note = ""
    try:
        view = trace.show(**place)
    except AttnscopeError as error:
        view = trace.show()  # the address may name a layer that this model does not have: the page shows the note
        note = str(error)[:NOTE]
    request = SiteRequest(view.site_index, view.state.head, thumbs=True, query=view.state.query)
    return Opened(view.traits(), answer(trace, request).data, note)


def _tile(trace: Trace, request: SiteRequest) -> bytes:
    return answer(trace, request).data


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
    found = {name: given[name] for name in (*State.in_group("place"), "query") if given.get(name) is not None}
    for name, value in found.items():
        if not isinstance(value, str if name == "stack" else int) or isinstance(value, bool):
            raise InputError(
                f"expected {name} as {'a name' if name == 'stack' else 'a number'}, got {str(value)[:40]!r}."
            )
    return found
