"""The frame around the levels: the switch, in and out by keyboard, Back and Forward, help, and what a reader takes away."""

import base64
import html
import json
import re
import zlib
from xml.etree import ElementTree

import pytest

from attnscope.views.levels import ALWAYS_THERE as LEVELS
from attnscope.views.state import State
from browser_tools import settled, until
from levels_in import levels_there, open_level, switch_to


def hash_state(page) -> State:
    """The state in the page's URL, which is written a moment after a change."""
    settled(page)
    return State.from_url(page.evaluate("location.href"))


def shown(page) -> str:
    return page.locator("main").get_attribute("data-shows")


@pytest.fixture
def demo_page(open_view, demo_trace):
    return open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))


FRAME = """() => { const root = document.querySelector('[data-attnscope]').shadowRoot;
  return ['.masthead', '.crumbs', '[data-level-switch]', '[data-sentence]', '[data-ribbon]', '.foot', '[data-readout]', '[data-tool="help"]']
    .map(name => { const b = root.querySelector(name).getBoundingClientRect(); return [name, b.x, b.y]; }); }"""


def test_the_frame_stays_where_it_is(demo_page):
    before = demo_page.evaluate(FRAME)
    for level in levels_there(demo_page):
        switch_to(demo_page, level)
        assert demo_page.evaluate(FRAME) == before, level
        assert demo_page.locator(f'[data-level="{level}"]').is_visible()
        assert demo_page.locator("[data-level]:visible").count() == 1
        assert demo_page.locator('[data-level-switch][aria-pressed="true"]').count() == 1


def test_the_selection_is_kept_across_levels(demo_page):
    demo_page.locator('[data-ribbon] [data-token="14"]').click()
    demo_page.locator('[data-row-key="9"] [data-col="token"]').click()
    wanted = hash_state(demo_page)
    assert (wanted.layer, wanted.head, wanted.query, wanted.key) == (2, 8, 14, 9)
    for level in levels_there(demo_page):
        switch_to(demo_page, level)
        state = hash_state(demo_page)
        assert state.level == level
        assert (state.layer, state.head, state.query, state.key) == (2, 8, 14, 9)


def test_enter_goes_in_and_escape_goes_out(demo_page):
    """The whole instrument by keyboard: from the ribbon out to the outermost level and in to the innermost."""
    there = [level for level in levels_there(demo_page) if level != "matrix"]
    demo_page.locator("[data-ribbon]").focus()
    demo_page.keyboard.press("Escape")
    assert shown(demo_page) == "neuron", "the first unpins"
    assert hash_state(demo_page).key is None
    outward = there[: there.index("neuron")][::-1]
    for level in outward:
        demo_page.keyboard.press("Escape")
        assert shown(demo_page) == level
    demo_page.keyboard.press("Escape")
    assert shown(demo_page) == there[0], "there is nothing further out"
    for level in there[1:]:
        demo_page.keyboard.press("Enter")
        assert shown(demo_page) == level
    demo_page.keyboard.press("Enter")
    assert shown(demo_page) == there[-1]
    assert hash_state(demo_page).query == 7


def test_the_keyboard_goes_on_within_the_level(demo_page):
    """What had the focus is hidden: the level that is shown has it then."""
    demo_page.locator("[data-grid]").focus()
    demo_page.keyboard.press("Escape")
    demo_page.keyboard.press("Escape")
    level = shown(demo_page)
    settled(demo_page)
    inside = demo_page.evaluate(
        "() => document.querySelector('[data-attnscope]').shadowRoot.activeElement?.closest('[data-level]')?.dataset.level ?? null"
    )
    assert inside == level


def test_enter_on_the_pinned_key_goes_in(demo_page):
    demo_page.locator("[data-grid]").focus()
    demo_page.keyboard.press("ArrowDown")
    demo_page.keyboard.press("Enter")
    assert (shown(demo_page), hash_state(demo_page).key) == ("neuron", 9), "the first Enter pins"
    demo_page.keyboard.press("Enter")
    assert shown(demo_page) == ("steps" if "steps" in levels_there(demo_page) else "neuron")


