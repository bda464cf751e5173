"""Widths, themes and sizes: nothing scrolls sideways, strips stay whole pixels, contrast holds."""

import itertools

import pytest

from made_traces import made_trace
from page_checks import CONTRAST, sideways

STRIPS = """() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('[data-row-key] canvas')].map(c => {
  const box = c.getBoundingClientRect(); return {css: box.width, device: c.width, ratio: c.width / box.width};
})"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 700])
def test_contrast_and_width(open_view, demo_trace, tmp_path, width, dark):
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"), width=width, dark=dark)
    assert sideways(page) <= 0
    assert page.evaluate(CONTRAST) == []
    picture = tmp_path / f"neuron-{'dark' if dark else 'light'}-{width}.png"
    page.screenshot(path=picture)  # for people: pytest keeps the folder of the last runs
    assert len(set(picture.read_bytes())) > 100


def test_contrast_is_measured(open_view, demo_trace):
    """The check above can fail."""
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))
    page.evaluate(
        "document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-sentence]').style.color = '#bbb'"
    )
    assert page.evaluate(CONTRAST)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("head_size", [32, 64, 128, 256, 768])
def test_strips(open_view, head_size, scale):
    trace = made_trace(heads=2, kv_heads=2, queries=7, head_size=head_size, layers=1)
    page = open_view(trace.show(level="neuron", layer=0, head=1, query=3), scale=scale)
    strips = page.evaluate(STRIPS)
    assert strips
    for strip in strips:
        assert strip["css"] <= 224.01
        assert strip["ratio"] == pytest.approx(scale, abs=0.02)
    heading = page.locator('[data-heading="k"]').locator("..").inner_text()
    assert ("per cell" in heading) == (head_size > 112 * scale)
    seen = set()
    while True:
        dims = page.evaluate(
            "() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('[data-dim]')].map(c => Number(c.dataset.dim))"
        )
        seen |= set(dims)
        forth = page.locator('[data-lens-page="next"]')
        if not forth.is_visible() or forth.is_disabled():
            break
        forth.click()
    assert seen == set(range(head_size)), "the lens pages through all dimensions"
    assert sideways(page) <= 0


def test_128_dimensions_at_700_pixels(open_view):
    trace = made_trace(heads=2, kv_heads=2, queries=17, head_size=128, layers=1)
    page = open_view(trace.show(layer=0, head=1, query=3, level="neuron"), width=700)
    for vector in (None, "k", "product", "v"):
        if vector:
            page.locator(f'[data-unfold="{vector}"]').click()
        assert sideways(page) <= 0
        for column in ("token", "weight", "share", vector or "score"):
            box = page.locator(f'[data-row-key="0"] [data-col="{column}"]').bounding_box()
            assert box
            assert box["width"] > 0
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 700
        strips = [page.locator(f'[data-row-key="0"] [data-col="{c}"]').count() for c in ("k", "product", "v")]
        assert sum(strips) == bool(vector), "vectors are folded, and unfold one at a time"


def test_headings_do_not_run_into_each_other(open_view, demo_trace):
    for width in (1280, 1000, 899, 700, 560):
        page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"), width=width)
        boxes = page.locator("[data-heading]").evaluate_all(
            "hs => hs.map(h => { const r = document.createRange(); r.selectNodeContents(h); const b = r.getBoundingClientRect(); return [b.left, b.right, b.top]; })"
        )
        boxes = sorted(box for box in boxes if box[1] > box[0])
        for (_, right, top), (left, _, other) in itertools.pairwise(boxes):
            assert abs(top - other) > 12 or right <= left + 1, (width, boxes)


def test_long_texts_stay_light(open_view):
    trace = made_trace(heads=2, kv_heads=2, queries=512, head_size=32, layers=2)
    page = open_view(trace.show(level="neuron", layer=0, head=1, query=100))
    for fold in range(page.locator("[data-fold]").count()):
        page.locator("[data-fold] [data-col]").nth(fold).click()
    count = page.evaluate("""() => { let n = document.querySelectorAll('*').length;
      for (const r of document.querySelectorAll('[data-attnscope]')) n += r.shadowRoot.querySelectorAll('*').length; return n; }""")
    assert count < 5000


def test_reduced_motion_and_themes(open_view, demo_trace):
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it", theme="dark"))
    dark = page.locator("main.scope").evaluate("e => getComputedStyle(e).backgroundColor")
    page.locator('[data-tool="theme"]').select_option("light")
    assert page.locator("main.scope").evaluate("e => getComputedStyle(e).backgroundColor") != dark
