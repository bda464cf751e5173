"""What a terminal draws can be read back: numbers, shades and bars are those of the trace, at any width."""

import io
import re
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console

import attnscope
import tiny_models as tiny
from attnscope import InputError, Tokens, Trace
from attnscope.cli import main
from attnscope.render.terminal import draw
from attnscope.render.terminal.glyphs import FROM, UNICODE, letters, window
from attnscope.tracing.masks import rule_of
from made_traces import made_trace, with_everything

ESCAPE = "\x1b["


def printed(view: attnscope.View, *levels: str, width: int = 80, **options: Any) -> str:
    out = io.StringIO()
    draw(view, Console(file=out, width=width, **{"force_terminal": False, **options}), levels)
    return out.getvalue()


def cells(line: str, label: int, count: int) -> list[str]:
    return [line[label + 2 + 3 * c : label + 5 + 3 * c] for c in range(count)]


def grid_rows(text: str, names: Tokens | list[str], count: int) -> list[list[str]]:
    """The cells of every query, in order."""
    label = min(14, max(map(cell_len, names)))
    rows, at = [], 0
    for line in text.splitlines():
        if at < len(names) and line[: label + 1].strip(" ▸") == names[at] and len(line) > label + 2:
            rows.append(cells(line, label, count))
            at += 1
    return rows


@pytest.mark.parametrize("trace", [made_trace(queries=13, spread=2.0), with_everything()], ids=["plain", "everything"])
def test_the_grid_is_read_back(trace: Trace) -> None:
    site = trace.sites[1]
    weights = site.weights(2)
    allowed = (
        site.mask.allowed(torch.arange(13), 13, 2) if not site.mask.is_empty else torch.ones(13, 13, dtype=torch.bool)
    )
    text = printed(trace.show("head", layer=1, head=2, query=5), "head")
    rows = grid_rows(text, trace.tokens, 13)
    assert len(rows) == 13
    for q, row in enumerate(rows):
        best = int(weights[q].argmax())
        assert int(row[best]) == round(100 * float(weights[q, best]))
        for k, cell in enumerate(row):
            if k == best:
                continue
            if not allowed[q, k]:
                assert cell.strip() == UNICODE.masked
                continue
            step = UNICODE.shades.index(cell.strip()[0])
            assert step == sum(float(weights[q, k]) >= edge for edge in FROM), (q, k, cell)


def test_the_query_and_the_key_are_marked() -> None:
    text = printed(made_trace().show("head", layer=1, head=2, query=5, key=3), "head", force_terminal=True)
    assert "\x1b[1m ▸word5 \x1b[0m" in text
    assert text.count("▸") == 1


def test_keys_are_named_downwards() -> None:
    tokens = Tokens(("a", "naïveté", "ne\u0301", "字", "##longerthan"))
    trace = made_trace(queries=5, tokens=tokens)
    lines = printed(trace.show("head", layer=1, head=0, query=1), "head").splitlines()
    names = lines[next(i for i, line in enumerate(lines) if "queries downwards" in line) + 1 :][:6]
    wide = len("longerthan")  # the longest name of a query
    placed = [letters(line)[wide + 2 :] for line in names]  # a string for each column of the terminal; 字 takes two
    columns = ["".join("".join(row[3 * c : 3 * c + 3]).strip() for row in placed) for c in range(3)]
    assert columns == ["a", "naïve…", "né"]
    assert sum("字" in line for line in names) == 1
    assert letters("ne\u0301") == ["n", "e\u0301"]


def test_what_does_not_fit_is_said_with_its_weight() -> None:
    trace = made_trace(queries=61, spread=2.0)
    site = trace.sites[1]
    text = printed(trace.show("head", layer=1, head=2, query=40, key=44), "head")
    found = re.search(r"Keys (\d+) to (\d+) of 0 to 60 are drawn", text)
    assert found
    first, last = map(int, found.groups())
    assert first <= 40 <= last
    assert first <= 44 <= last
    queries = re.search(r"Queries (\d+) to (\d+) of 0 to 60", text)
    assert queries
    low, high = map(int, queries.groups())
    assert low <= 40 <= high
    weights = site.weights(2)
    shares = [float(w) for w in re.findall(r"^ *▸?word\d+ .* ([\d.]+) %$", text, re.MULTILINE)]
    outside = [100 * float(weights[q].sum() - weights[q, first : last + 1].sum()) for q in range(low, high + 1)]
    assert shares == pytest.approx(outside, abs=0.06)
    assert f"({outside[40 - low]:.1f} % of “word40”)" in " ".join(text.split())


