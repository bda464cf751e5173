"""What stands on the first screen: the sentence and the text at the top, and a whole row of numbers, at any size and length."""

import html
from functools import cache

import pytest

from attnscope.views.levels import ALWAYS_THERE as LEVELS
from browser_tools import settled
from levels_in import switch_to
from made_traces import made_trace

SIZES = [(1366, 650), (1280, 720), (700, 900), (390, 844), (640, 360), (844, 390), (1024, 768), (1920, 1080)]

PLACES = """() => {
  const root = document.querySelector('[data-attnscope]').shadowRoot, box = s => root.querySelector(s)?.getBoundingClientRect();
  const foot = box('.foot').top, list = box('.keys-list, .pair-grid'), seen = b => b && b.top >= -0.5 && b.bottom <= foot + 0.5;
  const within = b => b.top >= list.top - 0.5 && b.bottom <= list.bottom + 0.5;
  const rows = [...root.querySelectorAll('[data-line]')].map(row => row.getBoundingClientRect());
  const wide = b => b.left >= 0 && b.right <= innerWidth;
  const cells = [...root.querySelectorAll('[data-row-key]')].filter(row => within(row.getBoundingClientRect()))
    .map(row => ['token', 'weight', 'share'].map(c => row.querySelector(`[data-col="${c}"]`)?.getBoundingClientRect()).filter(Boolean));
  return {
    scrolled: [root.querySelector('main').scrollTop, scrollY],
    sentence: seen(box('[data-sentence]')), query: seen(box('.ribbons .token.query')),
    rows: rows.filter(b => seen(b) && within(b)).length, columns: cells.length > 0 && cells.flat().every(wide),
    pinned: list && within(box('.row.pinned, [data-pinned]')),
    header: box('.masthead').height, sideways: document.documentElement.scrollWidth - innerWidth,
  };
}"""


@cache
def view(length: int, level: str = "neuron") -> str:
    """A page whose pinned key stands near the end of the text, where the table and the text have to scroll to it."""
    trace = made_trace(heads=1, kv_heads=1, queries=length, head_size=5, layers=1, spread=1.7)
    return trace.show(layer=0, head=0, query=length // 2, key=length - 3, level=level).html


@pytest.mark.parametrize(("length", "sizes"), [(8, SIZES[3:5]), (3000, SIZES)])
def test_a_page_opens_on_its_sentence_text_and_a_row(open_view, length, sizes):
    page = open_view(view(length))
    for width, height in sizes:
        page.set_viewport_size({"width": width, "height": height})
        page.reload()
        page.wait_for_selector("[data-attnscope][data-ready]")
        settled(page)
        found = page.evaluate(PLACES)
        at = (length, width, height, found)
        assert found["scrolled"] == [0, 0], at
        assert found["sentence"], at
        assert found["query"], at
        assert found["rows"] >= 1, at
        assert found["columns"], at
        assert found["pinned"], at
        assert found["sideways"] <= 0, at
        assert found["header"] <= 76, at


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "neuron"])  # which is seen above
def test_no_level_opens_scrolled(open_view, demo_trace, level):
    page = open_view(demo_trace.show(layer=5, head=11, query=20, key=22, level=level), width=1024, height=768)
    settled(page)
    assert page.evaluate(PLACES)["scrolled"] == [0, 0]


def test_a_comparison_opens_on_its_sentence_too(open_view, texts):
    page = open_view(texts.show(level="neuron", layer=2, head=8, query=7, key=20), width=1280, height=650)
    settled(page)
    found = page.evaluate(PLACES)
    assert found["scrolled"] == [0, 0]
    assert found["pinned"]
    assert found["header"] <= 76


def test_a_frame_within_a_page_scrolls_neither_itself_nor_the_page(new_page, tmp_path):
    page = new_page(width=1000, height=700)
    inside = html.escape(view(61))
    path = tmp_path / "course.html"
    path.write_text(f"<p style='height:1200px'>first</p><iframe width=900 height=640 srcdoc=\"{inside}\"></iframe>")
    page.goto(path.as_uri())
    frame = page.frames[1]
    frame.wait_for_selector("[data-attnscope][data-ready]")
    settled(frame)
    found = frame.evaluate(PLACES)
    assert found["scrolled"] == [0, 0]
    assert found["pinned"]
    assert page.evaluate("scrollY") == 0


def test_another_query_brings_its_key_into_sight_and_leaves_the_page_where_it_is(open_view):
    page = open_view(
        made_trace(queries=41, spread=2.0).show(level="neuron", layer=0, head=1, query=3), width=1280, height=720
    )
    page.locator('[data-tool="expand"]').evaluate_all("tools => tools.forEach(t => t.click())")
    shown = set()
    for query in (5, 39, 12, 27, 1):
        page.locator(f'[data-ribbon] [data-token="{query}"]').click()
        settled(page)
        found = page.evaluate(PLACES)
        assert found["pinned"]
        assert found["scrolled"] == [0, 0]
        shown.add(page.locator("[data-lens]").get_attribute("data-lens").split(",")[1])
    assert len(shown) > 1


