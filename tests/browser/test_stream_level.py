"""The level stream: its numbers are the table's, what is chosen stands in the address, and it fits a phone."""

from dataclasses import replace

import pytest

from attnscope.tracing.stream_table import StreamReceipt
from attnscope.views.stream_column import column_of, parts_of
from browser_tools import next_draw, settled, url_state
from levels_in import levels_there
from made_streams import made_table, streamed
from page_checks import CONTRAST, sideways, violations

pytestmark = pytest.mark.source  # axe-core lies among the front end's development packages
READ = """() => Object.fromEntries([...document.querySelector('[data-attnscope]').shadowRoot
  .querySelectorAll('[data-level="stream"] [data-line]')].map(row => {
    const number = column => { const value = row.querySelector(`[data-col="${column}"]`).dataset.value; return value === undefined ? null : Number(value); };
    return [row.getAttribute('aria-label'), [number('value'), number('running'), number('lens')]]; }))"""


def check(page, view) -> None:
    """Every row and every part on the page against the column that Python computes."""
    for closed in page.locator('[data-line][aria-expanded="false"]').all():
        closed.click()
    column = column_of(view.trace, view.state)
    found = page.evaluate(READ)
    running = {line.name: line.running for line in column.lines}
    lines = {line.name: line for line in [*column.lines, *parts_of(column.lines)]}
    assert found.keys() == lines.keys()
    for name, (value, total, chance) in found.items():
        assert value == pytest.approx(lines[name].value, abs=1e-6)
        assert total == (None if name not in running else pytest.approx(running[name], abs=1e-5))
        lens = column.lens(lines[name])
        assert chance == (None if lens is None else pytest.approx(lens[1], abs=1e-6))
    chances = page.locator("[data-prediction]").evaluate_all("all => all.map(one => Number(one.dataset.value))")
    assert chances == pytest.approx([one.probability for one in column.predictions], abs=1e-6)


def test_the_numbers_are_the_table_s_and_the_address_holds_what_is_chosen(open_view):
    trace = streamed()
    view = trace.show("stream")
    page = open_view(view)
    assert levels_there(page)[:2] == ["stream", "model"]
    check(page, view)
    with next_draw(page):
        page.locator('[data-position="4"]').click()
    check(page, view.at(query=4))
    with next_draw(page):
        page.locator('[data-prediction="13"] .stream-choose').click()
    with next_draw(page):
        page.locator('[data-prediction="10"] .stream-vs').click()
    chosen = view.at(query=4, target=13, against=10)
    check(page, chosen)
    assert url_state(page).items() >= {"level": "stream", "query": "4", "target": "13", "against": "10"}.items()
    page.locator('[data-tool="python"]').click()
    assert "target=13" in page.locator("[data-python]").input_value()
    page.keyboard.press("Escape")
    with next_draw(page):
        page.locator('[aria-label="L1H2"]').click()
    assert url_state(page).items() >= {"layer": "1", "head": "2", "query": "4", "target": "13"}.items()
    assert page.locator("main").get_attribute("data-shows") == "head"
    page.go_back()
    settled(page)
    check(page, chosen)
    page.keyboard.press("Enter")  # from the row that has the focus
    with next_draw(page):
        page.keyboard.press("0")
        page.keyboard.press("1")
    assert page.locator("main").get_attribute("data-shows") == "model"


def test_the_lens_grid_and_a_query_that_is_not_held(open_view):
    trace = streamed()
    page = open_view(trace.show("stream", query=5))
    assert "held at positions 1, 4, 12" in page.locator("[data-sentence]").inner_text()
    with next_draw(page):
        page.locator("[data-nearest]").click()
    assert url_state(page)["query"] == "4"
    with next_draw(page):
        page.locator('[data-tool="lens"]').click()
    assert url_state(page)["lens"] == "1"
    lens = made_table().lens_probabilities
    assert lens is not None
    cells = page.locator("[data-stage]").evaluate_all("all => all.map(one => Number(one.dataset.value))")
    assert cells == pytest.approx(lens.T.flatten().tolist(), abs=1e-6)
    assert violations(page) == []


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (700, False), (390, True), (390, False)])
def test_it_fits_and_can_be_read(open_view, width, dark):
    page = open_view(streamed().show("stream"), width=width, height=844, dark=dark)
    assert sideways(page) <= 0
    assert page.evaluate(CONTRAST) == []
    assert violations(page) == []
    inside = page.evaluate(
        """() => { const root = document.querySelector('[data-attnscope]').shadowRoot, edge = innerWidth + 0.5;
             return [...root.querySelectorAll('[data-level="stream"] *')].filter(e => e.checkVisibility() && !e.closest('[data-cue]') && e.getBoundingClientRect().right > edge).length; }"""
    )
    assert inside == 0


