"""The head level: every line and number is Python's, on either side, for one head or several."""

import numpy as np
import pytest
import torch

import attnscope
import tiny_models
from attnscope.tracing.masks import MaskRule
from attnscope.tracing.tokens import Tokens
from browser_tools import settled, url_state
from made_traces import made_trace, with_everything
from merged import groups, merged

LINES = """() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('.lines path')]
  .map(p => [Number(p.dataset.overlay), Number(p.dataset.query), Number(p.dataset.key), Number(p.dataset.value)])"""
BESIDE = """side => Object.fromEntries([...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll(`.ends-${side} [data-slot]`)]
  .map(row => [row.dataset[side], [...row.querySelectorAll('.weight')].map(w => w.dataset.value === undefined ? null : Number(w.dataset.value))]))"""


def lines(page) -> dict[tuple[int, int, int], float]:
    """Strong lines: (which head of those drawn, query, key) -> weight."""
    return {(head, query, key): value for head, query, key, value in page.evaluate(LINES)}


def beside(page, side: str, head: int = 0) -> dict[int, float]:
    """Numbers beside the tokens of a side."""
    return {int(token): values[head] for token, values in page.evaluate(BESIDE, side).items() if values}


def weights(site, head: int) -> np.ndarray:
    return site.weights(head).double().numpy()


def row(page, side: str, token: int):
    return page.locator(f'.ends-{side} [data-{side}="{token}"] .tok')


@pytest.fixture
def demo_page(open_view, demo_trace):
    return open_view(
        demo_trace.show(layer=2, head=8, query="it"), hash="#level=head&threshold=0&layer=2&head=8&query=7"
    )


def test_lines_and_numbers_of_the_query(demo_page, demo_trace):
    wanted = weights(demo_trace.site(2), 8)[7]
    seen = lines(demo_page)
    assert set(seen) == {(0, 7, k) for k in range(24)}
    assert [seen[0, 7, k] for k in range(24)] == pytest.approx(list(wanted), rel=1e-4, abs=1e-7)
    assert list(beside(demo_page, "key").values()) == pytest.approx(list(wanted), rel=1e-4, abs=1e-7)
    assert "looks most at flies (53 %)" in demo_page.locator("[data-sentence]").inner_text()


def test_the_sentence_counts_the_whole_head(demo_page, demo_trace):
    w = weights(demo_trace.site(2), 8)
    distance = (w * np.abs(np.subtract.outer(np.arange(24), np.arange(24)))).sum() / 24
    said = demo_page.locator("[data-sentence]").inner_text()
    assert f"{distance:.1f} tokens away" in said
    assert f"{round(100 * np.triu(w, 1).sum() / 24)} % ahead" in said
    assert f"[CLS] receives most, {round(100 * w[:, 0].sum() / 24)} %" in said


def test_pointing_at_a_query_and_at_a_key(demo_page, demo_trace):
    w = weights(demo_trace.site(2), 8)
    row(demo_page, "query", 14).hover()
    assert {q for _, q, _ in lines(demo_page)} == {14}
    assert list(beside(demo_page, "key").values()) == pytest.approx(list(w[14]), rel=1e-4, abs=1e-7)
    row(demo_page, "key", 8).hover()
    seen = lines(demo_page)
    assert {k for _, _, k in seen} == {8}
    assert [seen[0, q, 8] for q in range(24)] == pytest.approx(list(w[:, 8]), rel=1e-4, abs=1e-7)
    assert list(beside(demo_page, "query").values()) == pytest.approx(list(w[:, 8]), rel=1e-4, abs=1e-7)
    assert "weight 52.7 %" in demo_page.locator("[data-readout]").inner_text()
    demo_page.locator("[data-sentence]").hover()
    assert {q for _, q, _ in lines(demo_page)} == {7}, "what was only pointed at gives way again"


