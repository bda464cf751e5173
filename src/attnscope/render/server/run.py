"""The process: it takes a port, answers, and at the end finishes the requests that it has."""

import errno
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import uvicorn

from attnscope.errors import AddressError, InputError
from attnscope.render.server.app import application
from attnscope.render.server.connections import limited
from attnscope.render.server.guard import WILD
from attnscope.render.server.limits import Limits
from attnscope.render.server.work import Reader

BACKLOG = 128  # connections that the system accepts before the server does
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
    """Answer on the socket until SIGTERM or Ctrl-C, then finish the requests that it has. A second signal ends the process.

    `started` is called as soon as the server can answer.
    """
    limits = limits or Limits()
    port = taken.getsockname()[1]
    app = application(models, token=token, host=host, port=port, origins=origins, limits=limits)
    _allow_files(2 * (limits.silent + limits.at_once))
    _Server(configuration(app, limits), started).run(sockets=[taken])


def configuration(app: Any, limits: Limits) -> uvicorn.Config:
    """How uvicorn runs the application."""
    return uvicorn.Config(
        app,
        http=limited(limits),
        log_level="error",
        access_log=False,
        server_header=False,
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=FINISH,
    )


def _allow_files(count: int) -> None:
    """Let this process have so many connections open, as far as the system allows it."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(uvicorn.Server):
    """Calls a function once it has started; ends with the first signal, and leaves the second to the system."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], Any]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._tell()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """A signal: finish what was begun. uvicorn would raise it again at the end, as if the process had failed."""
        self.should_exit = True
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)  # ends the process even while Python is busy


def address(host: str, port: int, token: str, origins: Sequence[str] = ()) -> str:
    """The address to open in the browser, as addresses are written: a token may hold &, # or a space."""
    name = "127.0.0.1" if host in WILD else f"[{quote(host, safe=':')}]" if ":" in host else quote(host)
    base = origins[0].rstrip("/") if origins else f"http://{name}:{port}"
    return f"{base}/?token={quote(token, safe='')}"


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
