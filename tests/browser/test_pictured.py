"""A head that a page leaves out: its coarse picture at the grid, no number that the page does not have, and the way to the rest."""

from itertools import pairwise

import pytest
import torch

from attnscope.tracing.masks import MaskRule
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace
from browser_tools import until

LAYERS, H, T, D = 3, 5, 211, 61
SHOWS = "document.querySelector('[data-attnscope]').shadowRoot.querySelector('main').dataset.shows"


@pytest.fixture(scope="module")
def trace() -> Trace:
    generator = torch.Generator().manual_seed(13)
    sites = []
    for layer in range(LAYERS):
        q, k, v = (torch.randn(H, T, D, generator=generator) * 1.7 for _ in range(3))
        sites.append(Site(q, k, v, D**-0.5, mask=MaskRule(upper=0), layer=layer))
    return Trace(tuple(sites), Tokens(tuple(f"w{n}" for n in range(T))))


def test_its_picture_stands_in_for_its_numbers(open_view, trace):
    view = trace.show("head", layer=1, head=2, query=203, max_mb=0.4)
    assert view._plan.pictures.side == 96
    page = open_view(view, height=900)
    page.locator('[data-crumb="layer"]').select_option(index=2)
    until(page, f"{SHOWS} === 'matrix'")
    notice = page.locator(".notices, [data-notices]").first.inner_text()
    assert "Layer 2 is not in this page" in notice
    assert "max_mb" in notice
    assert "coarse picture of 96 × 96 cells" in page.locator("[data-sentence]").inner_text()
    assert "up to 3 × 3 pairs" in page.locator("[data-note=picture]").inner_text()
    assert not page.locator("[data-ribbon]").first.is_visible(), "no weight of the query is known"
    assert not page.locator("[data-tool=table]").is_visible()
    grid = page.locator("[data-grid=matrix]")
    grid.focus()
    weights = trace.sites[2].weights(2)
    page.keyboard.press("End")
    page.keyboard.press("Control+End")
    cell = page.locator("[role=gridcell]").first
    for key in ("ArrowUp", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
        row, column = int(cell.get_attribute("data-query")), int(cell.get_attribute("data-key"))
        edges = [n * T // 96 for n in range(97)]
        rows, columns = (next(slice(a, b) for a, b in pairwise(edges) if a <= at < b) for at in (row, column))
        expected = round(float(weights[rows, columns].max()) * 253) / 253 if columns.start <= rows.stop - 1 else -1
        assert float(cell.get_attribute("data-value")) == pytest.approx(expected, abs=1e-6)
        assert cell.get_attribute("data-weight") is None
    page.locator('[data-crumb="layer"]').select_option(index=1)
    until(
        page,
        "!!document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-grid=matrix][data-complete]')",
    )
    assert page.locator("[data-note=picture]").count() == 0
    assert page.locator("[data-ribbon]").first.is_visible()


def test_an_address_of_a_level_with_numbers_opens_the_picture_and_says_why(open_view, trace):
    page = open_view(trace.show("head", layer=1, head=2, query=203, max_mb=0.4), hash="#level=neuron&layer=0&head=3")
    until(page, f"{SHOWS} === 'matrix'")
    assert "Layer 0 is not in this page" in page.locator(".notices, [data-notices]").first.inner_text()
    page.keyboard.press("Escape")
