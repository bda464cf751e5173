"""The neuron level in a browser, beside BertViz's neuron view in the same Chromium.

    python benchmarks/page.py            # T = 16 … 512 (some minutes); writes its section of benchmarks/RESULTS.md
    python benchmarks/page.py --all      # BertViz live at 256 and 512 too (many minutes and several GB)
    python benchmarks/page.py --quick    # T = 16 and 128, few repetitions; prints only

Every time ends at the second animation frame after the change is in the document: by then the first frame that shows it
is painted. For hover, arrow key and layer change every key is a line of its own (attnscope unfolded, BertViz expanded).
Hover and arrow key are real input, timed from the event's own timestamp; a layer change is timed from the menu's change
event; the first draw from the start of navigation. An empty page is measured in the same way.
"""

import argparse
import gzip
import importlib.metadata
import importlib.util
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded from the hub

import torch
from playwright.sync_api import Browser, Page, Route, sync_playwright
from results import write_section

ROOT = Path(__file__).resolve().parents[1]
LENGTHS, LIVE = (16, 64, 128, 256, 512), 128
TEXT = """A river that rises in the hills carries fine sand to the sea, and the sea gives some of it back as a beach.
When the wind turns to the north, the fishermen pull their boats above the line of weed that the last storm left.
The old clock in the square stopped years ago, yet people still set their watches by the bell of the school.
Bread needs only flour, water, salt and time, but each of them changes what the other three can do.
Because the bridge was closed, the letter went around by the mountain road and came two days after the guest.
She counted the swallows on the wire, lost her place when they rose together, and began again from the left.
A map is useful because it leaves things out; one as large as the country would only cover the fields.
The gardener planted the tall beans behind the short ones, so that every row would have its share of light.
If a lens is ground a little too flat, the stars at the edge of the picture grow small tails, like comets.
The train waited at the border while two men with lamps walked its whole length and tapped every wheel.
He learned the song from his aunt, who had it from a sailor, who said it was older than the harbour.
Ice floats because it takes more room than the water it was made of, and so the fish below survive the winter."""


class Figures(NamedTuple):
    """Seconds, megabytes, elements, milliseconds; None: not measured, or there is no such thing."""

    build: float
    size: float
    first: float
    elements: int
    hover: float | None
    arrow: float | None
    cell: float | None
    layer: float | None


# BertViz 1.4.1's neuron view of the same model, from an earlier run by another script on two shared cores; where that
# script ended its times is not recorded, so compare orders of magnitude (--all measures them as the rest here).
STORED = {
    16: Figures(0.14, 1.97, 0.53, 3_893, 30, None, None, 90),
    64: Figures(0.70, 12.7, 1.7, 36_869, 91, None, None, 922),
    128: Figures(3.1, 38.9, 3.2, 131_013, 204, None, None, 2_468),
    256: Figures(6.7, 132, 10.0, 491_333, 646, None, None, 9_514),
    512: Figures(19.5, 483, 36.6, 1_900_101, 2_030, None, None, 39_797),
}

# --- what runs in the page --------------------------------------------------------------------------------------------

PROBE = """(() => {
  const all = (root, selector) => [...root.querySelectorAll('*')].flatMap((e) =>
    [...(e.matches(selector) ? [e] : []), ...(e.shadowRoot ? all(e.shadowRoot, selector) : [])]);
  const found = {};
  // calls back at the second animation frame that finds the change made
  const painted = (made, done, frames = 0) => requestAnimationFrame(() => {
    if (made()) frames++;
    frames === 2 ? done(performance.now()) : painted(made, done, frames);
  });
  window.bench = {
    all: (selector) => all(document, selector),
    one: (selector) => (found[selector] ??= all(document, selector)[0]),  // once: looking for it takes a millisecond
    drawn: (selector) => new Promise((done) => painted(() => document.querySelector(selector), done)),
    // the next event of this type, up to the frame that shows what `sign` tells of it
    next: (type, sign) => {
      const before = sign();
      const made = () => before === null || sign() !== before;
      bench.took = new Promise((done, fail) => {
        addEventListener(type, (event) => painted(made, (now) => done(now - event.timeStamp)), { capture: true, once: true });
        setTimeout(() => fail(new Error(`no ${type}, or nothing came of it`)), 120_000);
      });
    },
    // centres of the elements that a pointer can reach there
    points: (selector) => bench.all(selector).map((e) => [e, e.getBoundingClientRect()])
      .map(([e, r]) => [e, r.x + r.width / 2, r.y + r.height / 2])
      .filter(([e, x, y]) => e.getRootNode().elementFromPoint(x, y) === e).map(([, x, y]) => [x, y]),
    pick: (select, value) => { select.value = value; select.dispatchEvent(new Event('change', { bubbles: true, composed: true })); },
  };
})()"""


