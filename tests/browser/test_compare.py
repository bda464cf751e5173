"""Two traces in one page: what every level shows of B − A is read back and held against numpy."""

import base64
from pathlib import Path

import numpy as np
import pytest
import torch

import attnscope
from attnscope.render.page.assets import asset
from browser_tools import until

AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
# the widget's module with a notebook's model played by the test
PLAY = """async ([code, blocks, others, difference, traits]) => {
  const view = text => new DataView(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
  const values = {...traits, blocks: blocks.map(view), other_blocks: others.map(view), difference: view(difference)};
  const heard = {}, sent = [];
  const model = {
    get: name => values[name], set: (name, value) => { values[name] = value; }, save_changes() {},
    send: message => sent.push(message), off() {}, comm_live: true,
    on: (event, callback) => (heard[event] ??= []).push(callback),
  };
  window.play = {values, sent, fire: event => (heard[event] ?? []).forEach(call => call())};
  const module = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
  await module.default.render({model, el: document.body.appendChild(document.createElement('div'))});
}"""


def whole(comparison, layer: int, head: int) -> np.ndarray:
    """B − A along the merged row: a key that a text lacks has no weight there; NaN where it lacks the query."""
    before, after = (t.site(layer).weights(head).double().numpy() for t in (comparison.a, comparison.b))
    places = comparison.alignment.places
    out = np.full((len(places), len(places)), np.nan)
    for n, (i, j) in enumerate(places):
        if i is not None and j is not None:
            out[n] = [(0 if m is None else after[j, m]) - (0 if k is None else before[i, k]) for k, m in places]
    return out


def state(page) -> dict[str, str]:
    return page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")


def side(page) -> str:
    return page.locator('[data-side][aria-pressed="true"]').get_attribute("data-side")


def drawn(page, shows: str, name: str = "difference") -> None:
    until(
        page,
        "([side, level]) => { const s = document.querySelector('[data-attnscope][data-ready]')?.shadowRoot;"
        "return s?.querySelector('[data-side][aria-pressed=true]')?.dataset.side === side && s.querySelector('main').dataset.shows === level }",
        arg=[name, shows],
    )


def test_heads_stand_by_how_much_they_changed(open_view, tuned):
    page = open_view(tuned.show())
    captions = page.locator("[data-caption]")
    names = captions.evaluate_all("all => all.map(one => one.dataset.caption)")
    values = captions.evaluate_all("all => all.map(one => Number(one.dataset.value))")
    assert names[:12] == [head.name for head in tuned.heads[:12]]
    assert {name[:2] for name in names[:12]} == {"L3"}
    np.testing.assert_allclose(values[:12], [head.change for head in tuned.heads[:12]], rtol=1e-5)
    first = tuned.heads[0]
    assert f"from {first.name} ({100 * first.change:.1f} %)" in page.locator("[data-sentence]").inner_text()
    linked = page.locator(".model-link").inner_text()
    assert f"{100 * first.largest:+.1f} %".replace("-", "\u2212") in linked


def test_every_cell_of_the_difference(open_view, texts):
    page = open_view(texts.show(level="matrix", layer=5, head=9, query="it"))
    drawn(page, "matrix")
    expected = whole(texts, 5, 9)
    count = len(texts.alignment.places)
    grid = page.locator('[data-grid="matrix"]')
    grid.focus()
    page.keyboard.press("Control+Home")
    for row in range(count):
        for column in (0, 3, 9, count - 1):
            page.keyboard.press("Home")
            for _ in range(column):
                page.keyboard.press("ArrowRight")
            cell = grid.locator('[role="gridcell"]')
            assert (int(cell.get_attribute("data-query")), int(cell.get_attribute("data-key"))) == (row, column)
            if np.isnan(expected[row, column]):
                assert cell.get_attribute("data-masked") == ""
            else:
                assert float(cell.get_attribute("data-value")) == pytest.approx(expected[row, column], abs=2e-6)
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Control+Home")
    assert "B − A" in page.locator("[data-readout]").inner_text()
    assert "A 20.9 %" in page.locator("[data-readout]").inner_text()
    assert "weight, B − A" in page.locator("[data-legends]").inner_text()