def test_windows() -> None:
    assert window(5, 9, 2) == range(5)
    for count, room, wanted in [
        (100, 7, (50,)),
        (100, 7, (50, 53)),
        (100, 7, (3, 90)),
        (100, 7, (0,)),
        (100, 7, (99, 97)),
    ]:
        found = window(count, room, *wanted)
        assert len(found) == room
        assert found.start >= 0
        assert found.stop <= count
        assert wanted[0] in found
        assert max(wanted) - min(wanted) >= room or all(w in found for w in wanted)


def strip_of(lines: list[str], start: str, dims: int) -> list[float]:
    """Heights with sign, in eighths of the full column."""
    at = next(i for i, line in enumerate(lines) if line[:12].strip() == start and line[12:15] == " + ")
    above, below = (line[15:].ljust(dims) for line in lines[at : at + 2])
    assert lines[at + 1][12:15] == " − "
    return [UNICODE.bars.find(a) + 1 - (UNICODE.bars.find(b) + 1) for a, b in zip(above, below, strict=True)]


def assert_heights(found: list[float], values: torch.Tensor, full: float) -> None:
    assert len(found) == len(values)
    for height, value in zip(found, values.tolist(), strict=True):
        assert height == pytest.approx(8 * value / full, abs=1.0)
        assert height * value > 0


def test_strips_are_read_back() -> None:
    trace = made_trace(heads=6, kv_heads=2, head_size=29)
    site = trace.sites[1]
    lines = printed(trace.show(layer=1, head=4, query=5), "neuron").splitlines()
    found = re.search(r"full column is ([\d.]+) \(q, k\) or ([\d.]+) \(q × k\)", " ".join(" ".join(lines).split()))
    assert found
    full, most = map(float, found.groups())
    q, k = site.q[4, 5], site.k[1]
    strongest = site.weights(4, 5)[0].argsort(descending=True)[:3].tolist()
    assert full == pytest.approx(float(torch.cat([q[None], k[strongest]]).abs().max()), abs=0.006)
    assert_heights(strip_of(lines, "q word5", 29), q, full)
    for key in strongest:
        assert_heights(strip_of(lines, f"k word{key}", 29), k[key], full)
        dot = f"{float(q @ k[key]):.2f}".replace("-", "−")
        assert_heights(strip_of(lines, f"q×k = {dot}", 29), q * k[key], most)


def test_many_dimensions_share_columns() -> None:
    trace = made_trace(head_size=131)
    lines = printed(trace.show(layer=1, head=0, query=5), "neuron").splitlines()
    assert any("131 dimensions, 3 to a column, which shows the largest of them" in line for line in lines)
    q = trace.sites[1].q[0, 5]
    largest = torch.stack([part[part.abs().argmax()] for part in q.split(3)])
    found = strip_of(lines, "q word5", len(largest))
    assert [h > 0 for h in found] == [v > 0 for v in largest.tolist()]


def test_the_table_is_read_back() -> None:
    trace = made_trace(queries=17, spread=2.0)
    site = trace.sites[1]
    text = printed(trace.show(layer=1, head=2, query=5), "neuron")
    steps = site.chain(2, 5)
    share = site.share(2, 5)
    rows = re.findall(
        r"^ *[▸ ]word(\d+) +(█*) +(<?[\d.]+) % +(<?[\d.]+) % +(−?[\d.]+) +(−?[\d.]+)$", text, re.MULTILINE
    )
    assert len(rows) == 12
    for key, bar, weight, part, dot, score in rows:
        k = int(key)
        assert float(dot.replace("−", "-")) == pytest.approx(float(steps.dot[0, k]), abs=0.006)
        assert float(score.replace("−", "-")) == pytest.approx(float(steps.masked[0, k]), abs=0.006)
        assert len(bar) == round(20 * float(steps.weights[0, k]))
        if "<" not in weight + part:
            assert float(weight) == pytest.approx(100 * float(steps.weights[0, k]), abs=0.06)
            assert float(part) == pytest.approx(100 * float(share[k]), abs=0.06)
    rest = 100 * float(steps.weights[0].sort().values[:5].sum())
    said = re.search(r"… and 5 weaker keys with <?([\d.]+) % of the weight", text)
    assert said
    assert float(said[1]) == pytest.approx(rest, abs=0.06)


