"""Every level in a browser, beside BertViz's views in the same Chromium.

    python benchmarks/page.py            # T = 16 … 512 (some minutes); writes its section of benchmarks/RESULTS.md
    python benchmarks/page.py --all      # BertViz live beyond 128 tokens too (many minutes, many GB; failures are reported)
    python benchmarks/page.py --quick    # T = 16 and 128, few repetitions; prints only
    python benchmarks/page.py --level stream --model smollm2   # one level alone, without BertViz, in a section of its own

Every time ends at the second animation frame after the change is in the document: by then the first frame that shows it
is painted. For hover, arrow key and layer change at the neuron level every key is a line of its own (attnscope unfolded,
BertViz expanded). Hover and arrow key are real input, timed from the event's own timestamp; a layer change is timed from
the menu's change event; the first draw from the start of navigation. An empty page is measured in the same way.
"""

import argparse
import copy
import gzip
import importlib.metadata
import importlib.util
import os
import platform
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded from the hub

import torch
from driver import BERTVIZ, EMPTY, EMPTY_PAGE, SCOPE, Figures, measure
from edit_panel import edit_panel, serving
from playwright.sync_api import Browser, Error, sync_playwright
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

# BertViz 1.4.1 on the same model, from earlier runs: the neuron view by another script on two shared cores, whose
# times are good for orders of magnitude. --all measures them as the rest here.
STORED = {
    ("neuron", 16): Figures(0.14, 1.97, 0.53, 3_893, 30, None, None, 90),
    ("neuron", 64): Figures(0.70, 12.7, 1.7, 36_869, 91, None, None, 922),
    ("neuron", 128): Figures(3.1, 38.9, 3.2, 131_013, 204, None, None, 2_468),
    ("neuron", 256): Figures(6.7, 132, 10.0, 491_333, 646, None, None, 9_514),
    ("neuron", 512): Figures(19.5, 483, 36.6, 1_900_101, 2_030, None, None, 39_797),
}

# --- the pages --------------------------------------------------------------------------------------------------------


