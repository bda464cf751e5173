"""Reaching things without a mouse: skip links, level keys, the search in the text, explanations on tap and focus, tables as CSV."""

import csv
import io

import pytest

from attnscope.views.levels import ALWAYS_THERE as LEVELS
from browser_tools import next_draw, settled, url_state
from levels_in import levels_there, switch_to
from made_traces import made_trace

FOCUS = """() => { const a = document.querySelector('[data-attnscope]').shadowRoot.activeElement;
  return a && (a.dataset.skip ?? ('ribbon' in a.dataset ? 'ribbon' : a.closest('[data-level]') ? 'level' : a.tagName)); }"""


def tab_to(page, target: str) -> None:
    """Press Tab until a skip link to the target has the focus, at most three times."""
    for _ in range(3):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUS) == target:
            return
    raise AssertionError(f"no link to the {target} among the first three stops")


@pytest.mark.parametrize("level", LEVELS)
def test_text_and_picture_are_within_three_tab_stops(open_view, demo_trace, level):
    page = open_view(demo_trace.show(layer=2, head=8, query="it", level=level))
    tab_to(page, "text")
    link = page.locator('[data-skip="text"]').bounding_box()
    assert link["width"] > 80, "it is seen while it has the focus"
    page.keyboard.press("Enter")
    assert page.evaluate(FOCUS) == "ribbon"
    with next_draw(page):
        page.keyboard.press("ArrowRight")
    assert url_state(page)["query"] == "8"
    page.reload()
    page.wait_for_selector("[data-attnscope][data-ready]")
    tab_to(page, "level")
    page.keyboard.press("Enter")
    assert page.evaluate(FOCUS) == "level"
    assert page.locator("main").get_attribute("data-shows") == level, "Enter was the link's"


def test_digits_go_to_the_levels(open_view, demo_trace):
    page = open_view(demo_trace.show(layer=2, head=8, query="it", level="neuron"))
    for digit, level in enumerate(LEVELS, 1):
        page.keyboard.press(str(digit))
        settled(page)
        assert page.locator("main").get_attribute("data-shows") == level
    page.keyboard.press("7")
    assert page.locator("main").get_attribute("data-shows") == LEVELS[-1]
    page.go_back()
    settled(page)
    assert page.locator("main").get_attribute("data-shows") == LEVELS[-2], "a step of the browser's history"
    page.keyboard.press("/")
    page.keyboard.type("1")
    assert page.locator("main").get_attribute("data-shows") == LEVELS[-2], "in the search a digit is a digit"


def test_words_are_found_far_away_in_a_long_text(open_view):
    page = open_view(made_trace(heads=1, kv_heads=1, queries=1409, head_size=3, layers=1).show(query=5, level="neuron"))
    found, status = page.locator("[data-find]"), page.locator("[data-found]")
    page.locator("[data-ribbon]").focus()
    page.keyboard.press("/")
    page.keyboard.type("WORD1301")
    assert status.inner_text() == "1 of 1"
    settled(page)
    token = page.locator('[data-token="1301"]')
    flow, box = page.locator("[data-ribbon]").bounding_box(), token.bounding_box()
    assert flow["y"] <= box["y"] <= box["y"] + box["height"] <= flow["y"] + flow["height"] + 1, "it is in sight"
    assert "sought" in token.get_attribute("class")
    assert page.locator(".crumb-query .crumb-value").inner_text() == "word5", "looked at, not yet chosen"
    with next_draw(page):
        page.keyboard.press("Enter")
    assert url_state(page)["query"] == "1301"
    found.fill("word9")
    total = int(status.inner_text().split(" of ")[1])
    assert total == sum(f"word{i}".startswith("word9") for i in range(1409))
    found.press("Escape")
    assert not found.is_visible()
    assert page.locator("main").get_attribute("data-shows") == "neuron", "Escape closed the search alone"
    assert page.evaluate(FOCUS) == "ribbon"
    assert page.locator(".token.found").count() == 0


def test_two_texts_are_searched_apart(open_view):
    import torch

    import attnscope

    q = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1))
    k, v = (torch.randn(2, 11, 7, generator=torch.Generator().manual_seed(i)) for i in (2, 3))
    trace = attnscope.Trace.from_qkv(q, k, v, tokens=[f"source{i}" for i in range(11)])
    page = open_view(trace.show(head=1, query=3, level="neuron"))
    page.locator('[data-ribbon="key"]').focus()
    page.keyboard.press("/")
    page.keyboard.type("source10")
    with next_draw(page):
        page.keyboard.press("Enter")
    assert (url_state(page)["key"], url_state(page)["query"]) == ("10", "3")


TIP = "() => { const t = document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-tip]'); return t.hidden ? null : t.textContent; }"
TITLES = """() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('[title]')]
  .filter(e => e.getAttribute('title') !== e.getAttribute('aria-label')).map(e => e.outerHTML.slice(0, 80))"""