class Subject(NamedTuple):
    """How one kind of page is driven: selectors, and the sign by which a change is known to be in the document."""

    drawn: str
    sign: str
    hover: str
    layers: str
    query: str | None = None  # takes arrow keys that move the query
    table: str | None = None  # takes arrow keys that move from cell to cell


EMPTY = Subject("body", "() => null", "b", "select", query="b", table="b")
SCOPE = Subject(
    "[data-attnscope][data-ready]",
    "() => document.querySelector('[data-attnscope]').dataset.drawn + bench.one('[data-readout]').textContent",
    "[data-row-key] canvas", "select[data-crumb=layer]", query="[data-ribbon]", table="[data-grid]",
)  # fmt: skip
BERTVIZ = Subject(
    "#vis svg",
    "() => ['keys', 'product'].map((id) => document.querySelector(`#${id} .element`).dataset.value).join()",
    "#expanded #leftText .token", "#layer",
)  # fmt: skip
EMPTY_PAGE = (
    "<!doctype html>"
    + "".join(f'<b tabindex=0 style="position:absolute;left:9px;top:{30 * i}px">word</b>' for i in range(20))
    + '<select style="margin-left:99px">'
    + "".join(f"<option>{i}</option>" for i in range(6))
    + "</select>"
)


class Driver:
    """One open page: the time of the first draw, and of each gesture."""

    def __init__(self, browser: Browser, subject: Subject, path: Path, scripts: dict[str, bytes]) -> None:
        self.subject = subject
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(900_000)
        self.page.add_init_script(PROBE)

        def serve(route: Route) -> None:
            name = next((name for name in scripts if name in route.request.url), None)
            route.fulfill(body=scripts[name], content_type="text/javascript") if name else route.abort()

        self.page.route(re.compile("^http"), serve)
        self.page.goto(path.as_uri(), wait_until="commit")
        self.first = self.page.evaluate("(selector) => bench.drawn(selector)", subject.drawn) / 1000

    def elements(self) -> int:
        return self.page.evaluate("bench.all('*').length")

    def timed(self, kind: str, gesture: Callable[[], Any]) -> float:
        self.page.evaluate(f"bench.next('{kind}', {self.subject.sign})")
        time.sleep(
            random.random() / 60
        )  # anywhere between two frames: work then shows in full, not only beyond a frame
        gesture()
        return self.page.evaluate("bench.took")

    def hover(self, times: int) -> list[float]:
        points = self.page.evaluate("(selector) => bench.points(selector)", self.subject.hover)
        assert len(points) > 3, f"only {len(points)} places to point at"
        took = [
            self.timed("pointermove", lambda i=i: self.page.mouse.move(*points[i % len(points)])) for i in range(times)
        ]
        self.page.mouse.move(1270, 1)
        return took

    def arrow(self, selector: str | None, times: int) -> list[float]:
        """Down the text or the table, and back."""
        if selector is None:
            return []
        self.page.evaluate("(selector) => bench.all(selector)[0].focus()", selector)
        keys = ["ArrowRight" if i % 12 < 6 else "ArrowLeft" for i in range(times)]
        if selector == self.subject.table:
            keys = [key.replace("Right", "Down").replace("Left", "Up") for key in keys]
        self.page.keyboard.press("Control+Home" if selector == self.subject.table else "Home")
        self.page.wait_for_timeout(300)
        return [self.timed("keydown", lambda key=key: self.page.keyboard.press(key)) for key in keys]

    def layers(self) -> list[float]:
        """Every other layer, none of them seen before, in order."""
        find = f"const select = bench.all('{self.subject.layers}')[0];"
        values = self.page.evaluate(
            f"() => {{ {find} select.focus(); const o = [...select.options].map((o) => o.value);"
            "return o.filter((v) => v !== select.value); }"
        )
        return [
            self.timed("change", lambda v=v: self.page.evaluate(f"(v) => {{ {find} bench.pick(select, v); }}", v))
            for v in values
        ]

    def unfold(self) -> None:
        """Every key a line of its own: beyond 40 keys attnscope folds those of little weight, which is less to draw.
        BertViz's numbers stand behind a plus sign that appears when a token is pointed at."""
        if self.subject is SCOPE:
            self.page.evaluate("bench.all('[data-tool=expand]').filter((e) => !e.hidden).forEach((e) => e.click())")
            self.page.wait_for_timeout(300)
        if self.subject is not BERTVIZ:
            return
        self.page.mouse.move(*self.page.evaluate("bench.points('#collapsed #leftText .token')[3]"))
        self.page.mouse.click(*self.page.evaluate("bench.points('#collapsed #leftText rect:not(.highlight)')[3]"))
        self.page.mouse.move(1270, 1)