def test_the_keyboard_stays_in_the_column(open_view):
    """The link past the frame, and a way to another level and back, lead to a row."""
    page = open_view(streamed().show("stream"))
    focus = "() => document.querySelector('[data-attnscope]').shadowRoot.activeElement?.dataset.line ?? null"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate(focus) == "embedding"
    page.keyboard.press("ArrowDown")
    row = page.evaluate(focus)
    assert row != "embedding"
    for key in ("1", "0"):
        with next_draw(page):
            page.keyboard.press(key)
    assert page.evaluate(focus) == row
    with next_draw(page):
        page.locator('[data-tool="lens"]').click()
    for key in ("1", "0"):
        with next_draw(page):
            page.keyboard.press(key)
    page.keyboard.press("ArrowUp")  # the tool had the focus, and keeps it
    page.locator("[data-stage]").last.focus()
    for key in ("1", "0"):
        with next_draw(page):
            page.keyboard.press(key)
    assert (
        page.evaluate("() => document.querySelector('[data-attnscope]').shadowRoot.activeElement?.dataset.stage") == "2"
    )


def test_the_lens_grid_shows_the_chosen_position_beside_the_layers(open_view):
    trace = streamed()
    rows = [0, 1, 2] * 4
    numbers = ("logits", "probabilities", "contributions", "lens_ids", "lens_probabilities", "sizes", "writes", "turns")
    table = made_table()
    wide = {name: getattr(table, name)[rows] for name in numbers}
    texts = {name: tuple(getattr(table, name)[row] for row in rows) for name in ("targets", "lens_text")}
    table = replace(table, positions=tuple(range(len(rows))), **wide, **texts)
    view = replace(trace, stream_table=table).show("stream", query=11, lens=True)
    page = open_view(view, width=390, height=844)
    box = page.locator(".stream-lens-scroll").bounding_box()
    for selector in (".stream-lens-head[data-chosen]", ".stream-lens-layer >> nth=0"):
        found = page.locator(selector).bounding_box()
        assert box["x"] - 1 <= found["x"] <= found["x"] + found["width"] <= box["x"] + box["width"] + 1, selector
    assert page.locator("[data-stage]").first.bounding_box()["height"] >= 24
    with next_draw(page):
        page.locator('.stream-lens-scroll [data-row="0"]').first.click()
    assert page.locator(".stream-lens-head[data-chosen]").bounding_box()["x"] >= box["x"] + 60


def test_bars_move_unless_motion_is_unwelcome(open_view):
    page = open_view(streamed().show("stream"))
    seconds = "() => parseFloat(getComputedStyle(document.querySelector('[data-attnscope]').shadowRoot.querySelector('.stream-bar i')).transitionDuration)"
    assert 0 < page.evaluate(seconds) <= 0.25
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(seconds) == 0


def test_a_failed_receipt_warns_and_shows_no_bars(open_view):
    trace = streamed()
    table = replace(made_table(), receipt=StreamReceipt(0.3, 0.2, 0.0, 1e-4))
    page = open_view(replace(trace, stream_table=table).show("stream"))
    assert "do not match the model" in page.locator(".stream-failed").inner_text()
    assert page.locator("[data-line]:visible").count() == 0
    assert page.locator("[data-prediction]:visible").count() == 5


def test_a_trace_without_a_stream_says_how_to_get_it(open_view, demo_trace):
    page = open_view(demo_trace.show(layer=2, head=8, query="it"), hash="#level=stream")
    assert 'level="stream"' in page.locator("[data-notices]").inner_text()
    assert page.locator("main").get_attribute("data-shows") == "model"
    assert "stream" not in levels_there(page)
