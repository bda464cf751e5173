"""The matrix level: every cell read back by keyboard is Python's weight, score and q · k; zoom, pan, sums, tables."""

import numpy as np
import pytest
import torch

import attnscope
import tiny_models
from attnscope.tracing.masks import MaskRule, causal_rule
from browser_tools import settled, url_state
from made_traces import made_trace, with_everything
from merged import groups, merged

GRID = '[data-grid="matrix"]'
CELL = """() => { const c = document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-grid="matrix"] [role=gridcell]');
  return {...c.dataset, label: c.getAttribute('aria-label')}; }"""
# every cell, row by row, by keyboard alone
WALK = """async ([rows, columns]) => {
  const root = document.querySelector('[data-attnscope]').shadowRoot;
  const grid = root.querySelector('[data-grid="matrix"]'), cell = grid.querySelector('[role=gridcell]');
  const press = (key, ctrlKey = false) => grid.dispatchEvent(new KeyboardEvent('keydown', {key, ctrlKey, bubbles: true, cancelable: true}));
  press('Home', true);
  const out = [];
  for (let r = 0; r < rows; r++) {
    press('Home');
    for (let c = 0; c < columns; c++) {
      const {query, key, weight, score, dot, masked} = cell.dataset;
      out.push([Number(query), Number(key), Number(weight), score === undefined ? null : Number(score), dot === undefined ? null : Number(dot), masked !== undefined ? 1 : 0]);
      press('ArrowRight');
    }
    press('ArrowDown');
  }
  return out;
}"""


def cells(page, rows: int, columns: int) -> np.ndarray:
    """[rows, columns, 6]: query, key, weight, score, q · k, masked of every cell."""
    found = page.evaluate(WALK, [rows, columns])
    return np.array([[np.nan if x is None else x for x in row] for row in found], dtype=float).reshape(rows, columns, 6)


