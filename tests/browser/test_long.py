"""A grid too long for a page to compute: zoom and pan over tiles from a server and in a file, numbers as in Python, a server that goes away."""

import pytest
import torch
from playwright.sync_api import expect

from attnscope.statistics import thumbnails
from attnscope.tracing.trace import Trace
from browser_tools import until
from served import TOKEN, served

T, LATE = 16_411, 16_103  # 269 million cells; a page computes 16
GRID = "document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-grid=matrix]')"
COMPLETE = f"() => {GRID}?.hasAttribute('data-complete')"
# In each frame: how long it took, and whether the middle of the grid shows something; and tasks of more than 50 ms.
WATCH = f"""() => {{
  const grid = {GRID}, canvas = grid.querySelector('canvas'), pen = canvas.getContext('2d');
  const seen = window.seen = {{times: [], tasks: [], blank: 0}};
  new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map((one) => one.duration))).observe({{type: 'longtask'}});
  let last = performance.now();
  const frame = () => {{
    const now = performance.now();
    seen.times.push(now - last);
    last = now;
    const [left, top] = grid.dataset.origin.split(',').map(Number);
    if (!pen.getImageData(left + 207.5, top + 101.5, 1, 1).data[3]) seen.blank++;
    if (!seen.done) requestAnimationFrame(frame);
  }};
  requestAnimationFrame(frame);
}}"""


@pytest.fixture(scope="module")
def trace() -> Trace:
    generator = torch.Generator().manual_seed(13)
    q, k, v = (torch.randn(1, T, 6, generator=generator) * 1.6 for _ in range(3))
    return Trace.from_qkv(q, k, v, tokens=[f"w{n % 97}" for n in range(T)], is_causal=True)


@pytest.fixture(scope="module")
def server(trace):
    with pytest.MonkeyPatch.context() as patch, served({"long": lambda text, **_: trace}) as one:
        patch.setattr(thumbnails, "MOST_WEIGHTS", 1 << 24)  # thumbnails of some queries: they are not looked at here
        yield one


@pytest.fixture
def page(browser, server):
    context, troubles = browser.new_context(viewport={"width": 1280, "height": 900}), []
    page = context.new_page()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.port}/?token={TOKEN}&text=x#level=matrix&layer=0&head=0&query={LATE}")
    page.locator("[data-attnscope][data-ready]").wait_for()
    until(page, COMPLETE)
    yield page
    context.close()
    assert not troubles


def block(page) -> int:
    return int(page.evaluate(f"{GRID}.dataset.block"))


def zoom_in(page, times: int) -> None:
    page.locator("[data-grid=matrix]").focus()
    for _ in range(times):
        page.keyboard.press("+")


def test_zoom_and_pan_from_a_server(page, trace, record_testsuite_property):
    assert block(page) > 1
    assert page.locator("[data-note=tiles]").count() == 1
    expect(page.locator(".matrix-level .message")).to_be_hidden()
    page.evaluate(WATCH)
    zoom_in(page, 12)
    until(page, f"() => {GRID}.dataset.block === '1' && {GRID}.hasAttribute('data-complete')")
    box = page.locator("[data-grid=matrix]").bounding_box()
    left, top = (float(x) for x in page.evaluate(f"{GRID}.dataset.origin").split(","))
    x, y = box["x"] + left + 307, box["y"] + top + 211
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 21):
        page.mouse.move(x - 9 * step, y + 7 * step)
    page.mouse.up()
    until(page, COMPLETE)
    page.mouse.move(x + 30, y + 40)
    cell = page.locator("[role=gridcell]").first
    found = {name: cell.get_attribute(f"data-{name}") for name in ("query", "key", "weight", "score")}
    query, key = int(found["query"]), int(found["key"])
    assert float(found["weight"]) == pytest.approx(float(trace.sites[0].weights(0, query)[0, key]), rel=1e-4, abs=1e-9)
    if key <= query:
        assert float(found["score"]) == pytest.approx(float(trace.sites[0].scores(0, query)[0, key]), rel=1e-4)
    seen = page.evaluate("() => { window.seen.done = true; return window.seen; }")
    assert len(seen["times"]) > 20
    record_testsuite_property("frame times in ms", [round(time) for time in seen["times"]])
    record_testsuite_property("tasks over 50 ms", [round(time) for time in seen["tasks"]])
    assert seen["blank"] == 0


def test_a_server_that_goes_away_and_comes_back(page):
    page.route("**/api/tiles**", lambda route: route.abort())
    zoom_in(page, 6)
    expect(page.locator(".notices, [data-notices]").first).to_contain_text("The server does not answer")
    assert not page.evaluate(COMPLETE)
    page.unroute("**/api/tiles**")
    until(page, COMPLETE)


def test_a_file_draws_it_by_itself(open_view, trace):
    page = open_view(trace.show("matrix", layer=0, head=0, query=LATE), height=900)
    until(page, f"() => {GRID}.dataset.block > 1 && !!{GRID}.querySelector('canvas').width")
    expect(page.locator("[data-note=coarse]")).to_contain_text("zoom in and every weight is drawn")
    zoom_in(page, 14)
    until(page, f"() => {GRID}.dataset.block === '1'")