def test_clicks_pin_and_a_second_one_unpins(demo_page):
    row(demo_page, "query", 14).click()
    assert url_state(demo_page)["query"] == "14"
    row(demo_page, "key", 15).click()
    assert url_state(demo_page)["key"] == "15"
    demo_page.locator("[data-sentence]").hover()
    assert len(beside(demo_page, "query")) == 24, "who looks at the pinned key stays"
    row(demo_page, "key", 15).click()
    assert "key" not in url_state(demo_page)


@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_several_queries(demo_page, demo_trace, combine):
    w = weights(demo_trace.site(2), 8)
    row(demo_page, "query", 14).click(modifiers=["Control"])
    row(demo_page, "query", 3).click(modifiers=["Shift"])
    demo_page.locator('[data-tool="combine"]').select_option(combine)
    demo_page.locator("[data-sentence]").hover()
    assert url_state(demo_page)["queries"] in ("14,3", "14%2C3")
    wanted = w[[7, 14, 3]].mean(0) if combine == "mean" else w[[7, 14, 3]].sum(0)
    assert list(beside(demo_page, "key").values()) == pytest.approx(list(wanted), rel=1e-4, abs=1e-7)
    assert {q for _, q, _ in lines(demo_page)} == {3, 7, 14}
    demo_page.locator('[data-tool="one-query"]').click()
    assert "queries" not in url_state(demo_page)


def test_the_threshold_prints_what_it_leaves_out(open_view, demo_trace):
    page = open_view(demo_trace.show(), hash="#level=head&layer=2&head=8&query=7&threshold=0.02")
    w = weights(demo_trace.site(2), 8)[7]
    assert {k for _, _, k in lines(page)} == set(np.flatnonzero(w >= 0.02))
    undrawn = page.locator("[data-undrawn]")
    assert float(undrawn.get_attribute("data-value")) == pytest.approx(w[w < 0.02].sum(), rel=1e-4)
    assert f"{round(100 * w[w < 0.02].sum())} % of this row, in {int((w < 0.02).sum())} lines" in undrawn.inner_text()
    page.locator('[data-tool="threshold"]').fill("0")
    assert len(lines(page)) == 24
    assert undrawn.inner_text() == "every line is drawn"


def test_heads_laid_over_each_other(demo_page, demo_trace):
    for head in ("3", "5"):
        demo_page.locator('[data-tool="add-head"]').select_option(head)
    assert url_state(demo_page)["heads"].replace("%2C", ",") == "3,5"
    chips = demo_page.locator('[data-legend="heads"] [data-overlay-head]')
    assert [chip.strip("× ").strip() for chip in chips.all_inner_texts()] == ["head 8", "head 3", "head 5"]
    colours = [chip.get_attribute("data-colour") for chip in chips.all()]
    assert len(set(colours)) == 3
    seen = lines(demo_page)
    for i, head in enumerate((8, 3, 5)):
        wanted = list(weights(demo_trace.site(2), head)[7])
        assert [seen[i, 7, k] for k in range(24)] == pytest.approx(wanted, rel=1e-4, abs=1e-7)
        assert list(beside(demo_page, "key", i).values()) == pytest.approx(wanted, rel=1e-4, abs=1e-7)
    strokes = demo_page.evaluate(
        "() => [...new Set([...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('.lines path')].map(p => p.style.stroke))].length"
    )
    assert strokes == 3
    demo_page.get_by_role("button", name="take head 3 away").click()
    assert url_state(demo_page)["heads"] == "5"


@pytest.mark.parametrize("average", ["heads", "layers", "all"])
def test_means_over_heads_and_layers(open_view, demo_trace, average):
    page = open_view(demo_trace.show(), hash=f"#level=head&threshold=0&layer=2&head=8&query=7&average={average}")
    settled(page)
    every = np.stack([site.weights()[:, 7].double().numpy() for site in demo_trace.sites])  # [L, H, K]
    wanted = {"heads": every[2].mean(0), "layers": every[:, 8].mean(0), "all": every.mean((0, 1))}[average]
    assert list(beside(page, "key").values()) == pytest.approx(list(wanted), rel=1e-4, abs=1e-6)
    total = {"heads": 12, "layers": 6, "all": 72}[average]
    assert f"Mean over {total} heads of {total}" in page.locator('[data-note="average"]').inner_text()


