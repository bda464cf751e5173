"""Who is let in: the names the server answers to, the pages that may ask, the token."""

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
    """The names under which the server may be asked: this machine's, `host`, and those of `origins`, where a proxy stands."""

    def __init__(self, host: str, origins: Sequence[str] = ()) -> None:
        self.origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._netlocs = {urlsplit(origin).netloc for origin in self.origins}
        self._wild = host in WILD
        self._names = {"localhost", host.lower(), *([socket.gethostname().lower()] if self._wild else [])}

    def check_host(self, header: str) -> None:
        """Raises Refusal (403) for a Host that is not ours: a name that somebody has pointed at this address."""
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
            f"this server does not answer to the name {header[:100]!r}. Use the address it printed; behind a proxy, start it with "
            "--origin and the address that people use.",
        )

    def check_origin(self, origin: str, host: str) -> None:
        """Raises Refusal (403) for a request that a page from elsewhere has made."""
        origin = origin.lower()
        if origin not in self.origins and origin != f"http://{host.lower()}":
            raise Refusal(
                403,
                "origin",
                f"a page from {origin[:100]!r} has asked, and only this server's own pages may. Behind a proxy, start it with "
                "--origin and the address that people use.",
            )


class Guard:
    """Wraps an application: checks every request before it is answered, and adds the headers that every answer carries.

    The token comes once, in the address (`?token=`), and is exchanged for a cookie (HttpOnly, SameSite=Strict) that other
    sites cannot use; programs send `Authorization: Bearer TOKEN` instead.
    """

    def __init__(self, app: Any, names: Names, token: str, cookie: str) -> None:
        self._app, self._names, self._token, self._cookie = app, names, token, cookie
        self._pass = secrets.token_urlsafe(32)  # what the cookie holds; it is worth nothing after a restart

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        let_in = False  # by the token in the address

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
                    "this server asks for its token: open the address that it printed when it started, which ends in ?token=…",
                )
            if scope["method"] not in ("GET", "HEAD") and origin is None and not by_program:
                raise Refusal(403, "origin", "a browser says which page asks (Origin), and this request does not.")
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
    """In a time that does not tell how much of it was right."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), known.encode())


def _refuse(refusal: Refusal, headers: Mapping[str, str], scope: Any) -> Any:
    """A page for people who are looking at the address, JSON for all else."""
    if refusal.kind == "token" and scope["path"] == "/" and "text/html" in headers.get("accept", ""):
        query = QueryParams(scope["query_string"]).multi_items()
        page = door(refusal.message, [(name, value) for name, value in query if name != "token"])
        return HTMLResponse(page, refusal.status, {"content-security-policy": DOOR_POLICY})
    return JSONResponse({"kind": refusal.kind, "message": refusal.message}, refusal.status)
