"""Walking the instrument: by mouse, by keyboard, through the URL; and several views side by side."""

import re

import pytest
from playwright.sync_api import expect

import attnscope
from attnscope.tracing.tokens import Tokens
from browser_tools import settled, until, url_state
from made_traces import made_trace


def active(page) -> dict[str, str | None]:
    """Where the keyboard's focus stands in the table: its row's key and its column."""
    return page.evaluate(
        """() => {
          const root = document.querySelector('[data-attnscope]').shadowRoot;
          const cell = root.querySelector('[data-grid] [data-active]');
          return {key: cell?.closest('[data-row-key]')?.dataset.rowKey ?? null, column: cell?.dataset.col ?? null};
        }"""
    )


@pytest.fixture
def demo_page(open_view, demo_trace):
    return open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))


def test_a_click_on_a_word_picks_the_query(demo_page):
    before = demo_page.locator("[data-sentence]").inner_text()
    demo_page.locator('[data-ribbon] [data-token="14"]').click()
    assert url_state(demo_page)["query"] == "14"
    after = demo_page.locator("[data-sentence]").inner_text()
    assert after != before
    assert after.startswith("lower")
    assert demo_page.locator('[data-token="14"]').get_attribute("aria-selected") == "true"


def test_arrow_keys_move_the_query_in_the_ribbon(demo_page):
    demo_page.locator("[data-ribbon]").focus()
    demo_page.keyboard.press("ArrowRight")
    assert url_state(demo_page)["query"] == "8"
    demo_page.keyboard.press("ArrowLeft")
    demo_page.keyboard.press("ArrowLeft")
    assert url_state(demo_page)["query"] == "6"


def test_the_table_is_walked_by_keyboard(demo_page):
    demo_page.locator("[data-grid]").focus()
    start = active(demo_page)
    assert start["key"] == "8", "the walk begins at the pinned key"
    demo_page.keyboard.press("ArrowDown")
    assert active(demo_page)["key"] == "9"
    for _ in range(3):
        demo_page.keyboard.press("ArrowRight")
    assert active(demo_page)["column"] not in (None, start["column"])
    assert re.search(r"[−\d]", demo_page.locator("[data-readout]").inner_text()), "the cell says its number"
    demo_page.keyboard.press("Enter")
    assert url_state(demo_page)["key"] == "9"
    assert "higher" in demo_page.locator(".lens, [data-lens]").first.inner_text()


def test_tab_reaches_everything_in_order(demo_page):
    seen = []
    for _ in range(40):
        demo_page.keyboard.press("Tab")
        seen.append(
            demo_page.evaluate(
                """() => { const a = document.querySelector('[data-attnscope]').shadowRoot.activeElement;
                return a ? (a.dataset.crumb ?? a.dataset.ribbon ?? a.dataset.tool ?? a.dataset.heading ?? ('grid' in a.dataset ? 'grid' : 'receipt' in a.dataset ? 'receipt' : a.tagName)) : null; }"""
            )
        )
    for wanted in ("layer", "head", "query", "key", "theme", "grid", "receipt"):
        assert wanted in seen, (wanted, seen)


def test_a_pin_survives_another_layer_and_head(demo_page):
    demo_page.locator('[data-row-key="15"] [data-col="token"]').click()
    assert url_state(demo_page)["key"] == "15"
    demo_page.locator('[data-crumb="head"]').focus()  # long menus are filled when they are reached
    demo_page.locator('[data-crumb="head"]').select_option("3")
    assert url_state(demo_page)["head"] == "3"
    assert url_state(demo_page)["key"] == "15"
    assert demo_page.locator('[data-row-key="15"]').get_attribute("aria-selected") == "true"


def test_the_url_holds_the_state(open_view, demo_trace, demo_page):
    demo_page.locator('[data-token="15"]').first.click()
    demo_page.locator('[data-tool="theme"]').select_option("dark")
    address = demo_page.evaluate("location.hash")
    again = open_view(demo_trace.show(level="neuron", layer=0, head=0, query=1), hash=address)
    assert url_state(again) == url_state(demo_page)
    assert again.locator("[data-sentence]").inner_text() == demo_page.locator("[data-sentence]").inner_text()
    assert again.locator("main.scope").get_attribute("data-theme") == "dark"


