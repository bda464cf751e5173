"""The answers: the page, a trace of a text, another layer of it, predictions before and after edits."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from attnscope.errors import AttnscopeError
from attnscope.payload.edit_requests import EditRequest
from attnscope.payload.messages import SITE, STEPS
from attnscope.payload.site_requests import SiteRequest
from attnscope.payload.tile_requests import TilesRequest
from attnscope.render.server.answers import Calm, Json, error
from attnscope.render.server.faults import Fault
from attnscope.render.server.guard import Guard, Names
from attnscope.render.server.limits import Limits, Meter, Refusal
from attnscope.render.server.page import page, policy
from attnscope.render.server.work import Ask, Reader, Workshop, place_of
from attnscope.text.example import EXAMPLES, SENTENCE
from attnscope.tracing.trace import Trace


def application(
    models: Mapping[str, Reader],
    *,
    token: str,
    host: str = "127.0.0.1",
    port: int = 0,
    origins: Sequence[str] = (),
    limits: Limits | None = None,
    example: str = SENTENCE,
) -> Any:
    """The ASGI application. `models`: the models by name; a request that names none gets the first."""
    limits = limits or Limits()
    workshop = Workshop(models, limits)
    meter = Meter(limits.burst, limits.rate)

    async def home(request: Request) -> Response:
        settings = {"models": list(models), "example": example, "examples": list(dict.fromkeys((example, *EXAMPLES)))}
        return HTMLResponse(page(settings), headers={"content-security-policy": policy()})

    async def trace(request: Request) -> Response:
        meter.take(_address(request))
        given = await _json(request, limits)
        ask = Ask.from_json(given, models)
        place = place_of(given)
        opened = await _while_there(request, workshop.opened(ask, place))
        # the note says why the view is not where the request wanted it
        said = {"attnscope-note": json.dumps(opened.note)} if opened.note else {}
        return _octets(opened.data, {"attnscope-id": ask.id, "attnscope-state": json.dumps(opened.state), **said})

    def known_to(request: Request) -> tuple[str, Trace]:
        meter.take(_address(request))
        identity = request.query_params.get("id", "")
        known = workshop.known(identity)
        if known is None:
            raise Refusal(410, "gone", "this trace is no longer in memory: send the text again (POST api/trace).")
        return identity, known

    async def tiles(request: Request) -> Response:
        identity, known = known_to(request)
        wanted = TilesRequest.from_message(_tiles_in(request.query_params))
        return _octets(await _while_there(request, workshop.tiles(identity, known, wanted)))

    async def site(request: Request) -> Response:
        identity, known = known_to(request)
        query = request.query_params
        if not all(query.get(name, "").isdecimal() and len(query[name]) < 9 for name in ("site", "head")):
            raise Refusal(400, "input", "expected site and head as numbers, such as api/site?id=…&site=5&head=3.")
        wanted = SiteRequest(int(query["site"]), int(query["head"]), query.get("kind", SITE) == STEPS)
        return _octets(await _while_there(request, workshop.tile(identity, known, wanted)))

    async def edits(request: Request) -> Response:
        meter.take(_address(request))
        given = await _json(request, limits)
        ask, wanted = Ask.from_json(given, models), EditRequest.from_message(given)
        return Json(await _while_there(request, workshop.edited(ask, wanted)))

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        workshop.close()

    routes = [
        Route("/", home),
        Route("/api/trace", trace, methods=["POST"]),
        Route("/api/site", site),
        Route("/api/edits", edits, methods=["POST"]),
        Route("/api/tiles", tiles),
    ]
    answers: Any = {
        Refusal: _refused,
        AttnscopeError: _mistaken,
        Fault: _broken,
        HTTPException: _not_here,
        ClientDisconnect: _left,
        Exception: _failed,
    }
    inner = Starlette(routes=routes, exception_handlers=answers, lifespan=lifespan)
    return Calm(Guard(inner, Names(host, origins), token, f"attnscope-{port}"), limits.at_once)


def _octets(data: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(data, media_type="application/octet-stream", headers=headers)


def _tiles_in(query: Mapping[str, str]) -> dict[str, Any]:
    """The message that an address such as api/tiles?id=…&site=5&head=3&tiles=2.0.1,2.1.1 stands for."""

    def number(text: str) -> int | str:
        return int(text) if text.isdecimal() and len(text) < 9 else text

    places = [[number(one) for one in place.split(".")] for place in query.get("tiles", "").split(",")]
    message: dict[str, Any] = {name: number(query.get(name, "")) for name in ("site", "head")}
    return message | {"tiles": places, "reduce": query.get("reduce", "max"), "coarse": query.get("coarse") == "1"}


def _address(request: Request) -> str:
    return request.client.host if request.client else "an unknown address"


async def _while_there(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of the work; given up where the asker leaves first. Raises ClientDisconnect then."""
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(_left_by(request))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, even if nobody waits for it
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        left.cancel()


async def _left_by(request: Request) -> None:
    """Returns when the asker closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _json(request: Request, limits: Limits) -> Any:
    """The body as JSON. Raises Refusal for a body that is too large, too slow, or not JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "input", "expected JSON: send the request with Content-Type: application/json.")
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limits.body:
                    body += chunk
                elif size > 32 * limits.body:  # up to here it is read and dropped, so that the sender gets the answer
                    break
    except TimeoutError:
        raise Refusal(
            408, "slow", f"the request took more than {limits.seconds:g} s to arrive; send it again."
        ) from None
    if size > limits.body:
        raise Refusal(
            413,
            "too_large",
            f"the request is larger than {limits.body:,} bytes, far more than a model reads at once. Send a part of the text.",
        )
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise Refusal(400, "input", "the request is not JSON.") from None


async def _refused(request: Request, refusal: Any) -> Response:
    after = {} if refusal.retry_after is None else {"retry-after": str(refusal.retry_after)}
    return error(refusal.status, refusal.kind, refusal.message, after)


async def _mistaken(request: Request, wrong: Exception) -> Response:
    """The library's own message about an input; `too_long` if cutting the text would help."""
    return error(400, "too_long" if "truncate=True" in str(wrong) else "input", str(wrong))


async def _not_here(request: Request, wrong: Any) -> Response:
    return error(
        wrong.status_code,
        "http",
        f"{wrong.detail}: this server answers /, POST /api/trace, GET /api/site, GET /api/tiles and POST /api/edits.",
    )


async def _left(request: Request, wrong: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _broken(request: Request, fault: Exception) -> Response:
    """A model's code raised something: a sentence for the page."""
    return _fault(str(fault))


async def _failed(request: Request, wrong: Exception) -> Response:
    """A bug of ours."""
    return _fault(type(wrong).__name__)


def _fault(name: str) -> Response:
    return error(
        500,
        "fault",
        f"the server could not do this ({name}); its terminal shows more. It goes on: you can send other texts.",
    )