def test_every_number_of_a_query_beside_each_other(open_view, texts):
    page = open_view(texts.show(level="neuron", layer=5, head=9, query="aircraft"))
    drawn(page, "neuron")
    places = texts.alignment.places
    query = texts.alignment.merged.find("aircraft")
    i, j = places[query]
    expected = whole(texts, 5, 9)[query]
    chains = [texts.a.site(5).chain(9, i), texts.b.site(5).chain(9, j)]
    for n, (k, m) in enumerate(places):
        row = page.locator(f'[data-row-key="{n}"]')
        value = lambda column, row=row: row.locator(f'[data-col="{column}"]').get_attribute("data-value")  # noqa: E731
        assert float(value("difference")) == pytest.approx(expected[n], abs=2e-6)
        for name, chain, key in (("a", chains[0], k), ("b", chains[1], m)):
            if key is None:
                assert row.locator(f'[data-col="weight_{name}"]').inner_text() == "not there"
                continue
            assert float(value(f"weight_{name}")) == pytest.approx(float(chain.weights[0, key]), abs=2e-6)
            assert float(value(f"score_{name}")) == pytest.approx(float(chain.masked[0, key]), abs=2e-5)
    moved = 50 * np.abs(expected).sum()
    assert f"{moved:.1f} % of its weight has moved" in page.locator("[data-sentence]").inner_text()


def test_lines_are_coloured_by_what_grew_and_what_shrank(open_view, tuned):
    page = open_view(tuned.show(level="head", layer=3, head=2, query="lighter", threshold=0.0))
    drawn(page, "head")
    expected = whole(tuned, 3, 2)[tuned.alignment.merged.find("lighter")]
    lines = page.locator('[data-level="head"] path[data-query="5"][data-overlay]').evaluate_all(
        "all => all.map(one => [Number(one.dataset.key), Number(one.dataset.overlay), Number(one.dataset.value)])"
    )
    found = {int(key): value * (-1 if overlay else 1) for key, overlay, value in lines}
    assert len(found) > 5
    for key, value in found.items():
        assert value == pytest.approx(expected[key], abs=2e-6)
    assert {np.sign(value) for value in found.values()} == {1, -1}
    assert page.locator("[data-overlay-head]").all_inner_texts() == ["grew", "shrank"]


def test_the_chain_of_both_one_number_beside_the_other(open_view, texts):
    page = open_view(texts.show(level="steps", layer=5, head=9, query="it", key="flies"))
    drawn(page, "steps")
    merged, places = texts.alignment.merged, texts.alignment.places
    (i, j), (k, m) = places[merged.find("it")], places[merged.find("flies")]
    a, b = texts.a.site(5), texts.b.site(5)
    number = lambda link, column: float(  # noqa: E731
        page.locator(f'[data-pair-step="{link}"] [data-col="{column}"]').get_attribute("data-value")
    )
    for name, site, query, key in (("a", a, i, k), ("b", b, j, m)):
        assert number("dot", name) == pytest.approx(float(site.dot(9, query)[0, key]), abs=1e-4)
        assert number("score", name) == pytest.approx(float(site.scores(9, query)[0, key]), abs=2e-5)
        assert number("weight", name) == pytest.approx(float(site.weights(9, query)[0, key]), abs=2e-6)
        assert number("share", name) == pytest.approx(float(site.share(9, query)[key]), abs=2e-5)
        assert number("output", name) == pytest.approx(float(site.output(9, query).norm()), abs=1e-4)
    assert number("weight", "difference") == pytest.approx(number("weight", "b") - number("weight", "a"), abs=1e-9)
    products = b.q[9, j] * b.k[9, m] - a.q[9, i] * a.k[9, k]
    cells = page.locator('[data-pair-dim] [data-col="difference"]').evaluate_all(
        "all => all.map(c => Number(c.dataset.value))"
    )
    np.testing.assert_allclose(cells, products.numpy(), atol=1e-5)
    last = page.locator('[data-pair-dim] [data-col="sum"]').last.get_attribute("data-value")
    assert float(last) == pytest.approx(number("dot", "difference"), abs=1e-4)


def test_what_is_selected_goes_along_from_side_to_side(open_view, texts):
    page = open_view(texts.show(level="neuron", layer=2, head=8, query="flies", key="aircraft"))
    merged = texts.alignment.merged
    tokens = {"a": texts.a.tokens, "b": texts.b.tokens, "difference": merged}
    for name in ("a", "b", "difference", "b"):
        page.locator(f'[data-side="{name}"]').click()
        drawn(page, "neuron", name)
        at = state(page)
        assert at.get("side", "a") == name
        assert tokens[name][int(at["query"])] == "flies"
        assert tokens[name][int(at["key"])] == "aircraft"
        assert (at["layer"], at["head"]) == ("2", "8")
    page.go_back()
    drawn(page, "neuron", "difference")
    assert int(state(page)["query"]) == merged.find("flies")
    page.go_back()
    drawn(page, "neuron", "b")
    assert int(state(page)["query"]) == texts.b.tokens.find("flies")