def assert_cells(page, site, head: int):
    seen = cells(page, site.queries, site.keys)
    np.testing.assert_array_equal(seen[:, 0, 0], np.arange(site.queries))
    np.testing.assert_array_equal(seen[0, :, 1], np.arange(site.keys))
    np.testing.assert_allclose(seen[..., 2], site.weights(head).numpy(), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(seen[..., 4], site.dot(head).numpy(), rtol=1e-3, atol=1e-3)
    scores = site.scores(head).numpy()
    seeable = seen[..., 5] == 0
    np.testing.assert_allclose(seen[..., 3][seeable], scores[seeable], rtol=1e-3, atol=1e-3)
    return seeable


def place(page, row: float, column: float) -> dict[str, float]:
    """Where a cell stands within the grid."""
    cell_x, cell_y = map(float, page.locator(GRID).get_attribute("data-cell").split(","))
    left, top = map(float, page.locator(GRID).get_attribute("data-origin").split(","))
    return {"x": left + (column + 0.5) * cell_x, "y": top + (row + 0.5) * cell_y}


@pytest.fixture
def demo_page(open_view, demo_trace):
    return open_view(demo_trace.show(layer=2, head=8, query="it"), hash="#level=matrix&layer=2&head=8&query=7&key=8")


def test_every_cell_of_the_demo(demo_page, demo_trace):
    assert assert_cells(demo_page, demo_trace.site(2), 8).all()


def test_every_cell_of_a_causal_model(open_view):
    trace = attnscope.trace(tiny_models.model("gpt2"), None, inputs=tiny_models.inputs("gpt2"))
    page = open_view(trace.show(), hash="#level=matrix&layer=1&head=2&query=4")
    seeable = assert_cells(page, trace.site(1), 2)
    np.testing.assert_array_equal(seeable, np.tril(np.ones((13, 13), bool)))
    assert "masked" in page.locator("[data-legends]").inner_text()


def test_every_cell_across_two_texts(open_view):
    trace = attnscope.trace(tiny_models.model("t5"), None, inputs=tiny_models.inputs("t5"))
    page = open_view(trace.show(), hash="#level=matrix&stack=cross&layer=1&head=2&query=4")
    assert assert_cells(page, trace.site(1, stack="cross"), 2).shape == (7, 13)


def test_every_link_at_once(open_view):
    trace = with_everything()
    page = open_view(trace.show(), hash="#level=matrix&layer=1&head=4&query=6&quantity=scores")
    assert_cells(page, trace.site(1), 4)


def test_words_and_hidden_special_tokens(open_view, demo_trace):
    page = open_view(demo_trace.show(), hash="#level=matrix&layer=2&head=8&query=7&words=1&special=hide")
    shown = groups(demo_trace.tokens, True, True)
    site = demo_trace.site(2)
    seen = cells(page, len(shown), len(shown))
    np.testing.assert_allclose(
        seen[..., 2], merged(site.weights(8).double().numpy(), shown, shown), rtol=1e-4, atol=1e-7
    )
    scores = site.scores(8).double().numpy()
    mean = np.array([[scores[np.ix_(q, k)].mean() for k in shown] for q in shown])
    np.testing.assert_allclose(seen[..., 3], mean, rtol=1e-4, atol=1e-4)
    assert float(page.locator('[data-note="hidden"]').get_attribute("data-value")) == pytest.approx(
        float(site.weights(8)[7, [0, 23]].sum()), rel=1e-4
    )


def test_the_readout_says_the_pair_and_its_sums(demo_page, demo_trace):
    demo_page.locator(GRID).focus()
    demo_page.keyboard.press("ArrowRight")
    demo_page.keyboard.press("ArrowLeft")
    said = demo_page.locator("[data-readout]").inner_text()
    chain = demo_trace.site(2).chain(8, 7)
    received = float(demo_trace.site(2).weights(8)[:, 8].sum())
    for part in (
        "“it” at 7 → “flies” at 8",
        "weight 52.7 %",
        f"score {float(chain.masked[0, 8]):.2f}",
        f"q · k {float(chain.dot[0, 8]):.2f}",
        "row sum 1.000",
        f"received {received:.2f}",
    ):
        assert part in said


def test_pointing_clicking_and_going_in(demo_page):
    grid = demo_page.locator(GRID)
    grid.hover(position=place(demo_page, 3, 5))
    assert "“aircraft” at 3 → “lighter” at 5" in demo_page.locator("[data-readout]").inner_text()
    grid.click(position=place(demo_page, 3, 5))
    now = url_state(demo_page)
    assert (now["query"], now["key"]) == ("3", "5")
    grid.dblclick(position=place(demo_page, 9, 2))
    now = url_state(demo_page)
    assert (now.get("level", "neuron"), now["query"], now["key"]) == ("neuron", "9", "2")
    demo_page.go_back()
    assert url_state(demo_page)["level"] == "matrix"


def test_labels_are_clicked_too(demo_page):
    left, _ = map(float, demo_page.locator(GRID).get_attribute("data-origin").split(","))
    demo_page.locator(GRID).click(position={**place(demo_page, 12, 0), "x": left - 20})
    now = url_state(demo_page)
    assert (now["query"], now["key"]) == ("12", "8")


def test_by_keyboard_alone(demo_page):
    demo_page.locator(GRID).focus()
    for key in ("Control+Home", "ArrowDown", "End"):
        demo_page.keyboard.press(key)
    assert demo_page.evaluate(CELL)["query"] == "1"
    assert demo_page.evaluate(CELL)["key"] == "23"
    demo_page.keyboard.press("Space")
    now = url_state(demo_page)
    assert (now["query"], now["key"], now["level"]) == ("1", "23", "matrix")
    demo_page.keyboard.press("Enter")
    now = url_state(demo_page)
    assert (now["query"], now["key"], now.get("level", "neuron")) == ("1", "23", "neuron")


def test_zoom_and_pan(demo_page):
    grid = demo_page.locator(GRID)
    size = lambda: float(grid.get_attribute("data-cell").split(",")[0])  # noqa: E731
    least = size()
    grid.focus()
    demo_page.keyboard.press("+")
    settled(demo_page)
    assert size() == pytest.approx(1.5 * least)
    demo_page.keyboard.press("Control+End")
    settled(demo_page)
    assert demo_page.evaluate(CELL)["key"] == "23"
    box, cell = grid.bounding_box(), demo_page.locator(f"{GRID} [role=gridcell]").bounding_box()
    assert cell["x"] + cell["width"] <= box["x"] + box["width"] + 1, "the cell under the keyboard is brought into sight"
    grid.hover(position={"x": 200, "y": 200})
    before = demo_page.evaluate(CELL)["query"]
    demo_page.mouse.wheel(0, -120)
    settled(demo_page)
    demo_page.mouse.move(box["x"] + 203, box["y"] + 203)
    assert int(demo_page.evaluate(CELL)["query"]) < int(before), "the wheel pans what is zoomed"
    demo_page.keyboard.press("0")
    settled(demo_page)
    assert size() == least
    demo_page.keyboard.down("Control")
    demo_page.mouse.wheel(0, -200)
    demo_page.keyboard.up("Control")
    settled(demo_page)
    assert size() > least
    demo_page.locator('[data-tool="zoom-fit"]').click()
    settled(demo_page)
    assert size() == least


def test_two_fingers_zoom(demo_page):
    pinch = """() => { const grid = document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-grid="matrix"]');
      const {left, top} = grid.getBoundingClientRect();
      const at = (type, id, x, y) => grid.dispatchEvent(new PointerEvent(type, {pointerId: id, pointerType: 'touch', button: type === 'pointermove' ? -1 : 0, bubbles: true, clientX: left + x, clientY: top + y}));
      grid.setPointerCapture = () => {};
      at('pointerdown', 11, 250, 250); at('pointerdown', 12, 300, 300);
      at('pointermove', 11, 200, 200); at('pointermove', 12, 350, 350);
      at('pointerup', 11, 200, 200); at('pointerup', 12, 350, 350); }"""
    least = float(demo_page.locator(GRID).get_attribute("data-cell").split(",")[0])
    query = url_state(demo_page)["query"]
    demo_page.evaluate(pinch)
    settled(demo_page)
    assert float(demo_page.locator(GRID).get_attribute("data-cell").split(",")[0]) > 1.8 * least
    assert url_state(demo_page)["query"] == query, "a pinch is no click"


def test_scores_have_signs_and_weights_a_logarithmic_scale_on_request(demo_page):
    legends = demo_page.locator("[data-legends]")
    assert (
        legends.inner_text().startswith("weight 0 … 100 %".replace(" 0", "\xa00"))
        or "0 … 100 %" in legends.inner_text()
    )
    demo_page.locator('[data-tool="log"]').check()
    assert "logarithmic" in legends.inner_text()
    demo_page.locator('[data-tool="quantity"]').select_option("scores")
    assert "−" in legends.inner_text()
    assert "logarithmic" not in legends.inner_text()
    log = demo_page.locator('[data-tool="log"]')
    assert log.is_disabled()
    demo_page.locator('[data-tool="quantity"]').focus()
    log.focus()  # greyed, it says why to a keyboard and to a finger
    assert "scores have a sign" in demo_page.locator("[data-tip]").inner_text()
    assert log.is_checked(), "and stays as it was"
    log.press("Space")
    assert log.is_checked()
    demo_page.locator('[data-tool="quantity"]').select_option("dot")
    assert "q · k" in legends.inner_text()


def test_the_same_numbers_as_a_table(demo_page, demo_trace):
    demo_page.locator('[data-tool="table"]').click()
    table = demo_page.locator("[data-level=matrix] [data-figures]")
    cells = table.locator("tbody tr").nth(7).locator("th, td").all_inner_texts()
    assert cells[0] == "7 it"
    assert float(cells[9].rstrip(" %")) == pytest.approx(100 * float(demo_trace.site(2).weights(8)[7, 8]), abs=1e-3)
    assert table.locator("thead th").nth(9).inner_text() == "8 flies"


def test_rows_without_a_key_are_labelled(open_view):
    keys = torch.ones(11, dtype=torch.bool)
    keys[:3] = False
    trace = made_trace(queries=11, mask=MaskRule(upper=0, keys=keys))
    page = open_view(trace.show(), hash="#level=matrix&layer=0&head=1&query=5")
    assert page.locator(".empty-rows span").all_inner_texts() == ["no key allowed"] * 3


def test_weights_alone_have_no_scores(open_view, demo_trace):
    given = [site.weights()[None] for site in demo_trace.sites]
    trace = attnscope.Trace.from_attentions(given, demo_trace.tokens)
    page = open_view(trace.show(), hash="#level=matrix&layer=2&head=8&query=7&quantity=scores")
    seen = cells(page, 24, 24)
    np.testing.assert_allclose(seen[..., 2], demo_trace.site(2).weights(8).numpy(), rtol=1e-3, atol=1e-6)
    assert np.isnan(seen[..., 3]).all()
    assert "Only weights were captured" in page.locator('[data-note="quantity"]').inner_text()


def test_long_texts_are_pooled_and_say_so_until_one_zooms_in(open_view):
    trace = made_trace(heads=1, kv_heads=1, queries=1601, head_size=6, layers=1, mask=causal_rule(1601, 1601))
    page = open_view(trace.show(), hash="#level=matrix&layer=0&head=0&query=700&key=600", height=900)
    page.wait_for_selector(f"{GRID}[data-complete]")
    assert "largest of them" in page.locator('[data-note="pooled"]').inner_text()
    page.locator(GRID).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    seen = page.evaluate(CELL)
    assert (seen["query"], seen["key"]) == ("700", "600")
    assert float(seen["weight"]) == pytest.approx(float(trace.site(0).weights(0, 700)[0, 600]), rel=1e-3, abs=1e-7)
    for _ in range(6):
        page.keyboard.press("+")
    settled(page)
    assert page.locator('[data-note="pooled"]').count() == 0
    assert page.evaluate(CELL)["key"] == "600", "the cell stays under the eye"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 700, 400])
