"""Every level in both themes: axe-core finds nothing, everything can be reached, nothing is too small, text can grow."""

import pytest

from attnscope.tracing.tokens import Tokens
from attnscope.views.levels import ALWAYS_THERE as LEVELS
from levels_in import levels_there, open_level, switch_to
from made_traces import made_trace, pictured
from page_checks import violations

pytestmark = pytest.mark.source  # axe-core lies among the front end's development packages


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("level", LEVELS)
def test_axe_finds_nothing(open_view, demo_trace, level, dark):
    page = open_level(open_view, demo_trace.show(level="neuron", layer=2, head=8, query="it"), level, dark=dark)
    assert violations(page) == []


@pytest.mark.parametrize("level", LEVELS)
def test_axe_finds_nothing_where_only_weights_are_known(open_view, level):
    """Plain weights from anywhere: no model's name, no vectors."""
    import torch

    import attnscope

    weights = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(1)).softmax(-1)
    trace = attnscope.Trace.from_attentions(list(weights), [f"word{i}" for i in range(7)])
    assert violations(open_level(open_view, trace.show(level="neuron", layer=1, head=2, query=3), level)) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_beside_an_image(open_view, dark):
    page = open_view(pictured().show(level="neuron", layer=0, head=1, query=9), dark=dark)
    assert violations(page) == []


def test_axe_finds_nothing_in_a_panel(open_view, demo_trace):
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))
    for tool in ("help", "python", "save"):
        page.locator(f'[data-tool="{tool}"]').click()
        page.locator(f'[data-tool="{tool}"][aria-expanded="true"]').wait_for()
        assert violations(page) == [], tool


def test_axe_finds_nothing_across_two_texts_and_among_notices(open_view, demo):
    import torch

    import attnscope

    q = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1))
    k, v = (torch.randn(2, 11, 7, generator=torch.Generator().manual_seed(i)) for i in (2, 3))
    trace = attnscope.Trace.from_qkv(q, k, v, tokens=[f"source{i}" for i in range(11)])
    page = open_view(trace.show(level="neuron", head=1, query=3), hash="#layer=77")
    assert page.locator("[data-notices]").inner_text()
    assert violations(page) == []


def test_axe_is_asked(open_view, demo_trace):
    """The checks above can fail."""
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))
    page.evaluate(
        """() => { const root = document.querySelector('[data-attnscope]').shadowRoot;
             root.querySelector('[data-tool="theme"]').removeAttribute('aria-label');
             root.querySelector('[data-sentence]').style.color = '#ccc'; }"""
    )
    found = " ".join(violations(page))
    assert "select-name" in found
    assert "color-contrast" in found


SMALL = """() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('button, select, input')]
  .filter(e => e.getClientRects().length && !e.closest('[data-level]'))
  .map(e => [e.dataset.tool ?? e.textContent, (e.closest('label') ?? e).getBoundingClientRect()])
  .filter(([, box]) => box.width < 23.99 || box.height < 23.99).map(([name, box]) => [name, box.width, box.height])"""


def test_the_frames_targets_are_large_enough(open_view, demo_trace):
    """WCAG 2.2, 2.5.8: 24 by 24 pixels; what stands within a level is for axe-core, which knows the exception for spacing."""
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))
    for level in levels_there(page):
        switch_to(page, level)
        page.locator('[data-tool="python"]').click()
        assert page.evaluate(SMALL) == [], level
        page.keyboard.press("Escape")


def test_at_twice_the_size_nothing_is_lost_sideways(open_view, demo_trace):
    """200 % zoom of a window 1280 pixels wide is one of 640 (WCAG 1.4.4, 1.4.10)."""
    view = demo_trace.show(level="neuron", layer=2, head=8, query="it")
    page = open_view(view, width=640, height=400, scale=2)
    main = page.locator("main")
    for level in levels_there(page):
        switch_to(page, level)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, level
        assert main.evaluate("e => e.scrollWidth - e.clientWidth") <= 0, level
        for name in ("help", "save", "python", "theme"):
            box = page.locator(f'[data-tool="{name}"]').bounding_box()
            assert 0 <= box["x"] <= box["x"] + box["width"] <= 640, level