def test_back_and_forward(demo_page):
    seen = [hash_state(demo_page)]
    for level in [level for level in levels_there(demo_page) if level != "neuron"]:
        switch_to(demo_page, level)
        seen.append(hash_state(demo_page))
    demo_page.locator('[data-crumb="head"]').focus()
    demo_page.locator('[data-crumb="head"]').select_option("3")
    seen.append(hash_state(demo_page))
    demo_page.locator('[data-ribbon] [data-token="12"]').click()  # of the same place: no step of its own
    seen[-1] = hash_state(demo_page)
    assert len(seen) >= 3
    for wanted in seen[-2:0:-1]:
        demo_page.go_back()
        assert hash_state(demo_page) == wanted
        assert shown(demo_page) == wanted.level
    demo_page.go_back()
    settled(demo_page)
    assert shown(demo_page) == "neuron"
    assert demo_page.locator(".crumb-query .crumb-value").inner_text().startswith("it")
    assert "pinned key" in demo_page.locator(".lens-title").inner_text(), "the page as it was opened"
    for wanted in seen[1:]:
        demo_page.go_forward()
        assert hash_state(demo_page) == wanted


def test_a_whole_address_says_everything(open_view, demo_trace):
    """What does not stand in it is at its default, whatever the page was made with."""
    view = demo_trace.show(level="neuron", layer=2, head=8, query="it", theme="dark", special="hide")
    page = open_view(view, hash="#level=neuron&layer=1&head=2&query=3")
    assert page.locator("main").get_attribute("data-theme") == "light"
    assert not page.locator('[data-tool="dim"]').is_checked()
    page = open_view(view, hash="#layer=1")
    assert page.locator("main").get_attribute("data-theme") == "dark"
    assert page.locator('[data-tool="dim"]').is_checked()


DRAWN = {
    "model": ".model-line canvas",
    "head": ".end .tok",
    "matrix": "[data-grid=matrix]",
    "neuron": "[data-row-key] canvas",
    "steps": ".number .value",
}


@pytest.mark.parametrize("level", DRAWN)
def test_a_frame_that_gets_its_size_later(new_page, demo_trace, tmp_path, level):
    """As in a tab or a cell that is hidden at first: drawn without a width, and whole once there is one."""
    page = new_page()
    inside = html.escape(demo_trace.show(level=level, layer=2, head=8, query="it").html)
    (tmp_path / "late.html").write_text(f'<meta charset="utf-8"><iframe width=0 height=0 srcdoc="{inside}"></iframe>')
    page.goto((tmp_path / "late.html").as_uri())
    frame = page.frames[1]
    frame.wait_for_selector("[data-attnscope][data-ready]", state="attached")
    page.evaluate("() => { const f = document.querySelector('iframe'); f.width = 1240; f.height = 1500; }")
    frame.locator(DRAWN[level]).first.wait_for()
    assert frame.locator("main").get_attribute("data-shows") == level
    assert frame.locator(DRAWN[level]).first.bounding_box()["width"] > 3
    assert frame.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_in_a_sandbox_it_goes_on_without_history_and_storage(open_view, demo_trace):
    frame = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"), "sandboxed")
    frame.locator("[data-hint]").filter(has_text="click a word").wait_for()
    for level in levels_there(frame):
        switch_to(frame, level)
        assert shown(frame) == level
    switch_to(frame, "neuron")
    frame.locator('[data-tool="python"]').click()
    frame.locator("[data-copy]").click()
    frame.locator("[data-status]").filter(has_text=re.compile(".")).wait_for()
    assert "selected" in frame.locator("[data-status]").inner_text(), (
        "copying is refused in such a frame, and it says so"
    )
    assert frame.evaluate(
        "() => { const box = document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-python]'); return box.selectionEnd - box.selectionStart === box.value.length }"
    )


def test_the_hint_goes_when_it_was_done(open_view, demo_trace, demo_page):
    hint = demo_page.locator("[data-hint]")
    hint.wait_for()
    assert hint.inner_text() == "click a word · click a number · Esc goes out"
    height = demo_page.locator(".say").bounding_box()["height"]
    demo_page.locator('[data-ribbon] [data-token="14"]').click()
    assert hint.inner_text() == "click a number · Esc goes out"
    demo_page.locator('[data-row-key="9"] [data-col="weight"]').click()
    assert hint.inner_text() == "Esc goes out"
    if levels_there(demo_page)[0] != "neuron":
        demo_page.keyboard.press("Escape")
        demo_page.keyboard.press("Escape")
        assert hint.inner_text() == ""
    assert demo_page.locator(".say").bounding_box()["height"] == height, "nothing below it moves"
    left = hint.inner_text()
    demo_page.reload()
    demo_page.wait_for_selector("[data-attnscope][data-ready]")
    find = "document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-hint]')"
    until(demo_page, f"{find}.style.visibility === ''")
    assert hint.inner_text() == left, "it is remembered"


