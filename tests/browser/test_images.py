"""The picture beside the tokens: a patch picked by click and by keyboard, and the weights of the query painted over it."""

from dataclasses import replace
from typing import Any

import pytest

import attnscope
from browser_tools import saved, settled, url_state
from made_traces import pictured

ROWS, COLUMNS = 3, 5
SVG = "{http://www.w3.org/2000/svg}"
ALPHA = """() => { const canvas = document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-pane="weights"] canvas');
  const {width, height} = canvas, {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
  return [width, height, Array.from(data).filter((_, i) => i % 4 === 3)]; }"""


def patch(page, pane: str, row: int, column: int) -> None:
    box = page.locator(f'[data-pane="{pane}"]').bounding_box()
    x = box["x"] + box["width"] * (column + 0.5) / COLUMNS
    page.mouse.click(x, box["y"] + box["height"] * (row + 0.5) / ROWS)
    settled(page)


@pytest.mark.parametrize("level", ["model", "head", "matrix", "neuron", "steps"])
def test_a_patch_is_picked_and_its_weights_are_painted(open_view, level: str) -> None:
    trace = pictured()
    page = open_view(trace.show(level=level, layer=0, head=1, query=3))
    patch(page, "picture", 1, 2)
    assert int(url_state(page)["query"]) == 2 + COLUMNS + 2
    page.locator('[data-pane="picture"]').focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    settled(page)
    query = 2 + 2 * COLUMNS + 1
    assert int(url_state(page)["query"]) == query
    page.keyboard.press("ArrowDown")  # the lowest row
    settled(page)
    assert int(url_state(page)["query"]) == query
    width, height, alphas = page.evaluate(ALPHA)
    assert (width, height) == (COLUMNS, ROWS)
    site = trace.sites[0]
    row = site.weights(1)[query]
    most = max(float(row.max()), float(site.share(1, query).max()))
    end = next(end for end in (0.01, 0.02, 0.05, 0.1, 0.2, 1) if most <= end)
    assert alphas == pytest.approx([255 * weight / end for weight in row[2:].tolist()], abs=1)


def test_a_key_is_pinned_in_the_weights(open_view) -> None:
    page = open_view(pictured().show(level="neuron", layer=0, head=1, query=3))
    patch(page, "weights", 2, 4)
    assert int(url_state(page)["key"]) == 2 + 2 * COLUMNS + 4
    ribbon = page.locator("[data-ribbon]").inner_text()
    assert "[CLS]" in ribbon
    assert "[REG 0]" in ribbon
    assert "patch 0,0" not in ribbon, "patches stand in the picture"


def test_without_pixels_the_grid_alone_is_drawn(open_view) -> None:
    trace = pictured()
    bare = replace(trace, tokens=replace(trace.tokens, grids=(replace(trace.tokens.grids[0], png=b""),)))
    page = open_view(bare.show(level="head", layer=0, head=1, query=3))
    assert page.locator("[data-pane] img").count() == 0
    assert "patches away on average" in page.locator("[data-sentence]").inner_text()
    patch(page, "picture", 0, 4)
    assert int(url_state(page)["query"]) == 2 + 4


def weights_of(group: Any) -> dict[int, float]:
    return {
        int(one.get("data-patch")): float(one.get("data-weight"))
        for one in group.iter(f"{SVG}rect")
        if one.get("data-patch")
    }


@pytest.mark.parametrize("level", ["model", "head", "matrix", "neuron", "steps"])
def test_a_saved_picture_holds_the_image(open_view, level: str) -> None:
    trace = pictured()
    root = saved(open_view(trace.show(level=level, layer=0, head=1, query=3)))
    seen, weights = (group for group in root.findall(f"{SVG}g") if group.find(f"{SVG}image") is not None)
    assert [one.get("data-marked") for one in seen.iter(f"{SVG}rect") if one.get("data-marked")] == ["3"]
    row = trace.sites[0].weights(1)[3].tolist()
    assert weights_of(weights) == pytest.approx({key: row[key] for key in range(2, 2 + ROWS * COLUMNS)}, abs=1e-6)
    assert float(root.get("height")) > float(root.find(f"{SVG}svg").get("height"))


@pytest.mark.parametrize("level", ["model", "head", "neuron"])
def test_a_saved_comparison_holds_both_images(open_view, level: str) -> None:
    one = pictured()
    site = one.sites[0]
    other = replace(one, sites=(replace(site, q=site.q.flip(1)), *one.sites[1:]))
    root = saved(open_view(attnscope.compare(one, other).show(level=level, layer=0, head=1, query=3)))
    panes = [group for group in root.findall(f"{SVG}g") if group.find(f"{SVG}image") is not None]
    said = [pane.find(f"{SVG}text").text for pane in panes]
    assert [text[:2] for text in said] == ["A:", "A:", "B:", "B:"]
    a, b = (trace.sites[0].weights(1)[3] for trace in (one, other))
    change = (b - a).tolist()
    for pane in (panes[1], panes[3]):
        assert weights_of(pane) == pytest.approx({key: change[key] for key in range(2, 2 + ROWS * COLUMNS)}, abs=1e-5)
