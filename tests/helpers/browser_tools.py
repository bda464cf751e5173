"""A Chromium for tests, without network."""

import os
import shutil
import time
from typing import Any

from playwright.sync_api import Browser, Frame, Page, Playwright

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


def until(page: Page | Frame, holds: str, arg: Any = None, seconds: float = 60) -> None:
    """Wait until an expression, or a function of `arg`, is true in the page.

    Playwright's own `wait_for_function` compiles its predicate within the page each time it asks again, which the Content
    Security Policy of our pages refuses: it passes only where nothing had to be waited for.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(holds, arg):
        assert time.monotonic() < end, f"after {seconds} s still not so: {holds}"
        page.wait_for_timeout(20)