def test_the_help_sheet(demo_page):
    panel = demo_page.locator("[data-panel]")
    demo_page.locator("[data-ribbon]").focus()
    before = demo_page.evaluate(FRAME)
    demo_page.keyboard.press("?")
    assert panel.is_visible()
    text = panel.inner_text()
    for word in ("Esc", "Enter", "neuron", "Masked", "all-MiniLM-L6-v2", "float32"):
        assert word in text
    assert demo_page.evaluate(FRAME) == before, "it lies over the view"
    demo_page.locator('[data-ribbon] [data-token="14"]').click()  # not modal
    assert panel.is_visible()
    assert hash_state(demo_page).query == 14
    demo_page.keyboard.press("Escape")
    assert not panel.is_visible()
    assert hash_state(demo_page).key is None or hash_state(demo_page).level == "neuron"
    demo_page.locator('[data-tool="help"]').click()
    demo_page.keyboard.press("?")
    assert not panel.is_visible()


def test_keys_work_before_anything_has_the_focus(demo_page):
    demo_page.keyboard.press("?")
    assert demo_page.locator("[data-panel]").is_visible()


def test_copied_python_rebuilds_what_is_on_screen(open_view, demo):
    import attnscope

    model, tokenizer = demo
    text = 'It said "no"\nand — naïvely — left.'
    trace = attnscope.trace(model, tokenizer, text, text_pair="It was warm.", layers=[1, 2, 4])
    page = open_view(trace.show(level="neuron", layer=2, head=8, query=3))
    page.locator('[data-tool="filter"]').select_option("ab")
    page.locator('[data-tool="dim"]').check()
    page.locator('[data-crumb="layer"]').select_option(label="layer 4")
    page.locator('[data-row-key="17"] [data-col="token"]').click()
    for pinned in (True, False):
        if not pinned:
            page.keyboard.press("Escape")
        wanted = hash_state(page)
        assert (wanted.layer, wanted.filter, wanted.special) == (4, "ab", "hide")
        assert wanted.key == (17 if pinned else None)
        page.locator('[data-tool="python"]').click()
        code = page.locator("[data-python]").input_value()
        page.locator("[data-panel] .panel-close").click()
        assert 'attnscope.load("demo")' in code
        scope: dict = {}
        exec(compile(code, "copied", "exec"), scope)
        view = scope["view"]
        assert {**vars(view.state), "why": ""} == {**vars(wanted), "why": ""}
        assert [site.layer for site in view.trace.sites] == [1, 2, 4]
        assert view.trace.tokens == trace.tokens
        again = view.trace.site(4).weights(wanted.head, 3)
        assert again.allclose(trace.site(4).weights(wanted.head, 3), atol=1e-6)


def saved(page, kind: str):
    page.locator('[data-tool="save"]').click()
    with page.expect_download() as download:
        page.locator(f'[data-save="{kind}"]').click()
    page.locator("[data-status]").filter(has_text="Saved as").wait_for()
    page.keyboard.press("Escape")
    return download.value.suggested_filename, download.value.path().read_bytes()