def test_nothing_is_explained_by_a_title_alone(open_view, demo_trace, texts):
    for view in (demo_trace.show(layer=2, head=8, query="it"), texts.show(layer=2, head=8, query=7)):
        page = open_view(view)
        for level in levels_there(page):
            switch_to(page, level)
            assert page.evaluate(TITLES) == [], level
            unreachable = page.evaluate(
                """() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('[data-explained]')]
                     .filter(e => e.tabIndex < 0 && !e.matches('label:has(input)') && !e.parentElement.querySelector(':scope > [tabindex="0"]'))
                     .map(e => e.outerHTML.slice(0, 80))"""
            )
            assert unreachable == [], f"{level}: what explains itself can have the focus, or one of its group can"


def test_explanations_open_on_focus_and_on_tap(browser, open_view, demo_trace, tmp_path):
    page = open_view(demo_trace.show(layer=2, head=8, query="it", level="neuron"))
    heading = page.locator('[data-heading="share"]')
    heading.focus()
    assert "62.8 %" in page.evaluate(TIP)
    assert heading.evaluate("e => e.getRootNode().getElementById(e.getAttribute('aria-describedby')).textContent") == (
        page.evaluate(TIP)
    )
    page.keyboard.press("Escape")
    assert page.evaluate(TIP) is None
    assert "pinned key" in page.locator(".lens-title").inner_text(), "Escape closed the explanation alone"
    page.keyboard.press("Enter")
    assert "62.8 %" in page.locator("[data-explain]").inner_text()
    path = tmp_path / "touch.html"
    path.write_text(demo_trace.show(layer=2, head=8, query="it", level="neuron").html)
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone = context.new_page()
    phone.goto(path.as_uri())
    phone.wait_for_selector("[data-attnscope][data-ready]")
    phone.locator('[data-level-switch="neuron"]').tap()
    assert "number by number" in phone.evaluate(TIP)
    phone.locator('[data-heading="weight"]').tap()
    assert phone.evaluate(TIP) is None
    assert "52.7 %" in phone.locator("[data-explain]").inner_text()
    phone.locator('[data-row-key="9"] [data-col="token"]').tap()
    assert "pinned key higher" in phone.locator(".lens-title").inner_text()
    context.close()


def saved(page) -> list[list[str]]:
    with page.expect_download() as download:
        page.locator("[data-csv]").click()
    name = download.value.suggested_filename
    assert name.startswith("attnscope-")
    assert name.endswith(".csv")
    return list(csv.reader(io.StringIO(download.value.path().read_bytes().decode("utf-8"), newline="")))


def test_a_data_table_is_saved_whole_and_exact(open_view):
    trace = made_trace(queries=61, head_size=5, spread=2.0)
    page = open_view(trace.show(layer=1, head=2, query=40, key=7, level="neuron"))
    page.locator('[data-tool="table"]').click()
    assert page.locator("[data-figures] tbody tr").count() == 50, "a page of it"
    names, *rows = saved(page)
    site = trace.site(1)
    assert [row[0] for row in rows] == [str(i) for i in range(61)]
    assert [row[1] for row in rows] == [f"word{i}" for i in range(61)]
    column = {name: [float(row[i]) for row in rows] for i, name in enumerate(names) if name in ("q · k", "weight")}
    assert column["weight"] == pytest.approx(site.weights(2, 40)[0].tolist(), rel=1e-5, abs=1e-9)
    assert column["q · k"] == pytest.approx(site.dot(2, 40)[0].tolist(), rel=1e-5, abs=1e-5)
    page.get_by_text("the pair, every dimension").click()
    names, *rows = saved(page)
    assert [float(row[names.index("k")]) for row in rows] == pytest.approx(site.k[2, 7].tolist(), rel=1e-5)


@pytest.mark.parametrize("level", ["head", "matrix"])
def test_the_tables_of_a_head_are_saved(open_view, demo_trace, level):
    page = open_view(demo_trace.show(layer=2, head=8, query="it", level=level))
    page.locator('[data-tool="table"]').click()
    names, *rows = saved(page)
    weights = demo_trace.site(2).weights(8)
    assert len(rows) == 24
    found = [float(row[names.index("weight")]) for row in rows] if level == "head" else [float(x) for x in rows[7][1:]]
    assert found == pytest.approx(weights[7].tolist(), abs=1e-6)


def test_the_statistics_of_all_heads_are_saved(open_view, demo_trace):
    page = open_view(demo_trace.show(level="model"))
    page.locator('[data-tool="table"]').click()
    names, *rows = saved(page)
    assert len(rows) == 72, "every head, not a page of them"
    assert len({row[0] for row in rows}) == 72
    assert all(0 <= float(row[names.index("largest weight")]) <= 1 for row in rows)


def test_a_slim_cell_shows_the_readout_at_its_edge(open_view, demo_trace):
    """On a phone the rest of the foot is at the end of the page; what a tap says stays in sight."""
    page = open_view(demo_trace.show(layer=2, head=8, query="it", level="neuron"), width=390, height=844)
    page.locator('[data-row-key="9"] [data-col="weight"]').click()
    readout = page.locator("[data-readout]")
    assert "higher (key 9) · weight 18." in readout.inner_text()
    box = readout.bounding_box()
    assert box["y"] + box["height"] <= 844
    switch_to(page, "steps")
    assert page.locator("[data-readout]").bounding_box()["y"] < 844