CUT = """() => {
  const root = document.querySelector('[data-attnscope]').shadowRoot, cut = [];
  for (const e of root.querySelectorAll('main *')) {
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (!e.clientWidth || style.visibility === 'hidden' || box.width <= 1 || e.matches('select, canvas, option') || e.closest('[hidden]')) continue;
    const wide = e.scrollWidth > e.clientWidth + 1 && style.overflowX !== 'visible';
    const high = e.scrollHeight > e.clientHeight + 1 && style.overflowY !== 'visible' && !e.matches('main');
    const ellipsis = style.textOverflow === 'ellipsis' && style.whiteSpace !== 'normal';
    if (wide && !ellipsis && !/left|right/.test(e.dataset.more ?? '')) cut.push(['sideways', e.className]);
    if (high && !/above|below/.test(e.dataset.more ?? '')) cut.push(['down', e.className]);
  }
  return cut;
}"""


SHORTENED = """() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('.ends-head *')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline').map(e => e.textContent)"""


@pytest.mark.parametrize(("width", "height"), [(390, 844), (640, 360), (1280, 720)])
def test_nothing_is_cut_without_a_cue(open_view, demo_trace, width, height):
    page = open_view(demo_trace.show(layer=2, head=8, query="it", key=20, level="neuron"), width=width, height=height)
    settled(page)
    assert page.evaluate(CUT) == []
    if width == 1280:
        assert not page.locator("[data-unfold]").first.is_visible(), "where there is room nothing is folded"
        assert page.locator('[data-row-key="8"] canvas').count() == 3
    else:
        for vector in ("k", "product", "v"):
            page.locator(f'[data-unfold="{vector}"]').click()
            settled(page)
            assert page.evaluate(CUT) == []
            strip = page.locator(f'[data-row-key="20"] [data-col="{vector}"] canvas').bounding_box()
            assert strip["width"] > 60
            assert strip["x"] + strip["width"] <= width
            assert page.locator(f'[data-unfold="{vector}"]').get_attribute("aria-pressed") == "true"
        page.locator('[data-unfold="v"]').click()
        assert page.locator('[data-row-key="20"] canvas').count() == 0, "folded again"
    switch_to(page, "head")
    lists = {("down", "ends ends-query"), ("down", "ends ends-key")}  # which say how much weight lies below
    assert set(map(tuple, page.evaluate(CUT))) <= lists
    assert page.evaluate(SHORTENED) == [], "the titles of the columns are whole"


TARGETS = """() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('button, select, input')]
  .filter(e => e.getClientRects().length).map(e => [e.dataset.tool ?? e.getAttribute('aria-label') ?? e.textContent, (e.closest('label') ?? e).getBoundingClientRect()])
  .filter(([name, box]) => box.width < 23.99 || box.height < 23.99).map(([name, box]) => [name, box.width, box.height])"""


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 720)])
def test_every_control_is_large_enough_for_a_finger(open_view, demo_trace, width, height):
    page = open_view(demo_trace.show(layer=2, head=8, query="it", level="neuron"), width=width, height=height)
    if page.locator("[data-more-tools]").is_visible():
        page.locator("[data-more-tools]").click()
        page.locator('[data-tool="help"]').wait_for()
    assert page.evaluate(TARGETS) == []
    page.keyboard.press("/")
    assert page.evaluate(TARGETS) == []
    page.locator("[data-find]").press("Escape")


def test_the_header_has_two_rows_at_any_width(open_view, demo):
    import attnscope

    trace = attnscope.trace(*demo, "The pilot checked the airspeed indicator.", text_pair="It was still warm.")
    page = open_view(trace.show(layer=2, head=8, query=3))
    for level in LEVELS:
        switch_to(page, level)
        for width in (390, 700, 900, 1090, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.locator(".masthead").bounding_box()["height"] <= 76, (level, width)
            if page.locator("[data-more-tools]").is_visible():
                assert not page.locator('[data-tool="filter"]').is_visible()


def test_the_tools_of_a_narrow_page_lie_behind_a_button(open_view, demo_trace):
    page = open_view(demo_trace.show(layer=2, head=8, query="it", level="neuron"), width=390, height=844)
    more, order, theme = (page.locator(s) for s in ("[data-more-tools]", '[data-tool="order"]', '[data-tool="theme"]'))
    assert not order.is_visible()
    more.click()
    assert more.get_attribute("aria-expanded") == "true"
    theme.select_option("dark")
    assert page.locator("main").get_attribute("data-theme") == "dark"
    assert order.is_visible(), "a menu leaves it open"
    order.click()
    assert not order.is_visible()
    assert order.get_attribute("aria-pressed") == "true"
    more.click()
    order.focus()
    page.keyboard.press("Escape")
    assert not order.is_visible()
    assert page.locator("main").get_attribute("data-shows") == "neuron", "Escape closes it, and no more"
    assert more.evaluate("e => e.getRootNode().activeElement === e")
    more.click()
    page.locator("[data-level]").click(position={"x": 5, "y": 60})
    assert not order.is_visible()