def chunks(png: bytes) -> dict[str, bytes]:
    """The chunks of a PNG, each checked against its sum."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4])
        body = png[at + 4 : at + 8 + size]
        assert zlib.crc32(body) == int.from_bytes(png[at + 8 + size : at + 12 + size])
        found.setdefault(body[:4].decode(), b"")
        found[body[:4].decode()] += body[4:]
        at += 12 + size
    return found


def check_about(about: dict, level: str) -> None:
    assert about["model"] == "all-MiniLM-L6-v2"
    assert (about["layer"], about["head"], about["query"], about["level"]) == (2, 8, 7, level)
    assert about["dtype"] == "float32"
    assert about["source"]["text"].startswith("As the aircraft")
    assert about["receipt"]["status"] == "exact"
    assert about["receipt"]["max_error"] < 1e-5
    assert {"attnscope", "torch", "transformers"} <= set(about["versions"])
    assert "revision" in about


@pytest.mark.parametrize("level", LEVELS)
def test_a_saved_picture_holds_where_it_comes_from(open_view, demo_trace, level):
    page = open_level(open_view, demo_trace.show(level="neuron", layer=2, head=8, query="it"), level)
    settled(page)
    name, svg = saved(page, "svg")
    assert name == f"attnscope-all-MiniLM-L6-v2-layer2-head8-{level}.svg"
    root = ElementTree.fromstring(svg)
    about = root.find(".//{http://www.w3.org/2000/svg}metadata[@id='attnscope']")
    check_about(json.loads(about.text), level)
    assert not re.search(rb'(href|src)="(?!data:|#)', svg), "it needs nothing beside itself"
    name, png = saved(page, "png")
    assert name.endswith(f"-{level}.png")
    found = chunks(png)
    keyword, text = found["iTXt"].split(b"\0\0\0\0\0", 1)
    assert keyword == b"attnscope"
    check_about(json.loads(text), level)
    width, height = int.from_bytes(found["IHDR"][:4]), int.from_bytes(found["IHDR"][4:8])
    assert width / height == pytest.approx(float(root.get("width")) / float(root.get("height")), rel=0.01)
    assert len(set(zlib.decompress(found["IDAT"]))) > 20, "something is drawn"


def test_the_neuron_picture_holds_the_numbers(open_view, demo_trace):
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))
    root = ElementTree.fromstring(saved(page, "svg")[1])
    svg = "{http://www.w3.org/2000/svg}"
    site = demo_trace.site(2)
    expected = {"q": site.q[8, 7], "k": site.k[8, 8], "q × k": site.q[8, 7] * site.k[8, 8]}
    for name, vector in expected.items():
        cells = root.findall(f".//{svg}g[@data-lens='{name}']/{svg}rect")
        assert [float(cell.get("data-value")) for cell in cells] == pytest.approx(vector.tolist(), rel=1e-4, abs=1e-5)
    weights = [float(r.get("data-value")) for r in root.iter(f"{svg}rect") if r.get("data-col") == "weight"]
    assert weights == pytest.approx(site.weights(8, 7)[0].tolist(), rel=1e-4, abs=1e-7)
    shares = [float(r.get("data-value")) for r in root.iter(f"{svg}rect") if r.get("data-col") == "share"]
    assert shares == pytest.approx(site.share(8, 7).tolist(), rel=1e-3, abs=1e-6)
    words = " ".join(text.text or "" for text in root.iter(f"{svg}text"))
    assert "24.09" in words
    assert "attends most to flies with 53 %" in words


def test_a_saved_picture_of_hostile_tokens_is_whole(open_view):
    from attnscope.tracing.tokens import Tokens
    from made_traces import made_trace

    words = ("</svg>", "<script>", "\u0000\ufffe", "\"&'", "]]>", "\u202eabc", "שלום")
    page = open_view(made_trace(queries=7, tokens=Tokens(words)).show(level="neuron", layer=0, head=0, query=1))
    root = ElementTree.fromstring(saved(page, "svg")[1])
    expected = set("svg metadata title defs pattern rect text g line polygon".split())
    assert {child.tag.split("}")[1] for child in root.iter()} <= expected
    assert json.loads(root.find(".//{http://www.w3.org/2000/svg}metadata").text)["tokens"] == [list(words)]


def test_the_svg_is_drawn_as_png(open_view, demo_trace):
    """The pixels of the PNG are those of the SVG: its ground, its ink, its two signs."""
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))
    png = base64.b64encode(saved(page, "png")[1]).decode()
    colours = page.evaluate(
        """async png => { const image = new Image(); image.src = 'data:image/png;base64,' + png; await image.decode();
             const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height;
             const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
             const found = new Set(), data = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
             let blue = 0, orange = 0; for (const p of data) { found.add(p); const [r, g, b] = [p & 255, (p >> 8) & 255, (p >> 16) & 255]; if (b - r > 60) blue++; if (r - b > 60) orange++; }
             return {ground: data[0] & 0xffffff, blue, orange, width: image.width}; }""",
        png,
    )
    assert colours["ground"] == 0xFAFCFC
    assert colours["width"] == 2000
    assert min(colours["blue"], colours["orange"]) > 1000


@pytest.mark.parametrize("width", [1280, 900, 800, 700, 680])
def test_the_foot_stays_low(open_view, demo_trace, width):
    """What does not fit beside the receipt takes a line of its own, it is not squeezed into a column."""
    page = open_view(demo_trace.show(level="model"), width=width, height=900)
    assert page.locator("footer.foot").bounding_box()["height"] < 110


def test_the_menu_of_the_key_says_the_key_that_is_shown(open_view, demo_trace):
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))
    menu = page.locator('[data-crumb="key"]')
    seen = set()
    page.locator("[data-ribbon]").focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
        shown = page.locator("[data-lens]").get_attribute("data-lens").split(",")[1]
        assert menu.evaluate("select => select.selectedOptions[0].text") == demo_trace.tokens[int(shown)]
        seen.add(shown)
    assert len(seen) > 1