@pytest.mark.parametrize("width", [37, 80, 131])
@pytest.mark.parametrize("length", [3, 61])
def test_lines_fit(width: int, length: int) -> None:
    tokens = Tokens(tuple(f"{'字' * (i % 9)}word{i}" for i in range(length)))
    trace = made_trace(queries=length, tokens=tokens, head_size=67)
    lines = printed(trace.show(layer=1, head=2, query=1), "head", "neuron", width=width).splitlines()
    assert max(map(cell_len, lines)) <= width
    numbers = [line for line in lines if re.search(r"\d %", line) and "word" in line]
    assert numbers
    assert not [line for line in numbers if re.search(r"\d…", line)], "no number is cut"


def test_colour_only_where_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    view = made_trace().show(layer=1, head=2, query=5)
    plain = printed(view, "head", "neuron")
    assert ESCAPE not in plain
    coloured = printed(view, "head", "neuron", force_terminal=True, color_system="truecolor")
    assert "\x1b[38;2;" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain, "nothing is said by colour alone"
    monkeypatch.setenv("NO_COLOR", "1")
    assert ";2;" not in printed(view, "head", "neuron", force_terminal=True, color_system="truecolor")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b[38" not in printed(view, "head", "neuron", force_terminal=True)


def test_tokens_are_text() -> None:
    hostile = ("[bold red]x[/]", "[link=https://a.example]y[/link]", "\x1b[31mz", "\u202ew", ":smile:", "a\nb")
    trace = made_trace(queries=6, tokens=Tokens(hostile))
    text = printed(trace.show(layer=1, head=2, query=2), "head", "neuron", width=131, force_terminal=True)
    bare = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert "\x1b" not in bare
    assert "\x1b[31m" not in text
    assert "https://a.example" not in re.findall(r"\x1b\]8;[^\x1b]*", text)
    for expected in ("[bold red]x[/]", "⟨U+001B⟩[31mz", "⟨U+202E⟩w", ":smile:", "a↵b"):
        assert expected in bare, expected


def test_masked_rows_and_nan() -> None:
    allowed = torch.ones(5, 5, dtype=torch.bool).tril()
    allowed[3] = False
    trace = made_trace(queries=5, mask=rule_of(allowed[None]))
    text = printed(trace.show("head", layer=1, head=0, query=1), "head")
    assert [line.count(UNICODE.masked) for line in text.splitlines() if "word" in line][-5:] == [4, 3, 2, 0, 0]
    assert "no key allowed" in text
    assert f"{UNICODE.masked} masked" in text
    given = torch.full((1, 3, 3), 1 / 3)
    given[0, 1, 2] = torch.nan
    text = printed(Trace.from_attentions(given, ["a", "b", "c"]).show("head"), "head", "neuron")
    assert grid_rows(text, ["a", "b", "c"], 3)[1][2] == "NaN"
    assert "This trace has weights only" in text


def test_terminals_without_such_letters() -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"

    out = Ascii()
    trace = made_trace(spread=2.0)
    draw(trace.show("head", layer=1, head=2, query=5), Console(file=out, width=80), ["head", "neuron"])
    grid = out.getvalue().split("keys to the right")[1].split("Shades")[0]
    assert grid.isascii()
    assert "%%" in grid


def test_other_levels_are_refused() -> None:
    with pytest.raises(
        InputError, match="a terminal draws the levels 'stream', 'head' and 'neuron'; for 'model' write a page"
    ):
        printed(made_trace().show(), "model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model")
    tiny.model("bert", "sdpa").save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return str(path)


def test_the_command(folder: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["show", "the cat sat on a mat", "--model", folder, "--no-open", *arguments])

    both = run("--terminal", "--layer", "1", "--head", "2")
    assert both.exit_code == 0, both.output
    assert "queries downwards" in both.stdout
    assert "dimensions" in both.stdout
    assert list(tmp_path.iterdir()) == [], "no page unless one is asked for"
    neuron = run("--terminal", "--level", "neuron", "--out", "page.html")
    assert "queries downwards" not in neuron.stdout
    assert "page.html" in neuron.stdout
    head = run("--terminal", "--level", "head")
    assert "queries downwards" in head.stdout
    assert "dimensions" not in head.stdout
    refused = run("--terminal", "--level", "steps")
    assert refused.exit_code == 2
    assert "for 'steps' write a page" in refused.stderr
    page = run("--level", "matrix")
    assert page.exit_code == 0, page.output
    assert '"level": "matrix"' in (tmp_path / "attnscope.html").read_text()
