"""A Chromium for tests, without network."""

import os
import shutil

from playwright.sync_api import Browser, Playwright

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def browser_path() -> str:
    """The browser `make test` found, or one on PATH."""
    path = os.environ.get("ATTNSCOPE_BROWSER") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    assert path, "no browser found: `make test` installs one, or name yours with ATTNSCOPE_BROWSER=/path/to/chrome"
    return path


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=browser_path(), args=ARGS)