def text_of(tokenizer: Any, length: int) -> str:
    """Words of TEXT, again from the start where it ends, that make exactly `length` tokens."""
    words, source = [], (TEXT.split() * (length // 200 + 1)).__iter__()
    while (now := len(tokenizer(" ".join(words)).input_ids)) < length:
        word = next(source)
        if now + len(tokenizer.tokenize(word)) <= length:
            words.append(word)
    return " ".join(words)


def scope_builder(name: str = "demo", level: str = "head") -> tuple[Callable[[str], str], Any, Any]:
    """(text -> HTML, model, tokenizer)."""
    import attnscope

    model, tokenizer = attnscope.load(name)
    return lambda text: attnscope.show(model, tokenizer, text, level=level).html, model, tokenizer


def bertviz_builders(model: Any, tokenizer: Any) -> dict[str, Callable[[str], str]]:
    """View -> (text -> HTML). The neuron view wants BertViz's own BertModel: it gets the demo model's weights."""
    from bertviz import head_view, model_view
    from bertviz.neuron_view import show
    from bertviz.transformers_neuron_view import BertConfig, BertModel

    own = BertModel(BertConfig.from_dict(model.config.to_dict()))
    own.load_state_dict(model.state_dict())
    own.eval()
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")

    def attention(text: str) -> tuple[Any, list[str]]:
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            found = eager(**inputs, output_attentions=True).attentions
        return found, tokenizer.convert_ids_to_tokens(inputs.input_ids[0])

    light: dict[str, Any] = {"display_mode": "light", "html_action": "return"}
    return {
        "model": lambda text: head(model_view(*attention(text), **light).data),
        "head": lambda text: head(head_view(*attention(text), layer=2, heads=[8], html_action="return").data),
        "neuron": lambda text: head(show(own, "bert", tokenizer, text, layer=2, head=8, **light).data),
    }


def head(body: str) -> str:
    return "<!doctype html><meta charset=utf-8>" + body


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


def built(build: Callable[[], str], path: Path, times: int) -> float:
    """Writes the page; how long it took to make, the median of a few."""
    seconds: list[float] = []
    while len(seconds) < times and sum(seconds) < 5:
        began = time.perf_counter()
        html = build()
        seconds.append(time.perf_counter() - began)
        path.write_text(html, encoding="utf-8")
    return sorted(seconds)[len(seconds) // 2]


# --- the report -------------------------------------------------------------------------------------------------------


class Report:
    """Prints every line as it is known, and keeps it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, *lines: str) -> None:
        print(*lines, sep="\n", flush=True)
        self.lines += lines

    def row(self, length: int, name: str, figures: Figures, digits: int = 3) -> None:
        shown = ["–" if x is None else f"{x:,.0f}" if x >= 100 else f"{x:.{digits}g}" for x in figures]
        self.say(f"| {length} | {name} | {' | '.join(shown)} |")

    def goal(self, name: str, value: float, limit: float, unit: str, least: bool = False) -> None:
        reached = value >= limit if least else value <= limit
        self.say(
            f"- {'✓' if reached else '✕'} {name}: {value:,.4g}{unit} (goal: {'≥' if least else '≤'} {limit:,}{unit})"
        )


def ratio(theirs: Figures, ours: Figures) -> Figures:
    return Figures(*(a / b if a and b else None for a, b in zip(theirs, ours, strict=True)))


class Bench:
    """One browser, one folder; every figure that was measured."""

    def __init__(self, browser: Browser, folder: Path, scripts: dict[str, bytes], times: int, report: Report) -> None:
        self.browser, self.folder, self.scripts, self.times, self.report = browser, folder, scripts, times, report
        self.ours: dict[tuple[str, int], Figures] = {}
        self.theirs: dict[tuple[str, int], Figures] = {}
        self.empties: dict[int, Figures] = {}

    def nothing(self, length: int) -> None:
        path = self.folder / "empty.html"
        path.write_text(EMPTY_PAGE)
        self.empties[length] = measure(self.browser, EMPTY, path, "", {}, 2 * self.times, 15)
        self.report.row(length, "an empty page", self.empties[length]._replace(size=None, elements=None))

    def levels(self, length: int, build: Callable[[], str], levels: Sequence[str] = tuple(SCOPE)) -> None:
        path = self.folder / "page.html"
        seconds = built(build, path, 3)
        for level in levels:
            found = measure(self.browser, SCOPE[level], path, f"#level={level}", {}, self.times, 5)
            self.ours[level, length] = found._replace(build=seconds)
            self.report.row(length, f"**{level}**", self.ours[level, length])

    def rival(self, view: str, length: int, build: Callable[[], str] | None) -> None:
        """`build`: live; without it the stored figures, if there are any."""
        note = "" if build else " (stored)"
        theirs = STORED.get((view, length))
        if build:
            path = self.folder / "rival.html"
            try:
                seconds = built(build, path, 1)
                theirs = measure(self.browser, BERTVIZ[view], path, "", self.scripts, 8, 3)._replace(build=seconds)
            except (Error, MemoryError) as error:
                self.report.row(
                    length, f"BertViz, {view} view: {str(error).splitlines()[0][:60]}", Figures(*[None] * 8)
                )
                return
        if theirs is None:
            return
        self.theirs[view, length] = theirs
        self.report.row(length, f"BertViz, {view} view{note}", theirs)
        self.report.row(length, f"BertViz ÷ attnscope, {view}", ratio(theirs, self.ours[view, length]), digits=2)


def goals(report: Report, bench: Bench, levels: Sequence[str] = tuple(SCOPE)) -> None:
    static = ROOT / "src/attnscope/static"
    page, widget = (len(gzip.compress((static / f"{name}.js").read_bytes())) / 1000 for name in ("page", "widget"))
    if (levels[0], 512) in bench.ours:
        report.say("", "Goals at T = 512; times above an empty page are differences of medians:", "")
        report.goal("page", bench.ours[levels[0], 512].size or 0, 12, " MB")
        for level in levels:
            at = bench.ours[level, 512]
            report.goal(f"{level}: first draw", at.first or 0, 1, " s")
            report.goal(f"{level}: DOM elements", at.elements or 0, 4999, "")
            report.goal(f"{level}: layer change", at.layer or 0, 100, " ms")
            above = {"hover": "hover", "within": "arrow key, within"}
            if level == "neuron":
                above["query"] = "arrow key, query"
            for name, what in above.items():
                value = getattr(at, name) - getattr(bench.empties[512], name)
                report.goal(f"{level}: {what}, above an empty page", value, 10, " ms")
    if bench.theirs:
        report.say(
            "",
            "Goals at T = 128, against BertViz's view of the same. Drawing is what a page takes beyond an empty one; the table has the "
            "ratios of the whole, from the start of navigation:",
            "",
        )
        for (view, length), theirs in bench.theirs.items():
            ours = bench.ours[view, length]
            if length == 128 and theirs.size and theirs.first and ours.size and ours.first:
                report.goal(f"{view}: times smaller", theirs.size / ours.size, 12, "", least=True)
                nothing = bench.empties[length].first or 0
                times = (theirs.first - nothing) / (ours.first - nothing)
                report.goal(f"{view}: times faster to draw", times, 10, "", least=True)
    report.say("")
    report.goal("page's bundle after gzip", page, 155, " kB")
    report.goal("widget's bundle after gzip", widget, 155, " kB")


def one_level(level: str, name: str) -> None:
    """The rows of one level of one model, and its goals, in a section of their own."""
    report, times = Report(), 12
    torch.set_num_threads(1)
    build, model, tokenizer = scope_builder(name, level)
    chromium = subprocess.run(
        [sys.executable, ROOT / "tools/find_browser.py"], check=True, capture_output=True, text=True
    )
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium.stdout.strip(), args=args)
        bench = Bench(browser, Path(folder), {}, times, report)
        config = model.config
        report.say(
            f"### The level {level} of {name}",
            "",
            f"`{' '.join(['python', 'benchmarks/page.py', *sys.argv[1:]])}`: {config.num_hidden_layers} layers × "
            f"{config.num_attention_heads} heads, a page that opens on this level; medians of {times} gestures, columns as in the section Page. "
            f"Machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; headless Chromium {browser.version}.",
            "",
            "| T | page | build s | MB | first draw s | DOM elements | hover ms | query ms | within ms | layer change ms |",
            "|-|-|-|-|-|-|-|-|-|-|",
        )
        for length in (16, 128, 512):
            text = text_of(tokenizer, length)
            bench.nothing(length)
            bench.levels(length, lambda text=text: build(text), (level,))
        browser.close()
    goals(report, bench, (level,))
    write_section(f"page of {level}, {name}", report.lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="BertViz live at every length (many minutes, many GB)")
    parser.add_argument("--quick", action="store_true", help="two lengths, few repetitions; prints only")
    parser.add_argument("--level", choices=SCOPE, help="one level alone, on a page that opens on it, without BertViz")
    parser.add_argument("--model", default="demo", help="with --level: demo or smollm2")
    options = parser.parse_args()
    if options.level:
        return one_level(options.level, options.model)
    lengths, times = ((16, 128), 8) if options.quick else (LENGTHS, 24)
    torch.set_num_threads(1)  # least disturbed by other programs
    random.seed(0)
    build_scope, model, tokenizer = scope_builder()
    rivals, scripts, why = {}, {}, ""
    if importlib.util.find_spec("bertviz") is None:
        why = "BertViz is not installed here (pip install 'attnscope[bench]'): its figures are stored ones."
    else:
        try:
            scripts, rivals = cdn_scripts(), bertviz_builders(model, tokenizer)
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
            "## Page",
            "",
            f"`{' '.join(['python', 'benchmarks/page.py', *sys.argv[1:]])}` prints these figures: every level for "
            f"all-MiniLM-L6-v2 (6 layers × 12 heads), beside BertViz 1.4.1. One page holds all six levels. "
            f"Medians of {times} gestures (BertViz: 8, an empty page: {2 * times}) and of every other layer, each seen for "
            'the first time; "query" is an arrow key that moves the query, "within" one that moves from head to head, token '
            f"to token, cell to cell or dimension to dimension. Machine: {os.cpu_count()} cores, load "
            f"{os.getloadavg()[0]:.1f} at the start; headless Chromium {browser.version}, "
            f"{platform.system()}, Python {platform.python_version()}, {', '.join(versions)}, one thread.",
            "",
            *([why, ""] if why else []),
            "| T | page | build s | MB | first draw s | DOM elements | hover ms | query ms | within ms | layer change ms |",
            "|-|-|-|-|-|-|-|-|-|-|",
        )
        bench = Bench(browser, Path(folder), scripts, times, report)
        build_scope("warm up")
        for length in lengths:
            text = text_of(tokenizer, length)
            bench.nothing(length)
            bench.levels(length, lambda text=text: build_scope(text))
            for view in BERTVIZ:
                live = view in rivals and (length <= LIVE or options.all)
                bench.rival(view, length, (lambda text=text, view=view: rivals[view](text)) if live else None)
        report.say(
            "",
            "The edit panel of `attnscope serve` in the same browser: to open it, and to switch a head off until what it does is shown.",
            "",
        )
        report.say("| T | open ms | head off, shown ms | DOM elements |", "|-|-|-|-|")
        with serving() as port:
            for length in lengths:
                found = edit_panel(browser, port, text_of(tokenizer, length), max(3, times // 3))
                report.say(f"| {length} | {found['open']:.3g} | {found['answer']:,.3g} | {found['elements']} |")
        browser.close()
    if any(length > LIVE for length in lengths) and rivals and not options.all:
        report.say(
            "",
            f"BertViz beyond {LIVE} tokens takes minutes and gigabytes: the stored figures of its neuron view are from an earlier run by another script, good for orders of magnitude; `--all` measures all three views here.",
        )
    goals(report, bench)
    if not options.quick:
        write_section("page", report.lines)


if __name__ == "__main__":
    main()
