"""A page in a Chromium, driven and timed: the first draw, and every gesture from its event to the frame that shows it."""

import json
import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Page, Route

PROBE = """(() => {
  const all = (root, selector) => [...root.querySelectorAll('*')].flatMap((e) =>
    [...(e.matches(selector) ? [e] : []), ...(e.shadowRoot ? all(e.shadowRoot, selector) : [])]);
  const found = {}, names = new WeakMap();
  let named = 0;
  // calls back at the second animation frame that finds the change made
  const painted = (made, done, frames = 0) => requestAnimationFrame(() => {
    if (made()) frames++;
    frames === 2 ? done(performance.now()) : painted(made, done, frames);
  });
  window.bench = {
    all: (selector) => all(document, selector),
    one: (selector) => (found[selector] ??= all(document, selector)[0]),  // once: looking for it takes a millisecond
    drawn: (selector) => new Promise((done) => painted(() => document.querySelector(selector), done)),
    count: (root) => [...root.querySelectorAll('[data-attnscope]')].reduce(
      (n, e) => n + (e.shadowRoot ? bench.count(e.shadowRoot) : 0), root.querySelectorAll('*').length),
    // tells an element from the one that takes its place
    name: (e) => e && (names.get(e) ?? (names.set(e, ++named), named)),
    // the next event of this type, up to the frame that shows what `sign` tells of it
    next: (type, sign) => {
      const before = sign();
      const made = () => before === null || sign() !== before;
      bench.took = new Promise((done, fail) => {
        addEventListener(type, (event) => painted(made, (now) => done(now - event.timeStamp)), { capture: true, once: true });
        setTimeout(() => fail(new Error(`no ${type}, or nothing came of it`)), 60_000);
      });
    },
    // centres of the elements that a pointer can reach there
    points: (selector) => bench.all(selector).map((e) => [e, e.getBoundingClientRect()])
      .map(([e, r]) => [e, r.x + r.width / 2, r.y + r.height / 2])
      .filter(([e, x, y]) => e.getRootNode().elementFromPoint(x, y) === e).map(([, x, y]) => [x, y]),
    // n places along the middle of each: a picture has no elements for its parts
    places: (selector, [n, from, to]) => bench.all(selector).map((e) => e.getBoundingClientRect())
      .filter((r) => r.y + r.height / 2 < innerHeight - 80)
      .flatMap((r) => Array.from({ length: n }, (_, i) => [r.x + r.width * (from + (to - from) * (i + 0.5) / n), r.y + r.height / 2])),
    pick: (select, value) => { select.value = value; select.dispatchEvent(new Event('change', { bubbles: true, composed: true })); },
  };
})()"""


class Keys(NamedTuple):
    """What takes arrow keys: where the focus goes, the key that begins anew, the two keys that walk there and back."""

    focus: str
    home: str
    there: str
    back: str


class Subject(NamedTuple):
    """How one kind of page is driven: selectors, and the sign by which a change is known to be in the document."""

    drawn: str
    sign: str
    hover: str | None = None
    spread: tuple[int, float, float] | None = (
        None  # `hover` are pictures, pointed at in n places between two parts of their width
    )
    layers: str | None = None
    query: Keys | None = None  # moves the query
    within: Keys | None = None  # walks within the level
    prepare: str = ""  # run once before any gesture
    clicks: tuple[str, ...] = ()  # what a pointer does before any gesture


class Gestures(NamedTuple):
    """Medians in milliseconds; None: there is no such thing."""

    hover: float | None
    query: float | None
    within: float | None
    layer: float | None


def median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


class Driver:
    """One open page."""

    def __init__(self, browser: Browser, subject: Subject, address: str, scripts: dict[str, bytes]) -> None:
        self.subject = subject
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(600_000)
        # told by a message: to ask would run the driver's own scripts in the page while it draws
        told = f"bench.drawn({json.dumps(subject.drawn)}).then((ms) => console.debug('drawn', ms));"
        self.page.add_init_script(PROBE + ";" + told)

        def serve(route: Route) -> None:
            name = next((name for name in scripts if name in route.request.url), None)
            route.fulfill(body=scripts[name], content_type="text/javascript") if name else route.abort()

        self.page.route(re.compile("^http"), serve)
        with self.page.expect_console_message(lambda message: message.text.startswith("drawn ")) as drawn:
            self.page.goto(address, wait_until="commit")
        self.first = float(drawn.value.text.split()[1]) / 1000

    def elements(self) -> int:
        return self.page.evaluate("bench.count(document)")

    def gestures(self, times: int) -> Gestures:
        """`times` of each, and every other layer."""
        for selector in self.subject.clicks:
            x, y = self.page.evaluate("(selector) => bench.points(selector)[3]", selector)
            self.page.mouse.move(x, y)
            self.page.mouse.click(x, y)
        self.page.mouse.move(1270, 1)
        if self.subject.prepare:
            self.page.evaluate(self.subject.prepare)
        self.page.wait_for_timeout(1000)  # what is done after the first frame is done
        return Gestures(
            median(self.hover(times)),
            median(self.walk(self.subject.query, times)),
            median(self.walk(self.subject.within, times)),
            median(self.layers()),
        )

    def timed(self, kind: str, gesture: Callable[[], Any]) -> float:
        self.page.evaluate(f"bench.next('{kind}', {self.subject.sign})")
        # anywhere between two frames: work then shows in full, not only beyond a frame
        time.sleep(random.random() / 60)
        gesture()
        return self.page.evaluate("bench.took")

    def hover(self, times: int) -> list[float]:
        if self.subject.hover is None:
            return []
        how = "places" if self.subject.spread else "points"
        points = self.page.evaluate(
            f"([selector, n]) => bench.{how}(selector, n)", [self.subject.hover, self.subject.spread]
        )
        assert len(points) > 3, f"only {len(points)} places to point at"
        took = [
            self.timed("pointermove", lambda i=i: self.page.mouse.move(*points[i % len(points)])) for i in range(times)
        ]
        self.page.mouse.move(1270, 1)
        return took

    def walk(self, keys: Keys | None, times: int) -> list[float]:
        """There and back."""
        if keys is None:
            return []
        self.page.evaluate("(selector) => bench.all(selector)[0].focus()", keys.focus)
        self.page.keyboard.press(keys.home)
        self.page.wait_for_timeout(300)
        return [
            self.timed("keydown", lambda i=i: self.page.keyboard.press(keys.there if i % 12 < 6 else keys.back))
            for i in range(times)
        ]

    def layers(self) -> list[float]:
        """Every other layer, none of them seen before, in order."""
        if self.subject.layers is None:
            return []
        find = f"const select = bench.all('{self.subject.layers}')[0];"
        values = self.page.evaluate(
            f"() => {{ {find} select.focus(); const o = [...select.options].map((o) => o.value);"
            "return o.filter((v) => v !== select.value); }"
        )
        return [
            self.timed("change", lambda v=v: self.page.evaluate(f"(v) => {{ {find} bench.pick(select, v); }}", v))
            for v in values
        ]


