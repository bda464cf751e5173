"""The docs site: built without a warning, whole, standing on its own, and alive when it is opened from disk."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import attnscope

pytestmark = [pytest.mark.source, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import check_site  # noqa: E402
import course  # noqa: E402
import gallery  # noqa: E402
from docstrings import to_rst  # noqa: E402


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it, where any warning is an error. Notebooks are run where a test of this file asks for what
    their cells print, and a cell that raises is an error then; CI runs them in test_course.py only, for the time."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--builder", "html"]
    if not any(item.path == request.path and item.get_closest_marker("by_hand") for item in request.session.items):
        command += ["-D", "nb_execution_mode=off"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    result = subprocess.run(
        [*command, str(ROOT / "docs"), str(folder)],
        capture_output=True, text=True, timeout=1500, env=os.environ | {"PATH": path},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-8000:]
    return folder


def test_links_lead_somewhere_and_nothing_is_fetched(site: Path) -> None:
    wrong, elsewhere = check_site.faults(site)
    assert wrong == []
    assert any("colab.research.google.com" in address for address in elsewhere)


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    ids = set().union(
        *(check_site.read(page.read_text(encoding="utf-8")).ids for page in (site / "reference").glob("*.html"))
    )
    homes = [(name, getattr(attnscope, name).__module__) for name in attnscope.__all__]
    assert [name for name, home in homes if not {f"attnscope.{name}", f"{home}.{name}"} & ids] == []
    assert {"attnscope.attention.MultiHeadAttention.from_site", "attnscope.bertviz.neuron_view.show"} <= ids


@pytest.mark.by_hand
def test_every_notebook_shows_pages_and_no_widgets(site: Path) -> None:
    for name in course.names():
        text = (site / "course" / f"{name}.html").read_text(encoding="utf-8")
        assert 'class="attnscope-frame"' in text
        assert "widget-view+json" not in text
        assert "Traceback" not in text


@pytest.fixture(params=["light", "dark"])
def opened(request, browser, site: Path) -> Iterator:
    """(page, what it asked for that is not on this disk)."""
    asked: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=request.param)
    page = context.new_page()
    page.on(
        "request",
        lambda r: asked.append(r.url) if not r.url.startswith(("file:", "data:", "blob:", "about:")) else None,
    )
    yield page, asked
    context.close()


@pytest.mark.by_hand
@pytest.mark.browser
def test_instruments_are_alive_from_disk(opened, site: Path) -> None:
    page, asked = opened
    page.goto((site / "course" / f"{course.names()[0]}.html").as_uri())
    frames = page.locator("iframe.attnscope-frame")
    assert frames.count() >= 2
    for number in range(frames.count()):
        inside = frames.nth(number).content_frame
        inside.locator("[data-ready]").first.wait_for()
        assert inside.locator("[data-key-list] [data-slot], [role=row], tr").count() > 10
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert asked == []


@pytest.mark.browser
def test_pages_of_the_gallery_are_alive_from_disk(browser, site: Path) -> None:
    """That their text says the numbers of their instruments was checked while the site was built: else it warns."""
    context = browser.new_context(viewport={"width": 390, "height": 900})
    said: list[str] = []
    for kind in gallery.KINDS:
        file = site / "gallery" / f"{kind}.html"
        if "The live page is left out of this build" in file.read_text(encoding="utf-8"):
            assert kind not in ("encoder", "seq2seq"), "what they need is always there"
            continue
        page = context.new_page()
        page.on("console", lambda message, kind=kind: said.append(f"{kind}: {message.text}"))
        page.on("pageerror", lambda error, kind=kind: said.append(f"{kind}: {error}"))
        page.goto(file.as_uri())
        inside = page.locator("iframe.attnscope-frame").content_frame
        inside.locator("[data-ready]").first.wait_for()
        inside.get_by_text("checked against the model").first.wait_for(state="attached")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), kind
        page.close()
    context.close()
    assert said == []


@pytest.mark.browser
def test_search_works_from_disk(opened, site: Path) -> None:
    page, asked = opened
    page.goto((site / "search.html").as_uri() + "?q=softmax")
    page.locator("#search-results li a").first.wait_for()
    assert page.locator("#search-results li a").count() >= 3
    assert asked == []


@pytest.mark.by_hand
@pytest.mark.browser
def test_instruments_follow_the_theme_that_a_reader_chooses(browser, site: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.goto((site / "course" / f"{course.names()[1]}.html").as_uri())
    frame = page.locator("iframe.attnscope-frame").first
    state = 'document.querySelector(\'iframe.attnscope-frame\').srcdoc.match(/data-attnscope-state>{[^<]*"theme": "(\\w+)"/)[1]'
    assert page.evaluate(state) == "auto"
    for wanted in ("dark", "light"):
        for _ in range(3):
            if page.evaluate("document.body.dataset.theme") != wanted:
                page.locator("button.theme-toggle:visible").first.click()
        assert page.evaluate(state) == wanted
        frame.content_frame.locator(f'.scope[data-theme="{wanted}"]').wait_for()
    context.close()


# --- the checks can fail -------------------------------------------------------------------------------------------

SOUND = '<html><body><h1 id="top">x</h1><a href="#top">up</a><a href="https://example.org/">out</a></body></html>'


@pytest.mark.parametrize(
    ("fragment", "fault"),
    [
        ('<a href="missing.html">x</a>', "missing.html leads nowhere"),
        ('<a href="#nothing">x</a>', "no #nothing"),
        ('<a href="other.html#nothing">x</a>', "no #nothing"),
        ('<img src="missing.png">', "missing.png is not there"),
        ('<script src="https://cdn.example/x.js"></script>', "fetches https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "fetches //cdn.example/x.css"),
        ("<style>@import 'https://fonts.example/a.css';</style>", "fetches https://fonts.example/a.css"),
        ('<p style="background:url(https://example.org/p.png)">x</p>', "fetches https://example.org/p.png"),
        (
            "<iframe srcdoc=\"&lt;img src='https://example.org/i.png'&gt;\"></iframe>",
            "fetches https://example.org/i.png",
        ),
        ('<img srcset="https://example.org/a.png 2x">', "fetches https://example.org/a.png"),
    ],
)
def test_a_fault_is_found(fragment: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text(SOUND)
    (tmp_path / "index.html").write_text(SOUND.replace("</body>", f"{fragment}</body>"))
    wrong, _ = check_site.faults(tmp_path)
    assert len(wrong) == 1
    assert fault in wrong[0]


def test_a_sound_site_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(SOUND)
    (tmp_path / "a.css").write_text("p { color: red }")
    assert check_site.faults(tmp_path) == ([], ["https://example.org/"])
    (tmp_path / "a.css").write_text("@font-face { src: url('https://fonts.example/f.woff2') }")
    assert check_site.faults(tmp_path)[0] == ["a.css: fetches https://fonts.example/f.woff2"]
    assert check_site.faults(tmp_path / "empty")[0]


def test_docstrings_become_markup() -> None:
    lines = ["Text with *B and `*C`.", "", "    x -> y | z", "    more", "", "Then |q| and x_.", "", ">>> f(*a)", "[*]"]
    assert to_rst(lines) == [
        r"Text with \*B and `*C`.", "", "::", "", "    x -> y | z", "    more", "", r"Then \|q\| and x\_.", "", ">>> f(*a)", "[*]",
    ]  # fmt: skip


def test_parameters_become_a_list() -> None:
    lines = [
        "Text.",
        "`q`: [H, Q].",
        "    More *of it*.",
        "`a`, `b` (units): both.",
        "",
        "`c`, and prose.",
        "",
        "- `d`: x",
        "    y",
    ]
    assert to_rst(lines) == [
        "Text.",
        "",
        "- `q`: [H, Q].",
        r"  More \*of it\*.",
        "- `a`, `b` (units): both.",
        "",
        "`c`, and prose.",
        "",
        "- `d`: x",
        "  y",
    ]