@pytest.mark.parametrize(
    "hash",
    ["#level=neuron&layer=99&head=8&query=7", "#layer=two", "#query=-5&head=1e9", "#%%%", "#layer=2&head=<img src=x>"],
)
def test_an_ill_address_says_so_and_shows_what_it_can(open_view, demo_trace, hash):
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"), hash=hash)
    assert page.locator("[data-row-key]").count() == 24
    if hash != "#%%%":
        assert page.locator("[data-notices]").inner_text().strip()


def test_every_heading_explains_itself_with_the_rows_numbers(demo_page):
    headings = demo_page.locator("[data-heading]")
    texts = set()
    for index in range(headings.count()):
        headings.nth(index).click()
        text = demo_page.locator("[data-explain]").inner_text()
        assert len(text) > 30
        texts.add(text)
        headings.nth(index).click()
    assert len(texts) == headings.count()
    assert any("24.09" in text for text in texts)


def test_hovering_a_cell_says_its_number_and_index(demo_page, demo_trace):
    box = demo_page.locator('[data-row-key="8"] [data-col="k"] canvas').bounding_box()
    demo_page.mouse.move(box["x"] + box["width"] * (5.5 / 32), box["y"] + 8)
    settled(demo_page)
    said = demo_page.locator("[data-readout]").inner_text()
    value = float(demo_trace.site(2).k[8, 8, 5])
    assert "5" in said
    assert f"{abs(value):.4f}"[:5] in said


def test_the_lens_shows_every_dimension_of_the_pinned_pair(demo_page, demo_trace):
    site = demo_trace.site(2)
    cells = demo_page.evaluate(
        """() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('[data-dim][data-value]')].map(c => [Number(c.dataset.dim), Number(c.dataset.value)])"""
    )
    q, k = site.q[8, 7], site.k[8, 8]
    for d in range(32):
        mine = [value for dim, value in cells if dim == d]
        expected = [float(q[d]), float(k[d]), float(q[d] * k[d]), float((q[: d + 1] * k[: d + 1]).sum())]
        assert mine == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_sentence_pairs_are_filtered(open_view, demo):
    trace = attnscope.trace(*demo, "The pilot checked the engine.", text_pair="It was still warm.")
    page = open_view(trace.show(level="neuron", layer=2, head=8, query="it"))
    everything = page.locator("[data-row-key]:visible").count()
    page.locator('[data-tool="filter"]').select_option("bb")
    inside = [
        int(r) for r in page.locator("[data-row-key]:visible").evaluate_all("rows => rows.map(r => r.dataset.rowKey)")
    ]
    assert 0 < len(inside) < everything
    assert all(trace.tokens.segments[k] == 1 for k in inside)
    assert "%" in page.locator("main").inner_text()
    assert url_state(page)["filter"] == "bb"


def test_special_tokens_can_be_dimmed(demo_page):
    assert demo_page.locator(".row.dimmed").count() == 0
    demo_page.locator('[data-tool="dim"]').check()
    assert demo_page.locator(".row.dimmed").count() == 2


def test_weak_keys_fold_and_open(open_view):
    trace = made_trace(queries=61, head_size=11, spread=2.5)
    page = open_view(trace.show(level="neuron", layer=0, head=1, query=30, key=3))
    weights = trace.site(0).weights(1, 30)[0]
    shown = {int(r) for r in page.locator("[data-row-key]").evaluate_all("rows => rows.map(r => r.dataset.rowKey)")}
    assert shown == {k for k in range(61) if weights[k] >= 0.01} | {30, 3}
    fold = page.locator("[data-fold]").first
    assert re.search(r"\d+ keys?, .*% together", fold.inner_text())
    before = len(shown)
    fold.locator("[data-col]").click()
    assert page.locator("[data-row-key]").count() > before