def test_the_focus_can_be_seen(open_view, demo_trace):
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))
    unseen = []
    for _ in range(45):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """() => { const root = document.querySelector('[data-attnscope]').shadowRoot, a = root.activeElement;
                 if (!a) return null;
                 const outlined = e => e && getComputedStyle(e).outlineStyle !== 'none' && parseFloat(getComputedStyle(e).outlineWidth) >= 2;
                 // a menu lies invisible over its words, a table marks its active cell
                 return [a.dataset.tool ?? a.className ?? a.tagName, outlined(a) || outlined(a.closest('.crumb, .menu')) || outlined(a.querySelector('[data-active], .walked'))]; }"""
        )
        if seen and not seen[1]:
            unseen.append(seen[0])
    assert unseen == []


def test_nothing_moves_for_who_asked_for_it(new_page, demo_trace, tmp_path):
    path = tmp_path / "still.html"
    path.write_text(demo_trace.show(level="neuron", layer=2, head=8, query="it").html)
    page = new_page()
    page.emulate_media(reduced_motion="reduce")
    page.goto(path.as_uri())
    page.wait_for_selector("[data-attnscope][data-ready]")
    page.locator('[data-tool="help"]').click()
    assert page.locator("[data-panel]").evaluate("e => getComputedStyle(e).animationName") == "none"
    page.emulate_media(reduced_motion="no-preference")
    assert page.locator("[data-panel]").evaluate("e => getComputedStyle(e).animationName") != "none"


def test_right_to_left_words_keep_their_own_direction(open_view):
    words = HEBREW
    trace = made_trace(queries=7, tokens=Tokens(words))
    page = open_view(trace.show(level="neuron", layer=0, head=0, query=1))
    for index, direction in ((0, "rtl"), (3, "ltr"), (5, "rtl")):
        token = page.locator(f'[data-token="{index}"] .t')
        assert token.inner_text() == words[index]
        assert token.evaluate("e => getComputedStyle(e).direction") == direction
        assert token.evaluate("e => getComputedStyle(e).unicodeBidi") == "isolate"
    order = [page.locator(f'[data-token="{i}"]').bounding_box()["x"] for i in range(7)]
    assert order[0] > order[1] > order[3] > order[5], "a text that begins from the right runs from the right"


HEBREW = ("שלום", "עולם", "(", "abc", ")", "مرحبا", "12")


@pytest.mark.parametrize("side", ["query", "key"])
def test_right_to_left_words_beside_the_lines(open_view, side):
    page = open_level(
        open_view, made_trace(queries=7, tokens=Tokens(HEBREW)).show(level="neuron", layer=0, head=0, query=1), "head"
    )
    for index, direction in ((0, "rtl"), (3, "ltr"), (5, "rtl")):
        token = page.locator(f'[data-{side}-list] [data-{side}="{index}"] .tok')
        assert token.inner_text() == HEBREW[index]
        assert token.evaluate("e => getComputedStyle(e).direction") == direction


def test_numbers_stay_beside_right_to_left_words(open_view):
    """A number after a Hebrew word would else be drawn to its left: the word is isolated in every line of plain text."""
    view = made_trace(queries=7, tokens=Tokens(HEBREW)).show(level="neuron", layer=0, head=0, query=1, key=0)
    page = open_level(open_view, view, "head")
    page.locator('[data-query-list] [data-query="1"]').hover()
    assert "“\u2068עולם\u2069” at 1" in page.locator("[data-readout]").inner_text()
    switch_to(page, "matrix")
    page.locator("[data-grid=matrix]").focus()
    page.keyboard.press("ArrowLeft")
    assert "“\u2068עולם\u2069” at 1" in page.locator("[data-readout]").inner_text()
    switch_to(page, "steps")
    assert "\u2068עולם\u2069 at 1" in page.locator('[data-level="steps"]').inner_text()


def test_rows_beside_the_lines_can_be_touched(open_view, demo):
    import attnscope

    text = "one two three four five six seven eight nine ten " * 5
    page = open_level(open_view, attnscope.show(*demo, text, layer=0, head=0, level="neuron"), "head")
    assert page.locator("[data-key-list] [data-slot]").first.bounding_box()["height"] >= 24
