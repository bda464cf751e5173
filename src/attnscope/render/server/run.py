"""The process: it takes a port, answers, and at the end finishes the requests that it has."""

import errno
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from attnscope.errors import AddressError, InputError
from attnscope.render.server.app import application
from attnscope.render.server.guard import WILD
from attnscope.render.server.limits import Limits
from attnscope.render.server.work import Reader

FINISH = 120  # seconds for the requests that it has when it must stop


def listen(host: str, port: int) -> socket.socket:
    """A socket on which to listen, taken before anything slow is done.

    Raises AddressError (also an OSError) where the port is in use or closed to you, or the host is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, kind, protocol)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(address)
            taken.listen(256)
        except OSError:
            taken.close()
            raise
    except OSError as error:
        raise AddressError(_explain(error, host, port), error) from error
    return taken


def serve(
    models: Mapping[str, Reader],
    taken: socket.socket,
    *,
    token: str,
    host: str = "127.0.0.1",
    origins: Sequence[str] = (),
    limits: Limits | None = None,
    started: Callable[[], Any] = lambda: None,
) -> None:
    """Answer on the socket until SIGTERM or Ctrl-C, then finish the requests that it has.

    `started` is called as soon as the server can answer.
    """
    port = taken.getsockname()[1]
    app = application(models, token=token, host=host, port=port, origins=origins, limits=limits)
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=1000,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=FINISH,
    )
    server = _Server(config, started)

    def stop(*_: Any) -> None:
        server.should_exit = True

    # uvicorn raises the signal again at the end, as if the process had failed
    before = {name: signal.signal(name, stop) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[taken])
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


class _Server(uvicorn.Server):
    """Calls a function once it has started."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], Any]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._tell()


def address(host: str, port: int, token: str, origins: Sequence[str] = ()) -> str:
    """The address to open in the browser."""
    name = "127.0.0.1" if host in WILD else f"[{host}]" if ":" in host else host
    base = origins[0].rstrip("/") if origins else f"http://{name}:{port}"
    return f"{base}/?token={token}"


def check_origin(origin: str) -> str:
    """An address such as https://attn.example.org, without a path. Raises InputError for anything else."""
    parts = urlsplit(origin)
    if (
        parts.scheme not in ("http", "https")
        or not parts.netloc
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise InputError(
            f"--origin is {origin!r}; expected the address that people open, such as https://attn.example.org."
        )
    return f"{parts.scheme}://{parts.netloc}".lower()


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is in use, perhaps by another attnscope. Give another one with --port, or --port 0 for "
            "any free port."
        )
    if error.errno == errno.EACCES:
        return (
            f"you may not use port {port}: ports below 1024 are for administrators. Give --port 8765, or --port 0 for any "
            "free port."
        )
    return (
        f"cannot listen on {host}, port {port} ({error.strerror or error}): give --host an address of this machine, such as "
        "127.0.0.1."
    )