def test_two_views_in_one_document_do_not_disturb_each_other(new_page, demo_trace, tmp_path):
    first = demo_trace.show(level="neuron", layer=2, head=8, query="it").html
    second = made_trace(queries=11).show(level="neuron", layer=1, head=2, query=4).html
    app = re.compile(r"\n<script>.*?</script>", re.DOTALL)
    body = app.sub("", second[second.index("<div data-attnscope") : second.index("</body>")])
    assert len(app.findall(first)) == 1, "one app draws both"
    (tmp_path / "two.html").write_text(first.replace("</body>", body + "</body>"))
    page = new_page()
    page.goto((tmp_path / "two.html").as_uri())
    until(page, "document.querySelectorAll('[data-attnscope][data-ready]').length == 2")
    views = page.locator("[data-attnscope]")
    counts = [views.nth(i).locator("[data-row-key]").count() for i in range(2)]
    assert counts == [24, 11]
    other = views.nth(1).locator("[data-sentence]").inner_text()
    views.nth(0).locator('[data-token="12"]').first.click()
    assert views.nth(1).locator("[data-sentence]").inner_text() == other
    mine = views.nth(0).locator("[data-sentence]").inner_text()
    views.nth(1).locator('[data-token="2"]').first.click()
    assert views.nth(0).locator("[data-sentence]").inner_text() == mine


def test_cross_attention_has_two_ribbons(open_view):
    import torch

    q = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1))
    k, v = (torch.randn(2, 11, 7, generator=torch.Generator().manual_seed(i)) for i in (2, 3))
    trace = attnscope.Trace.from_qkv(q, k, v, tokens=[f"source{i}" for i in range(11)])
    page = open_view(trace.show(level="neuron", head=1, query=3))
    assert page.locator("[data-ribbon]").count() == 2
    assert page.locator("[data-row-key]").count() == 11


def test_generated_text_is_marked_and_stepped_through(open_view):
    tokens = Tokens(tuple(f"word{i}" for i in range(13)), border=9)
    page = open_view(made_trace(tokens=tokens).show(level="neuron", layer=0, head=0, query=5))
    assert page.locator("[data-border]").count() >= 1
    track = page.locator("[data-timeline] [role=slider]")
    for key, token in ((".", 9), (".", 10), (",", 9), ("4", 9), (".", 10)):
        page.keyboard.press(key)
        expect(track).to_have_attribute(
            "aria-valuetext", re.compile(f"query “word{token - 1}” at {token - 1} wrote “word{token}” at")
        )
        assert page.locator(".crumb-query .crumb-value").inner_text() == f"word{token - 1}"
    track.press("End")
    expect(track).to_have_attribute("aria-valuetext", re.compile("^4 of 4 "))


def test_it_opens_on_the_link_that_stands_out_and_says_why(open_view, demo_trace):
    page = open_view(demo_trace.show(level="neuron"))
    assert "stands out more" in page.locator("[data-why]").inner_text()
    page.locator('[data-token="2"]').first.click()
    assert page.locator("[data-why]").inner_text() == ""


def test_there_is_a_text_summary_and_a_data_table(demo_page):
    summary = demo_page.locator("[data-summary]").text_content()
    assert "flies" in summary
    assert demo_page.locator("table").count() == 0
    demo_page.locator('[data-tool="table"]').click()
    assert demo_page.locator("table tbody tr").count() >= 24
    assert re.search(r"8\s+flies\s+24\.0[89]", demo_page.locator("table").inner_text())


def test_the_lens_is_walked_by_keyboard(open_view):
    trace = made_trace(heads=2, kv_heads=2, queries=7, head_size=128, layers=1)
    page = open_view(trace.show(level="neuron", layer=0, head=1, query=3, key=5))
    page.locator(".lens-grid").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    value = float(trace.site(0).k[1, 5, 127])
    said = page.locator("[data-readout]").inner_text()
    assert "k · dimension 127" in said
    assert f"{abs(value):.4f}" in said
    page.keyboard.press("Home")
    assert "k · dimension 0" in page.locator("[data-readout]").inner_text()


