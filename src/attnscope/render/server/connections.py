"""Connections: how long one may stay without a whole request's head, and how many may.

uvicorn waits for a head as long as the other side likes, and counts such connections against everybody else.
"""

import asyncio
import json
from collections import OrderedDict
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from attnscope.render.server.guard import HEADERS
from attnscope.render.server.limits import Limits

SLOW = 408, "Request Timeout", "slow"
CROWDED = 503, "Service Unavailable", "busy"
WRONG = 400, "Bad Request", "http"


def limited(limits: Limits) -> type["Connection"]:
    """The class of one server's connections."""
    return type("Limited", (Connection,), {"limits": limits, "silent": OrderedDict()})


class Connection(H11Protocol):
    """One connection. It is silent while no head of a request has come: at first, and after each answer.

    A silent one is closed after `limits.head` seconds. Where more than `limits.silent` are silent, the one that has been so
    for the longest goes: who sends a request at once always finds a place.
    """

    limits: Limits
    silent: "OrderedDict[Connection, asyncio.TimerHandle]"

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._heard()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP."""
        self._refuse(WRONG, "this is not a request of HTTP that the server understands.")

    def _wait(self) -> None:
        self._heard()
        self.silent[self] = self.loop.call_later(self.limits.head, self._too_slow)
        if len(self.silent) > self.limits.silent:
            next(iter(self.silent))._make_place()

    def _heard(self) -> None:
        timer = self.silent.pop(self, None)
        if timer is not None:
            timer.cancel()

    def _too_slow(self) -> None:
        self._refuse(SLOW, f"no whole request came within {self.limits.head:g} s; send it again.")

    def _make_place(self) -> None:
        self._refuse(CROWDED, "too many connections wait without a request. Nothing is lost; send the request again.")

    def _refuse(self, answer: tuple[int, str, str], message: str) -> None:
        """Say it in JSON, unless an answer went out here before, and close."""
        self._heard()
        if self.transport.is_closing():
            return
        status, reason, kind = answer
        if self.cycle is None or not self.cycle.response_complete:
            body = json.dumps({"kind": kind, "message": message}).encode()
            headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
            if status == CROWDED[0]:
                headers["retry-after"] = "1"
            lines = [
                f"HTTP/1.1 {status} {reason}",
                *(f"{name}: {value}" for name, value in {**headers, **HEADERS}.items()),
            ]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()