# --- the pages that are measured --------------------------------------------------------------------------------------

EMPTY = Subject(
    "body",
    "() => null",
    "b",
    query=Keys("b", "Home", "ArrowRight", "ArrowLeft"),
    within=Keys("b", "Home", "ArrowDown", "ArrowUp"),
)
EMPTY_PAGE = "<!doctype html>" + "".join(
    f'<b tabindex=0 style="position:absolute;left:9px;top:{30 * i}px">word</b>' for i in range(20)
)


def scope(**how: Any) -> Subject:
    """A level of attnscope; beyond 40 keys the neuron level folds those of little weight, which is less to draw."""
    return Subject(
        "[data-attnscope][data-ready]",
        "() => document.querySelector('[data-attnscope]').dataset.drawn + bench.one('[data-readout]').textContent",
        layers="select[data-crumb=layer]",
        query=Keys("[data-ribbon]", "Home", "ArrowRight", "ArrowLeft"),
        prepare="bench.all('[data-tool=expand]').filter((e) => e.getClientRects().length).forEach((e) => e.click())",
        **how,
    )


GRID = Keys("[data-grid]", "Control+Home", "ArrowDown", "ArrowUp")
SCOPE = {
    "stream": scope(
        hover="[data-grid=stream] [data-col=value]",
        within=Keys("[data-grid=stream] [tabindex='0']", "Home", "ArrowDown", "ArrowUp"),
    ),
    "model": scope(
        hover=".model-line canvas",
        spread=(12, 0, 1),
        within=Keys("[data-grid]", "Control+Home", "ArrowRight", "ArrowLeft"),
    ),
    "head": scope(hover=".end .tok", within=Keys("[data-query-list]", "Home", "ArrowDown", "ArrowUp")),
    "matrix": scope(hover="[data-grid=matrix]", spread=(5, 0.31, 0.69), within=GRID),  # a cell each, at 16 tokens too
    "neuron": scope(hover="[data-row-key] canvas", within=GRID),
    "steps": scope(hover=".number .value", within=Keys("[data-slider]", "End", "ArrowLeft", "ArrowRight")),
}
# BertViz's views of the same; it draws no matrix and writes out no arithmetic
BERTVIZ = {
    # every layer and head at once: nothing to hover, no layer to change
    "model": Subject("#vis svg", "() => null"),
    "head": Subject(
        "#vis svg",
        "() => [bench.name(document.querySelector('#vis svg')), "
        "[...document.querySelectorAll('#vis .background')].findIndex((e) => e.style.opacity === '1')].join()",
        hover="#left text",
        layers="#layer",
    ),
    # its numbers stand behind a plus sign that appears when a token is pointed at
    "neuron": Subject(
        "#vis svg",
        "() => ['keys', 'product'].map((id) => document.querySelector(`#${id} .element`).dataset.value).join()",
        hover="#expanded #leftText .token",
        layers="#layer",
        clicks=("#collapsed #leftText .token", "#collapsed #leftText rect:not(.highlight)"),
    ),
}


class Figures(NamedTuple):
    """Seconds, megabytes, elements, milliseconds; None: not measured, or there is no such thing."""

    build: float | None
    size: float | None
    first: float | None
    elements: int | None
    hover: float | None = None
    query: float | None = None
    within: float | None = None
    layer: float | None = None


def measure(
    browser: Browser, subject: Subject, path: Path, hash: str, scripts: dict[str, bytes], times: int, loads: int
) -> Figures:
    """Opens the page up to `loads` times for the first draw, and works in the last one."""
    firsts: list[float] = []
    while True:
        driver = Driver(browser, subject, path.as_uri() + hash, scripts)
        firsts.append(driver.first)
        if len(firsts) == loads or sum(firsts) > 15:
            break
        driver.page.close()
    try:
        before = driver.elements()
        took = driver.gestures(times)
        return Figures(None, path.stat().st_size / 1e6, median(firsts), max(before, driver.elements()), *took)
    finally:
        driver.page.close()