def test_the_first_click_is_not_lost_in_a_low_window(open_view, demo_trace):
    """The focus that a press gives must not scroll: the click would land on another row, or on none."""
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it", key=23), height=600)
    page.evaluate("document.querySelector('[data-attnscope]').shadowRoot.querySelector('main').scrollTop = 0")
    page.locator('[data-row-key="2"] [data-col="token"]').click()
    assert url_state(page)["key"] == "2"

    trace = made_trace(queries=300, head_size=11, spread=2.5)
    page = open_view(trace.show(level="neuron", layer=0, head=1, query=150, key=290), height=800)
    fold = page.locator("[data-fold]").first
    fold.scroll_into_view_if_needed()
    settled(page)
    before = page.locator("main").evaluate("main => main.scrollTop")
    box = fold.locator("[data-col]").bounding_box()
    page.mouse.click(box["x"] + 20, box["y"] + box["height"] / 2)
    assert fold.get_attribute("aria-expanded") == "true"
    assert page.locator("main").evaluate("main => main.scrollTop") == before


def test_escape_closes_what_is_open_before_it_unpins(demo_page):
    panels = {
        '[data-heading="weight"]': "[data-explain]",
        '[data-crumb="model"]': "[data-about]",
        "[data-receipt]": ".receipt-panel",
        '[data-tool="table"]': "[data-figures]",
    }
    for opener, panel in panels.items():
        demo_page.locator(opener).click()
        assert demo_page.locator(panel).is_visible()
        demo_page.keyboard.press("Escape")
        assert not demo_page.locator(panel).is_visible()
        assert "pinned key" in demo_page.locator(".lens-title").inner_text()
    demo_page.keyboard.press("Escape")
    assert "strongest key" in demo_page.locator(".lens-title").inner_text()


def test_an_address_that_does_not_exist_is_rewritten(open_view, demo_trace):
    page = open_view(
        demo_trace.show(level="neuron", layer=2, head=8, query="it"), hash="#level=neuron&layer=99&head=77&query=3"
    )
    said = page.locator("[data-notices]").inner_text()
    assert "Layer 99" in said
    assert "Head 77" in said
    assert url_state(page) == {"level": "neuron", "layer": "2", "head": "8", "query": "3"}


def test_a_long_text_opens_with_its_pinned_row_in_sight(open_view):
    trace = made_trace(queries=300, head_size=32, spread=1.6)
    page = open_view(trace.show(level="neuron", layer=0, head=1, query=150, key=170), width=700, height=900)
    settled(page)
    row = page.locator('[data-row-key="170"]').bounding_box()
    head = page.locator(".thead").bounding_box()
    z = page.locator('[data-row="z"]').bounding_box()
    assert head["y"] + head["height"] <= row["y"] <= z["y"] - row["height"]
    cut = page.locator("[data-ribbon]").evaluate(
        "flow => [...flow.querySelectorAll('.token')].some(t => { const y = t.offsetTop - flow.scrollTop; return y < 0 && y + t.offsetHeight > 4; })"
    )
    assert not cut, "the ribbon begins with a whole line"


def test_the_data_table_follows_the_order_and_opens_clear_of_the_bar(open_view, demo_trace):
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"), height=800)
    page.locator('[data-tool="order"]').click()
    page.locator('[data-tool="table"]').click()
    assert page.locator("[data-figures] tbody th").all_inner_texts()[:3] == ["8", "0", "9"]
    bar, head = page.locator(".masthead").bounding_box(), page.locator("[data-figures] thead").bounding_box()
    assert bar["y"] + bar["height"] <= head["y"] <= 700, "it comes into sight, clear of the bar"


def test_what_scrolls_under_a_pointer_that_rests_is_said(open_view):
    trace = made_trace(queries=211, layers=1, spread=2.0)
    page = open_view(trace.show(level="neuron", layer=0, head=0, query=5), height=720)
    page.locator('[data-tool="expand"]').first.click()
    box = page.locator("[data-row-key].pinned [data-col=score]").bounding_box()
    at = [box["x"] + 9, box["y"] + 12]
    page.mouse.move(*at)
    under = "([x, y]) => document.querySelector('[data-attnscope]').shadowRoot.elementFromPoint(x, y).closest('[data-row-key]').dataset.rowKey"
    for _ in range(3):
        before = page.evaluate(under, at)
        page.mouse.wheel(0, 240)
        until(page, f"at => ({under})(at) !== '{before}'", at)
        key = page.evaluate(under, at)
        page.locator("[data-readout]").filter(has_text=f"(key {key})").wait_for()
