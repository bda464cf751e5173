"""Refusals and errors as JSON, and the layer around the application that none gets through unanswered."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from attnscope.render.server.faults import tell
from attnscope.render.server.guard import HEADERS


class Json(JSONResponse):
    """JSON in ASCII: a message may quote half of a character, which UTF-8 cannot hold."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def error(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """{"kind", "message"}: one word for programs, one paragraph for people."""
    return Json({"kind": kind, "message": message}, status, headers)


class Calm:
    """Around an application: at most `most` requests at once; an error that gets through is logged without its message."""

    def __init__(self, app: Any, most: int) -> None:
        self._app, self._most, self._count = app, most, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._count >= self._most:
            message = f"{self._count} requests are under way. Nothing is lost; try again in a few seconds."
            await error(503, "busy", message, {**HEADERS, "retry-after": "2"})(scope, receive, send)
            return
        self._count += 1
        try:
            await self._app(scope, receive, send)
        except Exception as wrong:  # starlette has answered, and raises it for uvicorn, which would print the message
            tell(wrong)
        finally:
            self._count -= 1
