"""A real JupyterLab on loopback, and notebooks with what their cells printed."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from playwright.sync_api import Page

SETUP = """import attnscope
model, tokenizer = attnscope.load("demo")
trace = attnscope.trace(model, tokenizer, "The kite climbs when a strong wind lifts it.")"""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: where its notebooks lie and how to open one."""

    folder: Path
    url: str
    token: str
    env: dict[str, str]

    def address(self, name: str) -> str:
        return f"{self.url}/lab/tree/{name}?token={self.token}&reset"

    def trust(self, name: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "jupyter", "trust", str(self.folder / name)],
            env=self.env,
            check=True,
            capture_output=True,
        )


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    home = tmp_path_factory.mktemp("jupyter")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
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
    log = open(home / "log", "w")  # noqa: SIM115  lives as long as the server
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root",
            f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0",
        ],
        env=env, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/api?token={token}", timeout=2)
                break
            assert server.poll() is None, f"JupyterLab ended: {(home / 'log').read_text()[-2000:]}"
            time.sleep(0.25)
        yield Lab(folder, url, token, env)
    finally:
        server.terminate()
        server.wait(timeout=30)
        log.close()


@pytest.fixture(scope="session")
def executed() -> nbformat.NotebookNode:
    """A notebook with a live and a static view, run to its end, with widget state."""
    cells = [SETUP, "trace.show(layer=2, head=8)", "trace.show(layer=2, head=8, static=True)"]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    NotebookClient(notebook, timeout=120, store_widget_state=True).execute()
    return notebook


@pytest.fixture(scope="module")
def page(browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    yield page
    page.close()
