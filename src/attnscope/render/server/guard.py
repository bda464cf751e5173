"""Who may use the server: the names it answers to, the pages that may send requests, the token."""

import ipaddress
import secrets
import socket
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse

from attnscope.render.server.limits import Refusal
from attnscope.render.server.page import DOOR_POLICY, door

WILD = ("0.0.0.0", "::", "")  # listens on every address of the machine
HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Names:
    """The names that the server answers to: this machine's, `host`, and those of `origins`, the addresses of a proxy."""

    def __init__(self, host: str, origins: Sequence[str] = ()) -> None:
        self.origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._netlocs = {urlsplit(origin).netloc for origin in self.origins}
        self._wild = host in WILD
        self._names = {"localhost", host.lower(), *([socket.gethostname().lower()] if self._wild else [])}

    def check_host(self, header: str) -> None:
        """Raises Refusal (403) for a Host that is not ours, such as a foreign name that points at this address."""
        try:
            name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
        except ValueError:
            name = ""
        if header.lower() in self._netlocs or (name and name in self._names):
            return
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            address = None
        if address is not None and (self._wild or address.is_loopback):
            return
        raise Refusal(
            403,
            "host",
            f"this server does not answer to the name {header[:100]!r}. Use the address that it printed; behind a proxy, "
            "start it with --origin and the address that people open.",
        )

    def check_origin(self, origin: str, host: str) -> None:
        """Raises Refusal (403) for a request from a page of another site."""
        origin = origin.lower()
        if origin not in self.origins and origin != f"http://{host.lower()}":
            raise Refusal(
                403,
                "origin",
                f"this request is from a page of {origin[:100]!r}, and only this server's own pages may send requests. Behind "
                "a proxy, start it with --origin and the address that people open.",
            )


class Guard:
    """Wraps an application: checks every request before the application sees it, and adds headers to every answer.

    A browser sends the token once, in the address (`?token=`), and gets a cookie (HttpOnly, SameSite=Strict) that other
    sites cannot use. Programs send `Authorization: Bearer TOKEN`.
    """

    def __init__(self, app: Any, names: Names, token: str, cookie: str) -> None:
        self._app, self._names, self._token, self._cookie = app, names, token, cookie
        self._pass = secrets.token_urlsafe(32)  # the content of the cookie; it is not valid after a restart

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        let_in = False  # becomes true by the token in the address

        async def dressed(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
                if let_in:
                    answer.append("set-cookie", self._set_cookie(scope))
            await send(message)

        try:
            host = headers.get("host", "")
            self._names.check_host(host)
            if (origin := headers.get("origin")) is not None:
                self._names.check_origin(origin, host)
            by_token = _same(QueryParams(scope["query_string"]).get("token", ""), self._token)
            by_program = self._knows_bearer(headers)
            by_cookie = _same(cookie_parser(headers.get("cookie", "")).get(self._cookie, ""), self._pass)
            if not (by_token or by_program or by_cookie):
                raise Refusal(
                    401,
                    "token",
                    "this server needs its token: open the address that it printed when it started, which ends in ?token=…",
                )
            if scope["method"] not in ("GET", "HEAD") and origin is None and not by_program:
                raise Refusal(
                    403,
                    "origin",
                    "expected the header Origin, which every browser sends with such a request, got none.",
                )
            let_in = by_token
        except Refusal as refusal:
            await _refuse(refusal, headers, scope)(scope, receive, dressed)
            return
        await self._app(scope, receive, dressed)

    def _knows_bearer(self, headers: Mapping[str, str]) -> bool:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and _same(value.strip(), self._token)

    def _set_cookie(self, scope: Any) -> str:
        https = scope.get("scheme") == "https" or any(origin.startswith("https:") for origin in self._names.origins)
        return f"{self._cookie}={self._pass}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if https else ''}"


def _same(given: str, known: str) -> bool:
    """Compare in constant time, so that the time shows nothing about the token."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), known.encode())


def _refuse(refusal: Refusal, headers: Mapping[str, str], scope: Any) -> Any:
    """A page for people who open the address, JSON for everything else."""
    if refusal.kind == "token" and scope["path"] == "/" and "text/html" in headers.get("accept", ""):
        query = QueryParams(scope["query_string"]).multi_items()
        page = door(refusal.message, [(name, value) for name, value in query if name != "token"])
        return HTMLResponse(page, refusal.status, {"content-security-policy": DOOR_POLICY})
    return JSONResponse({"kind": refusal.kind, "message": refusal.message}, refusal.status)
