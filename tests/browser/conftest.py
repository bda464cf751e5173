"""A Chromium without network, and pages opened the three ways in which people meet them."""

import html
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Frame, FrameLocator, Page

from browser_tools import COUNT_PENDING

Opened = Page | Frame | FrameLocator


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser" in str(item.path):
            item.add_marker(pytest.mark.browser)


@pytest.fixture
def new_page(browser) -> Iterator[Callable[..., Page]]:
    """A page that reaches no network and fails the test for any script error, refused script or request."""
    contexts, troubles = [], []

    def make(width: int = 1280, height: int = 1800, dark: bool = False, scale: float = 1) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            device_scale_factor=scale,
        )
        context.set_offline(True)
        context.add_init_script(COUNT_PENDING)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("request", lambda r: troubles.append(r.url) if r.url.startswith(("http", "ws")) else None)
        return page

    yield make
    for context in contexts:
        context.close()
    assert not troubles


@pytest.fixture
def open_view(new_page, tmp_path) -> Callable[..., Opened]:
    """Open a view's page as a file, in an iframe's srcdoc, or in a sandboxed one; wait until it has drawn."""

    def opened(view, way: str = "file", hash: str = "", **size) -> Opened:
        return open_html(view if isinstance(view, str) else view.html, way, hash, **size)

    def open_html(text: str, way: str, hash: str, **size) -> Opened:
        page = new_page(**size)
        path = tmp_path / f"{way}.html"
        if way == "file":
            path.write_text(text)
            page.goto(path.as_uri() + hash)
            page.wait_for_selector("[data-attnscope][data-ready]")
            return page
        sandbox = 'sandbox="allow-scripts"' if way == "sandboxed" else ""
        path.write_text(
            f'<!doctype html><meta charset="utf-8"><iframe {sandbox} width=1240 height=1700 srcdoc="{html.escape(text)}"></iframe>'
        )
        page.goto(path.as_uri())
        frame = page.frames[1]
        frame.wait_for_selector("[data-attnscope][data-ready]")
        return frame

    return opened
