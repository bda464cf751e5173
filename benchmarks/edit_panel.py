"""The edit panel of `attnscope serve` in a browser: from a key or click to the frame that shows what came of it."""

import contextlib
import statistics
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

import uvicorn
from driver import PROBE
from playwright.sync_api import Browser

from attnscope.cli.serve import reader_of
from attnscope.render.server import run
from attnscope.render.server.app import application
from attnscope.render.server.limits import Limits

TOKEN = "a-token-of-this-benchmark"
# The second frame after the panel says what it did not say before, and waits for nothing.
ANSWERED = """(act) => new Promise((done) => {
  const panel = bench.one('[data-edits]'), said = () => panel.querySelector('[data-score]').textContent;
  const before = said(), began = performance.now();
  bench.all(act)[0].click();
  let frames = 0;
  const look = () => {
    if (said() !== before && panel.getAttribute('aria-busy') !== 'true') frames++;
    frames === 2 ? done(performance.now() - began) : requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""
OPENED = """() => new Promise((done) => {
  const began = performance.now();
  bench.all('[data-tool=edit]')[0].click();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
})"""


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """A server of the demo model in a thread; its port."""
    taken = run.listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    app = application({"demo": reader_of("demo", 2048)}, token=TOKEN, port=port)
    server = uvicorn.Server(run.configuration(app, Limits()))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


def edit_panel(browser: Browser, port: int, text: str, times: int) -> dict[str, Any]:
    """Medians in ms: opening the panel, and switching a head off and on until the predictions after are there; and how many elements the panel has."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(PROBE)
    asked = urllib.parse.urlencode({"model": "demo", "text": text, "token": TOKEN})
    page.goto(f"http://127.0.0.1:{port}/?{asked}#level=head&layer=2&head=8")
    page.locator("[data-attnscope][data-ready]").wait_for()
    opened = []
    for _ in range(times):
        opened.append(page.evaluate(OPENED))
        page.locator("[data-edits][aria-busy=false] [data-score]:not(:empty)").wait_for()
        page.locator("[data-edit=more]").click()
    page.locator("[data-tool=edit]").click()
    took = [page.evaluate(ANSWERED, "[data-edit=off]") for _ in range(times)]
    elements = page.locator("[data-edits] *").count()
    page.close()
    return {"open": statistics.median(opened), "answer": statistics.median(took), "elements": elements}