def test_each_side_shows_its_own_numbers_and_its_own_receipt(open_view, texts):
    for name, trace in (("a", texts.a), ("b", texts.b)):
        page = open_view(texts.show(side=name, level="neuron", layer=5, head=9, query="it"))
        query = trace.tokens.find("it")
        weights = trace.site(5).weights(9, query)[0]
        for key in range(len(trace.tokens)):
            cell = page.locator(f'[data-row-key="{key}"] [data-col="weight"]')
            assert float(cell.get_attribute("data-value")) == pytest.approx(float(weights[key]), abs=2e-6)
        assert page.locator("[data-receipt]").get_attribute("data-receipt") == "passed"
    page = open_view(texts.show(level="neuron"))
    page.wait_for_selector("[data-receipt][data-recheck]")
    said = page.locator("[data-receipt]").inner_text()
    assert said.startswith("A ✓")
    assert "B ✓" in said
    page.locator("[data-receipt]").click()
    panel = page.locator(".receipt-panel p").all_inner_texts()
    assert sum(text.startswith("A: ") for text in panel) >= 2
    assert sum(text.startswith("B: ") for text in panel) >= 2


def test_a_token_only_one_text_has_moves_to_its_neighbour(open_view, texts):
    page = open_view(texts.show(level="neuron", layer=2, head=8, query="maintain"))
    drawn(page, "neuron")
    assert "only in A" in page.locator("[data-sentence]").inner_text()
    page.locator('[data-side="b"]').click()
    drawn(page, "neuron", "b")
    assert texts.b.tokens[int(state(page)["query"])] in ("density", ".")
    assert page.locator("[data-notices]").inner_text() == ""


def test_by_keyboard_alone(open_view, texts):
    page = open_view(texts.show(layer=5, head=9, query="it"))
    page.locator('[data-side="a"]').focus()
    page.keyboard.press("Enter")
    drawn(page, "model", "a")
    focused = "document.querySelector('[data-attnscope]').shadowRoot.activeElement?.dataset.side"
    assert page.evaluate(focused) == "a", "the keyboard goes on where it was"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    drawn(page, "model", "difference")
    page.locator("[data-grid]").first.focus()
    page.keyboard.press("Enter")
    drawn(page, "head")
    page.keyboard.press("Enter")
    drawn(page, "neuron")
    grid = page.locator('[data-grid="pair"]')
    grid.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.locator("[data-readout]").inner_text().startswith("weight, B − A of")
    active = grid.get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("data-col") == "difference"
    page.keyboard.press("Enter")
    assert state(page)["key"] == "1"
    page.keyboard.press("Enter")
    drawn(page, "steps")
    page.keyboard.press("Escape")
    drawn(page, "neuron")
    page.keyboard.press("Escape")
    assert state(page).get("key", "") == ""
    page.keyboard.press("Escape")
    drawn(page, "head")


def test_sorted_by_change(open_view, texts):
    page = open_view(texts.show(level="neuron", layer=5, head=9, query="it"))
    page.locator('[data-tool="order"]').click()
    values = page.locator('[data-col="difference"]').evaluate_all(
        "all => all.map(c => Math.abs(Number(c.dataset.value)))"
    )
    assert len(values) == len(texts.alignment.places)
    assert values == sorted(values, reverse=True)


def test_saved_as_python_and_as_a_picture(open_view, texts):
    view = texts.show(level="neuron", layer=5, head=9, query="it", key="flies")
    page = open_view(view)
    page.locator('[data-tool="python"]').click()
    assert page.locator("[data-python]").input_value() == view.code
    page.keyboard.press("Escape")
    for level in ("neuron", "steps", "model", "head"):
        page.locator(f'[data-level-switch="{level}"]').click()
        drawn(page, level)
        page.locator('[data-tool="save"]').click()
        with page.expect_download() as download:
            page.locator('[data-save="svg"]').click()
        text = download.value.path().read_text()
        assert text.startswith(("<svg", "<?xml"))
        page.keyboard.press("Escape")


def test_the_same_trace_twice_is_drawn_as_no_change(open_view, demo_trace):
    page = open_view(attnscope.compare(demo_trace, demo_trace).show(level="neuron", layer=1, head=2, query="it"))
    assert "attends alike in A and in B" in page.locator("[data-sentence]").inner_text()
    values = page.locator('[data-col="difference"]').evaluate_all("all => all.map(c => Number(c.dataset.value))")
    assert len(values) == 24
    assert set(values) == {0}