def test_words_and_hidden_special_tokens(open_view, demo_trace):
    tokens = demo_trace.tokens
    page = open_view(demo_trace.show(), hash="#level=head&threshold=0&layer=2&head=8&query=20&words=1&special=hide")
    shown = groups(tokens, True, True)
    w = weights(demo_trace.site(2), 8)
    wanted = merged(w, shown, shown)
    slot = next(i for i, group in enumerate(shown) if 20 in group)
    assert len(shown[slot]) == 2, "airspeed is two pieces"
    assert list(beside(page, "key").values()) == pytest.approx(list(wanted[slot]), rel=1e-4, abs=1e-7)
    assert row(page, "key", 20).inner_text() == "airspeed"
    hidden = w[shown[slot]].mean(0)[np.array(tokens.special)].sum()
    note = page.locator('[data-note="hidden"]')
    assert float(note.get_attribute("data-value")) == pytest.approx(hidden, rel=1e-4)
    cls = w[shown[slot], 0].mean()
    assert f"{round(100 * cls)} % of this row goes to [CLS]" in note.inner_text()
    assert (
        "summed into it as keys and averaged out of it as queries" in page.locator('[data-note="words"]').inner_text()
    )


def test_sentence_pairs(open_view, demo):
    trace = attnscope.trace(*demo, "The plane flies.", text_pair="It lands soon.")
    w = weights(trace.site(3), 4)
    page = open_view(trace.show(), hash="#level=head&threshold=0&layer=3&head=4&query=2&filter=ab")
    keys = [i for i, segment in enumerate(trace.tokens.segments) if segment == 1]
    assert beside(page, "key") == pytest.approx({k: w[2, k] for k in keys}, rel=1e-4, abs=1e-7)
    outside = float(page.locator('[data-note="outside"]').get_attribute("data-value"))
    assert outside == pytest.approx(1 - w[2, keys].sum(), rel=1e-4)


@pytest.mark.parametrize(("kind", "stack"), [("gpt2", None), ("t5", "cross"), ("t5", "decoder")])
def test_causal_and_across_two_texts(open_view, kind, stack):
    trace = attnscope.trace(tiny_models.model(kind), None, inputs=tiny_models.inputs(kind))
    site = trace.site(1, stack=stack)
    place = f"&stack={stack}" if stack else ""
    page = open_view(trace.show(), hash=f"#level=head&threshold=0&layer=1&head=2&query=4{place}")
    w = weights(site, 2)
    seen = beside(page, "key")
    assert len(seen) == site.keys
    assert list(seen.values()) == pytest.approx(list(w[4]), rel=1e-3, abs=1e-6)
    if stack != "cross":
        assert page.locator(".ends-key .masked").count() == site.keys - 5
        assert {k for _, _, k in lines(page)} <= set(range(5))


def test_sinks_and_rows_without_a_key(open_view):
    trace = with_everything()
    page = open_view(trace.show(), hash="#level=head&threshold=0&layer=1&head=4&query=6")
    w = weights(trace.site(1), 4)[6]
    assert float(page.locator('[data-note="sink"]').get_attribute("data-value")) == pytest.approx(1 - w.sum(), abs=1e-5)
    keys = torch.ones(11, dtype=torch.bool)
    keys[:3] = False
    page = open_view(
        made_trace(queries=11, mask=MaskRule(upper=0, keys=keys)).show(),
        hash="#level=head&threshold=0&layer=0&head=1&query=1",
    )
    assert "No key allowed" in page.locator('[data-note="empty"]').inner_text()
    assert lines(page) == {}


