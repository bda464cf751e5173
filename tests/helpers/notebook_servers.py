"""Notebook servers on loopback, each in a process of its own: JupyterLab, Notebook 7, marimo."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patience import PATIENCE


@dataclass(frozen=True)
class Server:
    """A running server: where its notebooks lie and how to open one."""

    folder: Path
    url: str
    token: str
    env: dict[str, str]
    path: str

    def address(self, name: str) -> str:
        return f"{self.url}/{self.path}{name}?token={self.token}&reset"

    def trust(self, name: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "jupyter", "trust", str(self.folder / name)],
            env=self.env,
            check=True,
            capture_output=True,
        )


@contextlib.contextmanager
def running(command: list[str], alive: str, env: dict[str, str], log: Path) -> Iterator[None]:
    """A server of its own process, from the moment when `alive` answers."""
    with open(log, "w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", *command], env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            last = time.monotonic() + PATIENCE
            while not answers(alive):
                assert server.poll() is None, f"{command[0]} ended: {log.read_text()[-2000:]}"
                assert time.monotonic() < last, f"{command[0]} did not start: {log.read_text()[-2000:]}"
                time.sleep(0.25)
            yield
        finally:
            end(server)


def end(server: subprocess.Popen) -> None:
    """Ends a server and its kernels, also where it does not listen: JupyterLab may hang while a kernel still starts."""
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(timeout=10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=PATIENCE).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def jupyter(app: str, path: str, folder: Path, home: Path) -> Iterator[Server]:
    """A Jupyter application, with settings of its own."""
    port, token = free_port(), secrets.token_hex(16)
    env = {
        **os.environ,
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    command = ["jupyter", app, "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0"]
    url = f"http://127.0.0.1:{port}"
    with running(command, f"{url}/api?token={token}", env, home / "log"):
        yield Server(folder, url, token, env, path)
