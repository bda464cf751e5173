"""A server in a thread of the test, on a port of its own, and questions to it."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from attnscope.render.server import run
from attnscope.render.server.app import application
from attnscope.render.server.limits import Limits
from patience import PATIENCE

TOKEN = "a-token-of-tests-0123456789"


class Served:
    """A server in a thread, and questions to it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, body. A dict becomes JSON; headers of None are left out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        sent = {
            "Authorization": f"Bearer {TOKEN}",
            **({"Content-Type": "application/json"} if data is not None else {}),
        }
        sent |= headers or {}
        with contextlib.closing(connection):
            connection.request(
                method or ("GET" if data is None else "POST"), path, data, {k: v for k, v in sent.items() if v}
            )
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def trace(self, text: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
        return self.ask("/api/trace", {"text": text, **more})


@contextlib.contextmanager
def served(models: Any, limits: Limits | None = None, **options: Any) -> Iterator[Served]:
    taken = run.listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    app = application(models, token=TOKEN, port=port, limits=limits, **options)
    server = uvicorn.Server(run.configuration(app, limits or Limits()))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    try:
        yield Served(port)
    finally:
        server.should_exit = True
        thread.join()