def test_nothing_is_lost_sideways(open_view, demo_trace, width, dark):
    page = open_view(
        demo_trace.show(), hash="#level=matrix&layer=2&head=8&query=7&key=8&quantity=dot", width=width, dark=dark
    )
    assert page.locator("main").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    box = page.locator(GRID).bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= width


@pytest.mark.parametrize("width", [1280, 390])
def test_names_and_value_light_up_under_the_pointer(open_view, demo_trace, width):
    page = open_view(demo_trace.show(), hash="#level=matrix&layer=2&head=8&query=7&key=8", width=width)
    grid = page.locator(GRID)
    names, value = page.locator(".axis-at"), page.locator(".value-at")
    assert not value.is_visible()
    grid.hover(position=place(page, 9, 5))
    assert names.all_inner_texts() == [demo_trace.tokens.shown[9], demo_trace.tokens.shown[5]]
    assert value.inner_text() == f"{100 * float(demo_trace.site(2).weights(8, 9)[0, 5]):.1f} %"
    cell_x, cell_y = map(float, grid.get_attribute("data-cell").split(","))
    at, spot = grid.bounding_box(), place(page, 9, 5)
    for element, axis, size in ((names.nth(0), "y", cell_y), (names.nth(1), "x", cell_x)):
        box = element.bounding_box()
        middle = box["y"] + box["height"] / 2 - at["y"] if axis == "y" else box["x"] - at["x"]
        assert abs(middle - spot[axis]) < max(size, 20)
        assert box["x"] >= at["x"] - 1
    box = value.bounding_box()
    assert box["x"] + box["width"] <= width
    page.mouse.move(2, 2)
    assert not value.is_visible()