def test_weights_alone(open_view):
    words = "one two three four five".split()
    weights = [torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(s)).softmax(-1) for s in (1, 2)]
    pair = attnscope.compare(*(attnscope.Trace.from_attentions([one], words) for one in weights))
    page = open_view(pair.show(level="neuron", layer=0, head=1, query=2))
    for key in range(5):
        cell = page.locator(f'[data-row-key="{key}"] [data-col="difference"]')
        change = float(weights[1][1, 2, key] - weights[0][1, 2, key])
        assert float(cell.get_attribute("data-value")) == pytest.approx(change, abs=1e-6)
    page.locator('[data-level-switch="steps"]').click()
    drawn(page, "steps")
    assert page.locator('[data-pair-step="dot"] [data-col="a"]').inner_text() == "–"


def test_an_address_that_does_not_fit_is_said(open_view, texts, demo_trace):
    page = open_view(texts.show(), hash="#level=neuron&layer=2&head=8&query=999&side=nowhere")
    notices = page.locator("[data-notices]").inner_text()
    assert "side=nowhere" in notices
    assert "Query 999" in notices
    page = open_view(demo_trace.show(layer=2, head=8, query="it"), hash="#level=neuron&layer=2&head=8&query=8&side=b")
    assert "no sides" in page.locator("[data-notices]").inner_text()
    assert page.locator("[data-side]").count() == 0


def test_the_widget_switches_sides_with_its_traits(new_page, texts):
    view = texts.show(level="neuron", layer=2, head=8, query="flies")
    encoded = lambda data: base64.b64encode(data).decode()  # noqa: E731
    traits = {name: list(v) if isinstance(v, tuple) else v for name, v in view.traits().items()}
    page = new_page()
    blocks, others = ([encoded(one.blocks[0].data)] for one in (view, view.other))
    page.evaluate(PLAY, [asset("widget.js"), blocks, others, encoded(view.pair.difference), traits])
    page.wait_for_selector("[data-attnscope][data-ready]")
    assert side(page) == "difference"
    page.evaluate("() => { play.values.side = 'b'; play.fire('change:side'); }")
    drawn(page, "neuron", "b")
    assert texts.b.tokens[page.evaluate("play.values.query")] == "flies"
    page.locator('[data-side="a"]').click()
    drawn(page, "neuron", "a")
    until(page, "play.values.side === 'a'")
    assert texts.a.tokens[page.evaluate("play.values.query")] == "flies"
    page.locator('[data-side="difference"]').click()
    drawn(page, "neuron")
    page.locator('[data-crumb="layer"]').select_option(index=5)
    until(page, "play.sent.length === 2")
    assert page.evaluate("play.sent.map(one => one.side ?? 'a').sort()") == ["a", "b"]
    assert len(set(page.evaluate("play.sent.map(one => one.id)"))) == 2


@pytest.mark.source
@pytest.mark.parametrize("level", ["model", "head", "matrix", "neuron", "steps"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(open_view, texts, level, dark):
    page = open_view(texts.show(level=level, layer=5, head=9, query="it", key="flies"), dark=dark)
    drawn(page, level)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate(
        "async rules => (await axe.run(document, {runOnly: rules})).violations.map(v => `${v.id}: ${v.nodes[0].target.flat()}`)",
        rules,
    )
    assert found == []


@pytest.mark.parametrize("width", [700, 400])
@pytest.mark.parametrize("level", ["model", "head", "matrix", "neuron", "steps"])
def test_nothing_is_lost_sideways(open_view, texts, width, level):
    page = open_view(texts.show(level=level, layer=5, head=9, query="it"), width=width, height=900)
    drawn(page, level)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    scope = page.evaluate(
        "(() => { const m = document.querySelector('[data-attnscope]').shadowRoot.querySelector('main'); return [m.scrollWidth, m.clientWidth] })()"
    )
    assert scope[0] <= scope[1]


def test_special_tokens_are_dimmed_in_the_table_of_a_difference(open_view, texts):
    page = open_view(texts.show(level="neuron"))
    assert page.locator(".pair-row.dimmed").count() == 0
    page.locator('[data-tool="dim"]').check()
    dimmed = page.locator(".pair-row.dimmed .tok").all_inner_texts()
    assert dimmed
    assert set(dimmed) <= {"[CLS]", "[SEP]"}
