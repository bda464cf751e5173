"""What a page does with damaged data, hostile tokens, and numbers that are none."""

import re
from dataclasses import replace

import pytest
import torch

import attnscope
from attnscope.tracing.tokens import Tokens
from browser_tools import next_draw
from made_traces import made_trace

HOSTILE = (
    "</script>",
    "<img src=x onerror=alert(1)>",
    "\u202eabc",
    "👩‍🚀",
    "x" * 100,
    "a\nb",
    "'\"&<>",
    "{{7*7}}",
    "\u0000",
    "[CLS]",
    "עברית",
)


def test_hostile_tokens_are_text(open_view):
    words = tuple(range(len(HOSTILE)))
    trace = made_trace(queries=11, tokens=Tokens(HOSTILE, words=words, word_text=HOSTILE))
    for width in (1280, 700):
        page = open_view(trace.show(level="neuron", layer=0, head=0, query=1), width=width)
        assert page.locator("img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        text = page.locator("main").inner_text()
        assert "</script>" in text
        assert "onerror=alert(1)" in text
        assert "\u202e" not in text, "direction characters are spelled out"


BLOCK = re.compile(r"(data-attnscope-block[^>]*>)([A-Za-z0-9+/=]+)(</script>)")


def damage(page: str, how: str, which: slice = slice(None)) -> str:
    """The page with some of its blocks (all, if not said) damaged."""
    for match in reversed([*BLOCK.finditer(page)][which]):
        text = match[2]
        changed = {
            "cut": text[: len(text) // 2],
            "empty": "",
            "noise": "!!!!" + text[4:],
            "flipped": text[:2000] + text[2100:2000:-1] + text[2100:],
        }
        page = page[: match.start(2)] + changed[how] + page[match.end(2) :]
    return page


@pytest.mark.parametrize("how", ["cut", "empty", "noise", "flipped"])
def test_a_damaged_page_says_what_is_wrong(new_page, demo_trace, tmp_path, how):
    (tmp_path / "damaged.html").write_text(
        damage(demo_trace.show(level="neuron", layer=2, head=8, query="it").html, how)
    )
    page = new_page()
    page.goto((tmp_path / "damaged.html").as_uri())
    alert = page.locator("[data-alert]")
    alert.wait_for()
    assert "cannot be drawn" in alert.inner_text()


@pytest.mark.parametrize("how", ["cut", "noise", "flipped"])
def test_what_is_not_damaged_is_shown(open_view, demo_trace, how):
    """The block of the layer it opens on cannot be read: it says so and opens on another, and the rest can be looked at."""
    whole = demo_trace.show(level="neuron", layer=2, head=8, query="it").html
    assert len(BLOCK.findall(whole)) > 2
    page = open_view(damage(whole, how, slice(0, 1)))
    said = page.locator("[data-notices]").inner_text()
    assert "cannot be read" in said
    assert "Layer 2" in said
    assert "not in this page" not in said
    assert page.locator("[data-row-key]").count() == 24
    page.locator('[data-crumb="layer"]').focus()
    with next_draw(page):
        page.locator('[data-crumb="layer"]').select_option(label="layer 4")
    weight = page.locator('[data-row-key="8"] [data-col="weight"] [data-value], [data-row-key="8"] [data-col="weight"]')
    expected = float(demo_trace.site(4).weights(8, 7)[0, 8])
    assert float(weight.first.get_attribute("data-value")) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("part", ["cut short", "script damaged"])
def test_a_page_whose_script_does_not_run_says_so(browser, demo_trace, tmp_path, part):
    whole = demo_trace.show(level="neuron", layer=2, head=8, query="it").html
    end = whole.rindex("<script>") + len("<script>")
    (tmp_path / "part.html").write_text(whole[: end // 2] if part == "cut short" else whole[:end] + "}" + whole[end:])
    page = browser.new_page()  # the script that is refused is an error here as it should be
    try:
        page.goto((tmp_path / "part.html").as_uri())
        line = page.locator("[data-attnscope] > p")
        line.wait_for(state="visible")
        assert "damaged or cut short" in line.inner_text()
    finally:
        page.close()


@pytest.mark.parametrize("left", [0.0, 0.4])
def test_a_page_cut_short_below_its_app_shows_what_came(open_view, demo_trace, left):
    """Of the layers below the app some, or none, came: what was drawn first is there, what was cut off is named when wanted."""
    whole = demo_trace.show(level="neuron", layer=2, head=8, query="it").html
    app = whole.index("</script>", whole.rindex("<script>")) + len("</script>")
    page = open_view(whole[: app + int(left * (len(whole) - app))])
    assert page.locator("[data-row-key]").count() == 24
    assert page.locator("[data-notices]").inner_text() == ""
    sites = re.findall(r'data-attnscope-block[^>]* data-sites="(\d+)"', whole)
    layers = page.locator('[data-crumb="layer"]')
    layers.focus()
    layers.select_option(sites[-1])
    page.locator(".notice").filter(has_text="cut short" if not left else "Layer").wait_for()
    assert layers.input_value() == sites[0], "it stays where it was"
    if left:
        with next_draw(page):
            layers.select_option(sites[1])
        assert layers.input_value() == sites[1]


def test_a_damaged_layer_leaves_the_others(open_view, demo_trace):
    whole = demo_trace.show(level="neuron", layer=2, head=8, query="it").html
    page = open_view(damage(whole, "cut", slice(1, 2)))
    assert page.locator("[data-notices]").inner_text() == "", "what nobody asked for is not complained about"
    site = re.findall(r'data-sites="(\d+)"', whole)[1]
    page.locator('[data-crumb="layer"]').focus()
    page.locator('[data-crumb="layer"]').select_option(site)
    page.locator(".notice").first.wait_for()
    assert f"Layer {site}" in page.locator("[data-notices]").inner_text()
    assert "damaged" in page.locator("[data-notices]").inner_text()
    assert page.locator(".crumb-layer .crumb-value").inner_text().startswith("2"), "what was there stays"


def test_nan_is_drawn_and_flagged(open_view):
    trace = made_trace(queries=11)
    k = trace.sites[0].k.clone()
    k[:, 4, 2] = float("nan")
    sites = [replace(trace.sites[0], k=k, z=replace(trace.sites[0], k=k).output()), trace.sites[1]]
    page = open_view(trace.replace_sites(sites).show(level="neuron", layer=0, head=0, query=2))
    assert page.locator("[data-row-key]").count() == 11
    assert "NaN" in page.locator("main").inner_text()
    assert "NaN" in page.locator('[data-row-key="4"] [data-col="dot"]').inner_text()
    page.wait_for_selector("[data-recheck]")
    assert page.locator("[data-receipt]").inner_text() == "! the model itself gave NaN here"
    assert not page.locator(".banner").is_visible(), "the model's own NaN is no mismatch"


def test_layers_that_are_not_held_say_how_to_get_them(open_view):
    trace = made_trace(heads=3, kv_heads=3, queries=101, head_size=14, layers=7)
    one = sum(x.numel() * 2 for x in (trace.sites[0].q, trace.sites[0].k, trace.sites[0].v)) / 1e6
    view = trace.show(level="neuron", layer=4, head=0, query=5, max_mb=2.5 * one * 1.3)
    page = open_view(view)
    page.locator('[data-crumb="layer"]').focus()
    page.locator('[data-crumb="layer"]').select_option(index=0)
    assert "max_mb" in page.locator("main").inner_text()
    assert page.locator("[data-row-key]").count() > 0, "what was there stays"


def test_only_weights_are_possible_too(open_view, demo):
    """A token that is its own whole text."""
    page = open_view(attnscope.show(*demo, "a", level="neuron"))
    assert page.locator("[data-row-key]").count() == 3


def test_a_single_query_and_key(open_view):
    q = torch.randn(1, 1, 7)
    page = open_view(attnscope.Trace.from_qkv(q, q, q).show(level="neuron"))
    assert float(page.locator('[data-row-key="0"] [data-col="weight"]').get_attribute("data-value")) == 1