def test_by_keyboard_alone(demo_page):
    queries = demo_page.locator("[data-query-list]")
    queries.focus()
    demo_page.keyboard.press("ArrowDown")
    assert "query “flies” at 8" in demo_page.locator("[data-readout]").inner_text()
    demo_page.keyboard.press("Enter")
    assert url_state(demo_page)["query"] == "8"
    demo_page.keyboard.press("End")
    demo_page.keyboard.press("Space")
    assert url_state(demo_page)["queries"] == "23"
    demo_page.keyboard.press("Space")
    assert "queries" not in url_state(demo_page)
    demo_page.keyboard.press("ArrowRight")
    demo_page.keyboard.press("Home")
    demo_page.keyboard.press("ArrowDown")
    assert "key “As” at 1" in demo_page.locator("[data-readout]").inner_text()
    demo_page.keyboard.press("Enter")
    assert url_state(demo_page)["key"] == "1"
    demo_page.keyboard.press("Enter")
    assert url_state(demo_page).get("level", "neuron") == "neuron"
    assert url_state(demo_page)["key"] == "1"


def test_the_same_numbers_as_a_table(demo_page, demo_trace):
    demo_page.locator('[data-tool="table"]').click()
    rows = demo_page.locator("[data-level=head] [data-figures] tbody tr")
    assert rows.count() == 24
    cells = rows.nth(8).locator("th, td").all_inner_texts()
    chain = demo_trace.site(2).chain(8, 7)
    assert cells[:2] == ["8", "flies"]
    assert float(cells[2].rstrip(" %")) == pytest.approx(100 * float(chain.weights[0, 8]), abs=1e-3)
    assert float(cells[5]) == pytest.approx(float(chain.dot[0, 8]), abs=1e-3)


def test_long_texts_scroll_within_and_draw_what_is_strong(open_view):
    trace = made_trace(heads=2, kv_heads=2, queries=401, head_size=10, layers=1, spread=0.7)
    page = open_view(trace.show(), hash="#level=head&threshold=0&head=1&query=200", height=900)
    w = weights(trace.site(0), 1)[200]
    seen = lines(page)
    assert 50 < len(seen) < 401
    strongest = np.argsort(-w)[: len(seen)]
    assert {k for _, _, k in seen} == set(strongest.tolist())
    undrawn = float(page.locator("[data-undrawn]").get_attribute("data-value"))
    assert undrawn == pytest.approx(1 - w[strongest].sum(), abs=1e-5)
    made = page.locator(".ends-query [data-slot]").count()
    assert made < 120, "only what is near sight is made"
    keys = page.locator("[data-key-list]")
    keys.evaluate("e => { e.scrollTop = e.scrollHeight }")
    settled(page)
    assert page.locator('.ends-key [data-key="400"]').count() == 1
    above = page.locator('[data-edge="above"]').inner_text()
    first = page.locator(".ends-key [data-slot]").evaluate_all(
        "rows => { const box = rows[0].closest('.ends').getBoundingClientRect(); return Math.min(...rows.filter(r => r.getBoundingClientRect().top > box.top - 10).map(r => Number(r.dataset.key))) }"
    )
    assert abs(int(above.split()[1]) - 100 * w[:first].sum()) <= 1.5


def test_where_generated_text_begins(open_view):
    tokens = Tokens(tuple(f"word{i}" for i in range(13)), border=9)
    page = open_view(made_trace(tokens=tokens).show(), hash="#level=head&threshold=0&layer=0&head=0&query=4")
    assert page.locator(".ends-query .border").get_attribute("data-query") == "9"
    assert page.locator(".ends-key .border [data-border]").inner_text() == "generated"


@pytest.mark.parametrize("width", [1280, 700, 400])
def test_nothing_is_lost_sideways(open_view, demo_trace, width):
    page = open_view(
        demo_trace.show(), hash="#level=head&threshold=0&layer=2&head=8&query=7&key=8&heads=3", width=width
    )
    assert page.locator("main").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    for side in ("query", "key"):
        box = row(page, side, 8).bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width