@pytest.mark.parametrize(("width", "count"), [(1280, 24), (700, 24), (1280, 7)])
def test_the_grid_fills_the_width(open_view, demo_trace, width, count):
    trace = demo_trace if count == 24 else made_trace(queries=count)
    page = open_view(trace.show(level="matrix"), width=width)
    cell = float(page.locator(GRID).get_attribute("data-cell").split(",")[0])
    left = float(page.locator(GRID).get_attribute("data-origin").split(",")[0])
    room = page.locator("[data-level=matrix]").evaluate("e => e.clientWidth")
    assert left + cell * len(trace.tokens) > room - 40
    assert page.locator(f"{GRID} canvas").bounding_box()["width"] == pytest.approx(room, abs=1.5)


def test_sums_of_rows_stand_where_they_are_not_one(open_view, demo_trace):
    page = open_view(demo_trace.show(), hash="#level=matrix&layer=2&head=8&query=7")
    wide = float(page.locator(GRID).get_attribute("data-cell").split(",")[0])
    assert "on the right" not in page.locator('[data-note="sums"]').inner_text()
    page.evaluate("location.hash = '#level=matrix&layer=2&head=8&query=7&special=hide'")
    page.wait_for_selector('[data-note="hidden"], [data-note^="hidden"]')
    assert "on the right" in page.locator('[data-note="sums"]').inner_text()
    assert float(page.locator(GRID).get_attribute("data-cell").split(",")[0]) != wide


def test_leaving_stops_the_computation_and_coming_back_ends_it(open_view):
    trace = made_trace(heads=1, kv_heads=1, queries=2903, head_size=6, layers=1, mask=causal_rule(2903, 2903))
    page = open_view(trace.show(), hash="#level=matrix&layer=0&head=0&query=700&key=600", height=900)
    assert page.locator(f"{GRID}[data-complete]").count() == 0, "the text is long enough to be caught at it"
    page.locator('[data-level-switch="neuron"]').click()
    page.wait_for_selector('main[data-shows="neuron"]')
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    frames = """() => new Promise(done => { const ask = window.requestAnimationFrame; let asked = 0;
      window.requestAnimationFrame = f => { asked++; return ask(f); };
      setTimeout(() => { window.requestAnimationFrame = ask; done(asked); }, 500); })"""
    assert page.evaluate(frames) == 0, "nothing is computed for a level that is not shown"
    assert page.locator(f"{GRID}[data-complete]").count() == 0
    page.go_back()
    page.wait_for_selector(f"{GRID}[data-complete]")
