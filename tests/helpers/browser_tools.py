"""A Chromium for tests, without network."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from playwright.sync_api import Browser, BrowserContext, Frame, Page, Playwright, expect

from patience import PATIENCE

FIND = Path(__file__).parents[2] / "tools" / "find_browser.py"
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def browser_path() -> str:
    """The browser `make test` found, or the one that it would find."""
    if path := os.environ.get("ATTNSCOPE_BROWSER"):
        return path
    found = subprocess.run([sys.executable, FIND], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=browser_path(), args=ARGS)


class PatientBrowser:
    """A browser whose pages wait for PATIENCE, and Playwright's `expect` too."""

    def __init__(self, browser: Browser):
        self._browser = browser
        expect.set_options(timeout=PATIENCE * 1000)

    def new_context(self, **options: Any) -> BrowserContext:
        context = self._browser.new_context(**options)
        context.set_default_timeout(PATIENCE * 1000)
        return context

    def new_page(self, **options: Any) -> Page:
        page = self._browser.new_page(**options)
        page.set_default_timeout(PATIENCE * 1000)
        return page


def until(page: Page | Frame, holds: str, arg: Any = None, seconds: float = PATIENCE) -> None:
    """Wait until an expression, or a function of `arg`, is true in the page.

    Playwright's own `wait_for_function` compiles its predicate within the page each time it asks again, which the Content
    Security Policy of our pages refuses: it passes only where nothing had to be waited for.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(holds, arg):
        assert time.monotonic() < end, f"after {seconds} s still not so: {holds}"
        page.evaluate("() => new Promise(then => setTimeout(then, 20))")


# Counts what a page still has to do by itself: timers of up to a second, animation frames and idle callbacks. It runs
# before the page's own script.
COUNT_PENDING = """(() => {
  const pending = new Set(), now = {frame: window.requestAnimationFrame.bind(window)};
  const counted = (start, stop, counts) => {
    const begin = window[start].bind(window), end = window[stop].bind(window);
    window[start] = (work, how, ...rest) => {
      const one = begin((...given) => { pending.delete(key); work(...given); }, how, ...rest), key = `${start} ${one}`;
      if (counts(how)) pending.add(key);
      return one;
    };
    window[stop] = one => { pending.delete(`${start} ${one}`); end(one); };
  };
  counted('setTimeout', 'clearTimeout', delay => !(delay > 1000));
  counted('requestAnimationFrame', 'cancelAnimationFrame', () => true);
  counted('requestIdleCallback', 'cancelIdleCallback', () => true);
  window.settledForTests = async () => {
    do for (let i = 0; i < 2; i++) await new Promise(now.frame); while (pending.size);
  };
})()"""


def settled(page: Page | Frame) -> None:
    """Wait until the page has done all that it put off: drawn, written its URL, checked its receipt.

    Two frames pass at least, so that scrolling has been noticed. The page must have been opened with COUNT_PENDING.
    """
    page.evaluate("() => window.settledForTests()")


@contextmanager
def next_draw(page: Page | Frame) -> Iterator[None]:
    """Wait, after what is done within, until the page has drawn once more."""
    count = "() => Number(document.querySelector('[data-attnscope]').dataset.drawn)"
    before = page.evaluate(count)
    yield
    until(page, f"before => ({count})() > before", before)
    settled(page)


def url_state(page: Page) -> dict[str, str]:
    """The state in the page's URL, which the page writes a moment after a change."""
    settled(page)
    return dict(part.split("=", 1) for part in page.evaluate("location.hash").lstrip("#").split("&") if "=" in part)


def saved(page: Any) -> Any:
    """The picture that the page saves as SVG, parsed."""
    page.locator('[data-tool="save"]').click()
    with page.expect_download() as download:
        page.locator('[data-save="svg"]').click()
    return ElementTree.fromstring(download.value.path().read_text())