def test_right_to_left_tokens(open_view):
    tokens = Tokens(("שלום", "עולם", "(", "abc", ")", "مرحبا", "12"))
    page = open_view(made_trace(queries=7, tokens=tokens).show(), hash="#level=head&threshold=0&layer=0&head=0&query=1")
    assert row(page, "key", 5).inner_text() == "مرحبا"
    assert row(page, "key", 5).evaluate("e => getComputedStyle(e).direction") == "rtl"


def test_weights_alone_are_enough(open_view, demo_trace):
    given = [site.weights()[None] for site in demo_trace.sites]
    trace = attnscope.Trace.from_attentions(given, demo_trace.tokens)
    page = open_view(trace.show(), hash="#level=head&threshold=0&layer=2&head=8&query=7")
    assert list(beside(page, "key").values()) == pytest.approx(
        list(weights(demo_trace.site(2), 8)[7]), rel=1e-4, abs=1e-6
    )


def test_a_view_opens_on_lines_and_says_what_they_show(open_view, demo_trace):
    """A first threshold with the mass it leaves out, the strongest keys in words, a value at the cursor."""
    view = demo_trace.show(layer=2, head=8, query="it")
    page, weights = open_view(view), demo_trace.sites[2].weights(8, 7)[0]
    assert page.locator("main").get_attribute("data-shows") == "head"
    undrawn = page.locator("[data-undrawn]")
    assert float(undrawn.get_attribute("data-value")) == pytest.approx(float(weights[weights < 0.03].sum()), abs=1e-4)
    names = page.locator("[data-reading]")
    order = weights.argsort(descending=True).tolist()
    for row, key in enumerate(order[:5]):
        said = names.nth(row).inner_text()
        assert said.startswith(demo_trace.tokens[key])
        assert f"{100 * float(weights[key]):.1f} %" in said
    written = float(demo_trace.sites[2].write(8, 7).norm())
    assert f"‖write‖ {written:.2f}" in page.locator(".reading").inner_text()
    box = page.locator(".lines").bounding_box()
    line = page.locator('.lines path[data-query="7"][data-key="8"]').bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, line["y"] + line["height"] / 2)
    assert page.locator(".cursor-value").inner_text() == f"it → flies {100 * float(weights[8]):.1f} %"
    page.locator('[data-tool="all-lines"]').click()
    assert float(undrawn.get_attribute("data-value")) == pytest.approx(0, abs=1e-6)


def test_without_a_sink_token_the_rest_has_a_scale_of_its_own(open_view):
    weights = torch.zeros(3, 11, 11)
    for query in range(11):
        weights[:, query, 0] = 0.9 if query else 1.0
        weights[:, query, 1 : query + 1] = 0.1 / max(1, query)
    weights[1, 7, 1:8], weights[1, 7, 4] = 0.005, 0.07
    tokens = [f"w{i}" for i in range(11)]
    page = open_view(attnscope.Trace.from_attentions([weights], tokens).show(layer=0, head=1, query=7))
    assert (
        page.locator("[data-sentence]")
        .inner_text()
        .endswith("w7 looks most at w0 (90 %), a sink token, and among the others at w4 (7 %).")
    )

    def drawn() -> tuple[float, float]:
        """The thickness of the line to w4, and the length of its bar in percent."""
        line = page.locator('.lines path[data-query="7"][data-key="4"]').first
        bar = page.locator('[data-key-list] [data-key="4"] i').first
        return float(line.evaluate("e => e.style.strokeWidth")), float(bar.evaluate("e => e.style.width")[:-1])

    before = drawn()
    page.locator('[data-tool="dim"]').click()
    assert page.locator('[data-key-list] [data-key="0"]').count() == 0
    assert drawn()[0] > 3 * before[0]
    assert drawn()[1] > 5 * before[1]
    assert "90 % of this row goes to w0, hidden here" in page.locator("[data-picture-notes]").inner_text()
    assert page.locator('[data-key-list] [data-key="4"] b').first.inner_text() == "7.0 %", (
        "the numbers stay the model's"
    )