# --- the two pages ----------------------------------------------------------------------------------------------------


def text_of(tokenizer: Any, length: int) -> str:
    """Words of TEXT, again from the start where it ends, that make exactly `length` tokens."""
    words, source = [], (TEXT.split() * (length // 200 + 1)).__iter__()
    while (now := len(tokenizer(" ".join(words)).input_ids)) < length:
        word = next(source)
        if now + len(tokenizer.tokenize(word)) <= length:
            words.append(word)
    return " ".join(words)


def scope_builder() -> tuple[Callable[[str], str], Any, Any]:
    """(text -> HTML, model, tokenizer)."""
    import attnscope

    model, tokenizer = attnscope.load("demo")
    return lambda text: attnscope.show(model, tokenizer, text).html, model, tokenizer


def bertviz_builder(model: Any, tokenizer: Any) -> Callable[[str], str]:
    """Its own BertModel with the demo model's weights: it cannot read safetensors."""
    from bertviz.neuron_view import show
    from bertviz.transformers_neuron_view import BertConfig, BertModel

    own = BertModel(BertConfig.from_dict(model.config.to_dict()))
    own.load_state_dict(model.state_dict())
    return lambda text: "<!doctype html><meta charset=utf-8>" + show(
        own.eval(), "bert", tokenizer, text, display_mode="light", layer=2, head=8, html_action="return"
    ).data  # fmt: skip


def cdn_scripts() -> dict[str, bytes]:
    """The scripts that BertViz's page loads from a CDN, from npm (which has no jQuery 2.0), by a part of their address."""
    wanted = {
        "/d3/": ("d3@5.7.0", "package/dist/d3.min.js"),
        "/jquery/": ("jquery@2.1.0", "package/dist/jquery.min.js"),
        "/require.js/": ("requirejs@2.3.6", "package/require.js"),
    }
    with tempfile.TemporaryDirectory() as folder:
        npm = [str(ROOT / "tools/with-node"), "npm", "pack", "--silent", *(name for name, _ in wanted.values())]
        subprocess.run(npm, cwd=folder, check=True, capture_output=True)
        found = {}
        for part, (name, member) in wanted.items():
            with tarfile.open(Path(folder, name.replace("@", "-") + ".tgz")) as archive:
                found[part] = archive.extractfile(member).read()
        return found


def median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def measure(
    browser: Browser, subject: Subject, build: Callable[[], str], folder: Path, scripts: dict[str, bytes], times: int
) -> Figures:
    """Builds the page, opens it a few times for the first draw, and works in the last one."""
    loads, started, seconds = max(1, times // 10), time.perf_counter(), []
    for _ in range(loads):
        began = time.perf_counter()
        html = build()
        seconds.append(time.perf_counter() - began)
        if time.perf_counter() - started > 20:
            break
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    size = path.stat().st_size / 1e6
    del html
    firsts = []
    for i in range(loads):
        driver = Driver(browser, subject, path, scripts)
        firsts.append(driver.first)
        if i < loads - 1 and sum(firsts) < 20:
            driver.page.close()
            continue
        break
    try:
        driver.unfold()
        hover = driver.hover(times)
        arrow, cell = driver.arrow(subject.query, times), driver.arrow(subject.table, times)
        elements = driver.elements()
        layers = [] if subject is EMPTY else driver.layers()
        elements = max(elements, driver.elements())
    finally:
        driver.page.close()
    return Figures(
        median(seconds), size, median(firsts), elements, median(hover), median(arrow), median(cell), median(layers)
    )  # fmt: skip


# --- the report -------------------------------------------------------------------------------------------------------


class Report:
    """Prints every line as it is known, and keeps it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, *lines: str) -> None:
        print(*lines, sep="\n", flush=True)
        self.lines += lines

    def row(self, name: str, figures: Figures, digits: int = 3) -> None:
        shown = ["–" if x is None else f"{x:,.0f}" if x >= 100 else f"{x:.{digits}g}" for x in figures]
        self.say(f"| {name} | {' | '.join(shown)} |")

    def write(self) -> None:
        write_section("page", self.lines)


def ratio(theirs: Figures, ours: Figures) -> Figures:
    return Figures(*(a / b if a and b else None for a, b in zip(theirs, ours, strict=True)))


def goals(report: Report, at: Figures, empty: Figures) -> None:
    static = ROOT / "src/attnscope/static"
    bundle = max(len(gzip.compress(path.read_bytes())) for path in static.glob("*.js")) / 1000
    above = {
        "hover": at.hover - empty.hover, "arrow key, query": at.arrow - empty.arrow, "arrow key, cell": at.cell - empty.cell
    }  # fmt: skip
    report.say("", "Goals at T = 512:", "")
    for name, value, limit, unit in [
        ("page", at.size, 12, " MB"),
        ("first draw", at.first, 1, " s"),
        *((f"{name}, above an empty page", value, 10, " ms") for name, value in above.items()),
        ("layer change", at.layer, 100, " ms"),
        ("DOM elements", at.elements, 4999, ""),
        ("larger bundle after gzip", bundle, 100, " kB"),
    ]:
        report.say(f"- {'✓' if value <= limit else '✕'} {name}: {value:,.4g}{unit} (goal: ≤ {limit:,}{unit})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="BertViz live at every length (many minutes, several GB)")
    parser.add_argument("--quick", action="store_true", help="two lengths, few repetitions; prints only")
    options = parser.parse_args()
    lengths, times = ((16, 128), 10) if options.quick else (LENGTHS, 50)
    torch.set_num_threads(1)  # least disturbed by other programs
    random.seed(0)
    build_scope, model, tokenizer = scope_builder()
    build_bertviz, scripts, why = None, {}, ""
    if importlib.util.find_spec("bertviz") is None:
        why = "BertViz is not installed here (pip install 'attnscope[bench]'): its figures are stored ones."
    else:
        try:
            scripts, build_bertviz = cdn_scripts(), bertviz_builder(model, tokenizer)
        except (OSError, subprocess.CalledProcessError) as error:
            why = f"BertViz's scripts could not be had from npm ({error}): its figures are stored ones."
    chromium = subprocess.run(
        [sys.executable, ROOT / "tools/find_browser.py"], check=True, capture_output=True, text=True
    )
    report = Report()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium.stdout.strip(), args=args)
        versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers")]
        report.say(
            "## Page", "",
            f"`{' '.join(['python', 'benchmarks/page.py', *sys.argv[1:]])}` prints these figures: the neuron level for "
            f"all-MiniLM-L6-v2 (6 layers × 12 heads). Medians of {times} gestures (BertViz: 10) and of every other layer, each seen for the first time. Machine: "
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; headless Chromium {browser.version}, "
            f"{platform.system()}, Python {platform.python_version()}, {', '.join(versions)}, one thread.",
            "", *([why, ""] if why else []),
            "| page | build s | MB | first draw s | DOM elements | hover ms | arrow key: query ms | arrow key: cell ms | layer change ms |",
            "|-|-|-|-|-|-|-|-|-|",
        )  # fmt: skip
        run = lambda *what, n=times: measure(browser, *what, Path(folder), scripts, n)  # noqa: E731
        build_scope("warm up")
        for length in lengths:
            text = text_of(tokenizer, length)
            before = run(EMPTY, lambda: EMPTY_PAGE, n=times // 2)
            ours = run(SCOPE, lambda text=text: build_scope(text))
            after = run(EMPTY, lambda: EMPTY_PAGE, n=times // 2)
            empty = Figures(*((a + b) / 2 if a and b else None for a, b in zip(before, after, strict=True)))
            live = build_bertviz and (length <= LIVE or options.all)
            theirs = run(BERTVIZ, lambda text=text: build_bertviz(text), n=10) if live else STORED[length]
            report.row("an empty page", empty._replace(build=None, size=None, elements=None))
            report.row(f"**attnscope, T = {length}**", ours)
            report.row(f"BertViz 1.4.1, T = {length}{'' if live else ' (stored)'}", theirs)
            report.row("BertViz ÷ attnscope", ratio(theirs, ours), digits=2)
        browser.close()
        if any(length > LIVE for length in lengths) and build_bertviz and not options.all:
            report.say(
                "",
                f"BertViz beyond {LIVE} tokens takes minutes and gigabytes: the stored figures are from an earlier run by another script, good for orders of magnitude; `--all` measures them here.",
            )
        if 512 in lengths:
            goals(report, ours, empty)
    if not options.quick:
        report.write()


if __name__ == "__main__":
    main()
