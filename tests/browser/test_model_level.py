"""The model level: what it says against Python's numbers, walked by keyboard, in every shape a model can have."""

import base64
import html
import json
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import attnscope
import tiny_models as tiny
from attnscope.head_effects.units import Unit
from attnscope.head_roles.cases import TO_HEAD
from attnscope.head_roles.relations import relation_task
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.sentence import sentence
from attnscope.statistics.definitions import STATISTICS
from attnscope.statistics.thumbnails import MASKED, thumbnails_of
from attnscope.tracing.masks import causal_rule
from attnscope.tracing.trace import Trace
from browser_tools import COUNT_PENDING, until, url_state
from made_traces import WAYS, made_trace

LEVEL = '[data-level="model"]'
GRID = f"{LEVEL} [data-grid]"
# The device pixels of a head's thumbnail, from the canvas of its line: [side, side, 4].
PIXELS = """([layer, head]) => {
  const root = document.querySelector('[data-attnscope]').shadowRoot;
  const line = [...root.querySelectorAll('.model-line')].sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))[layer];
  const canvas = line.querySelector('canvas'), heads = Number(root.querySelector('[data-grid]').getAttribute('aria-colcount'));
  const side = canvas.height, pitch = (canvas.width - side) / (heads - 1);
  const x = Math.round(head * pitch);
  return {side, data: [...canvas.getContext('2d').getImageData(x, 0, side, side).data]};
}"""


def cursor(page) -> tuple[str, int, int]:
    """Stack, layer and head under the keyboard or the pointer."""
    cell = page.locator(f"{GRID} [role=gridcell]")
    return cell.get_attribute("data-stack"), int(cell.get_attribute("data-layer")), int(cell.get_attribute("data-head"))


def enlarged(page) -> dict[str, float | None]:
    """The statistics of the head enlarged, exact; without the numbers of the pair."""
    values = page.evaluate(
        """() => Object.fromEntries([...document.querySelector('[data-attnscope]').shadowRoot
          .querySelectorAll('[data-enlarged] [data-stat]:not([data-stat^=pair])')].map(e => [e.dataset.stat, e.dataset.value ?? null]))"""
    )
    return {name: None if value is None else float(value) for name, value in values.items()}


@pytest.fixture
def demo_page(open_view, demo_trace):
    return open_view(demo_trace.show(level="model", layer=2, head=8, query="it"))


def test_the_grid_shows_the_weights(demo_page, demo_trace):
    """Ink grows with the weight: the darkness of every cell's middle pixel against the weights themselves."""
    for layer, head in ((0, 2), (1, 8), (2, 8), (5, 11)):
        drawn = demo_page.evaluate(PIXELS, [layer, head])
        side = drawn["side"]
        ink = 255 - np.array(drawn["data"], dtype=float).reshape(side, side, 4)[..., 0]
        weights = demo_trace.sites[layer].weights(head).numpy()
        middle = ((np.arange(len(weights)) + 0.5) * side / len(weights)).astype(int)
        cells = ink[np.ix_(middle, middle)].ravel()
        order = np.argsort(weights.ravel(), kind="stable")
        assert (np.diff(cells[order]) >= -1).all(), "no weaker cell is darker"
        assert cells.max() - cells.min() > 60


def test_the_numbers_are_pythons(demo_page, demo_trace):
    every = thumbnails_of(demo_trace)
    demo_page.locator(GRID).focus()
    demo_page.keyboard.press("Control+Home")
    for layer in range(6):
        for head in (0, 5, 11):
            demo_page.keyboard.press("Home")
            for _ in range(head):
                demo_page.keyboard.press("ArrowRight")
            assert cursor(demo_page) == ("", layer, head)
            expected = {name: values[head] for name, values in every[layer].statistics.items()}
            assert enlarged(demo_page) == pytest.approx(expected, rel=1e-5)
        demo_page.keyboard.press("ArrowDown")


def test_the_readout_says_them(demo_page, demo_trace):
    demo_page.locator(GRID).focus()
    demo_page.keyboard.press("ArrowLeft")
    first = thumbnails_of(demo_trace)[2]
    text = demo_page.locator("[data-readout]").inner_text()
    assert text.startswith("L2H7 ·")
    assert f"weight on special tokens {100 * first.statistics['special'][7]:.1f} %" in text
    query, key, weight = first.links[7]
    assert f"{100 * weight:.0f} %" in text
    words = [demo_page.locator(f'[data-ribbon] [data-token="{at}"] .t').inner_text() for at in (query, key)]
    assert re.search(
        rf"strongest link {re.escape(words[0])}( at {query})? → {re.escape(words[1])}( at {key})? with", text
    )


def test_pointing_enlarges_and_covers_nothing(demo_page):
    box = demo_page.locator(GRID).bounding_box()
    demo_page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] - 40)
    there = cursor(demo_page)
    assert there != ("", 2, 8)
    assert f"layer {there[1]}, head {there[2]}" in demo_page.locator("[data-enlarged]").inner_text()
    panel = demo_page.locator("[data-enlarged]").bounding_box()
    assert panel["x"] >= box["x"] + box["width"], "beside the grid"
    demo_page.mouse.move(2, 2)
    assert "layer 2, head 8" in demo_page.locator("[data-enlarged]").inner_text(), "back to the one that is chosen"


def test_enter_and_click_go_to_the_head(demo_page):
    demo_page.locator(GRID).focus()
    demo_page.keyboard.press("ArrowUp")
    demo_page.keyboard.press("Enter")
    after = url_state(demo_page)
    assert (after.get("level", "head"), after["layer"], after["head"]) == ("head", "1", "8")
    demo_page.keyboard.press("Escape")
    assert url_state(demo_page)["level"] == "model"
    box = demo_page.locator(GRID).bounding_box()
    demo_page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 40)
    _, layer, head = cursor(demo_page)
    demo_page.mouse.click(box["x"] + box["width"] - 20, box["y"] + 40)
    after = url_state(demo_page)
    assert (
        (after.get("level", "head"), after["layer"], after["head"])
        == ("head", str(layer), str(head))
        == ("head", "0", "11")
    )


def test_one_stop_for_the_keyboard(demo_page):
    assert demo_page.locator(f"{GRID}[tabindex='0']").count() == 1
    inside = demo_page.evaluate(
        f"""() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('{LEVEL} .model-scroll *')]
          .filter(e => e.tabIndex >= 0).length"""
    )
    assert inside == 1


@pytest.mark.parametrize("name", ["entropy", "special", "previous", "link", "induction"])
def test_sorted_as_numpy_sorts(open_view, demo_trace, name):
    page = open_view(demo_trace.show(level="model"), hash=f"#level=model&sort={name}", height=2400)
    values = np.array([one.statistics[name] for one in thumbnails_of(demo_trace)])
    order = np.argsort(-values.ravel().round(12), kind="stable")
    captions = page.evaluate(
        """() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('.model-line')]
          .sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))
          .flatMap(line => [...line.querySelectorAll('[data-caption]')].map(e => [e.dataset.caption, Number(e.dataset.value)]))"""
    )
    assert len(captions) == 72
    assert [value for _, value in captions] == pytest.approx(values.ravel()[order], rel=1e-5)
    expected = [f"L{i // 12}H{i % 12}" for i in order]
    named = {f"L{i // 12}H{i % 12}": value for i, value in enumerate(values.ravel())}
    for (caption, value), wanted in zip(captions, expected, strict=True):
        # six digits are kept: neighbours that differ less may change places
        assert caption == wanted or named[caption] == pytest.approx(named[wanted], rel=1e-5)
        assert value == pytest.approx(named[caption], rel=1e-5)
    assert page.locator('[data-tool="sort"]').input_value() == name
    first = f"L{order[0] // 12}H{order[0] % 12}"
    assert first in page.locator("[data-sentence]").inner_text()
    words = next(s.words for s in STATISTICS if s.name == name)
    assert words in page.locator("[data-model-note]").inner_text()


def test_the_order_is_chosen_and_shared(demo_page):
    demo_page.locator('[data-tool="sort"]').select_option("entropy")
    assert url_state(demo_page)["sort"] == "entropy"
    demo_page.locator('[data-tool="thumbs"]').select_option("lines")
    assert url_state(demo_page)["thumbs"] == "lines"
    assert demo_page.locator("[data-caption]").count() > 0
    demo_page.locator('[data-tool="sort"]').select_option("layer")
    assert "sort" not in url_state(demo_page)
    assert demo_page.locator("[data-caption]").count() == 0


def test_the_sentence_counts(demo_page, demo_trace):
    special = np.array([one.statistics["special"] for one in thumbnails_of(demo_trace)])
    previous = np.array([one.statistics["previous"] for one in thumbnails_of(demo_trace)])
    layer, head = np.unravel_index(previous.argmax(), previous.shape)
    text = demo_page.locator("[data-sentence]").inner_text()
    assert text.startswith(f"Of 72 heads, {(special > 0.5).sum()} put more than half of their weight on special tokens")
    assert f"L{layer}H{head} looks at the previous token with {100 * previous.max():.0f} %" in text


def test_an_unknown_order_is_said(open_view, demo_trace):
    page = open_view(demo_trace.show(level="model"), hash="#level=model&sort=nonsense")
    assert "no statistic “nonsense”" in page.locator("[data-model-note]").inner_text()
    assert page.locator("[data-caption]").count() == 0


def test_what_does_not_apply_is_said(open_view, demo):
    trace = attnscope.trace(*demo, "The cat sat.", text_pair="It purred.")
    page = open_view(trace.show(level="model"), hash="#level=model&special=hide&filter=ab")
    note = page.locator("[data-model-note]").inner_text()
    assert "sentence-pair filter" in note
    assert "whole text" in note


def test_the_data_table(demo_page, demo_trace):
    demo_page.locator('[data-tool="table"]').click()
    rows = demo_page.locator(f"{LEVEL} [data-table-head]")
    assert rows.count() == 50
    every = thumbnails_of(demo_trace)
    cell = demo_page.locator('[data-table-head="L3H4"] [data-col="special"]')
    assert float(cell.get_attribute("data-value")) == pytest.approx(every[3].statistics["special"][4], rel=1e-5)
    demo_page.get_by_role("button", name="later ›").click()
    assert rows.count() == 22
    assert demo_page.locator('[data-table-head="L5H11"]').count() == 1
    assert rows.first.is_visible()
    demo_page.keyboard.press("Escape")
    assert not rows.first.is_visible()
    assert demo_page.locator(GRID).is_visible(), "and the level stays"


def test_encoder_and_decoder(open_view):
    trace = attnscope.trace(tiny.model("t5", "sdpa"), None, inputs=tiny.inputs("t5"))
    page = open_view(trace.show(level="model", stack="cross", layer=1, head=2))
    assert page.locator(".model-stack").all_inner_texts() == ["encoder", "decoder", "cross"]
    assert "cross layer 1, head 2" in page.locator("[data-enlarged]").inner_text()
    every = dict(zip([(s.stack, s.layer) for s in trace.sites], thumbnails_of(trace), strict=True))
    expected = {name: values[2] for name, values in every["cross", 1].statistics.items()}
    assert enlarged(page) == pytest.approx(expected, rel=1e-5)
    assert "distance" not in expected
    page.locator(GRID).focus()
    seen = {cursor(page)}
    for _ in range(5):
        page.keyboard.press("ArrowUp")
        seen.add(cursor(page))
    assert {stack for stack, _, _ in seen} == {"encoder", "decoder", "cross"}
    page.keyboard.press("Enter")
    after = url_state(page)
    assert (after.get("level", "head"), after["stack"], after["layer"], after["head"]) == ("head", "encoder", "0", "2")


def test_one_layer_one_head(open_view):
    trace = made_trace(heads=1, kv_heads=1, layers=1, queries=5)
    page = open_view(trace.show(level="model"))
    assert page.locator("[data-sentence]").inner_text().startswith("The one head puts ")
    expected = {name: values[0] for name, values in thumbnails_of(trace)[0].statistics.items()}
    assert enlarged(page) == pytest.approx(expected, rel=1e-5)
    page.locator(GRID).focus()
    for key in ("ArrowDown", "ArrowRight", "PageUp", "End"):
        page.keyboard.press(key)
    assert cursor(page) == ("", 0, 0)


def test_weights_alone(open_view):
    weights = np.random.default_rng(2).dirichlet(np.full(7, 0.2), (2, 3, 7)).astype(np.float32)
    trace = Trace.from_attentions(weights, list("abcdefg"))
    page = open_view(trace.show(level="model", layer=1, head=2))
    expected = {name: values[2] for name, values in thumbnails_of(trace)[1].statistics.items()}
    assert enlarged(page) == pytest.approx(expected, rel=1e-5)
    assert page.locator(".model-line").count() == 2


def test_a_thousand_heads_and_layers_that_are_not_here(open_view):
    trace = made_trace(heads=32, kv_heads=4, layers=32, queries=53, head_size=4, spread=2.0, mask=causal_rule(53, 53))
    page = open_view(trace.show(level="model", layer=3, head=1, max_mb=0.5), height=900)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert "not in this page" in page.locator("[data-legends]").inner_text()
    page.locator(GRID).focus()
    page.keyboard.press("Control+End")
    assert cursor(page) == ("", 31, 31)
    expected = {name: values[31] for name, values in thumbnails_of(trace)[31].statistics.items()}
    assert enlarged(page) == pytest.approx(expected, rel=1e-5)
    assert "trace.show(layer=31, head=31)" in page.locator("[data-enlarged]").inner_text()
    page.keyboard.press("Enter")
    assert "trace.show(layer=31" in page.locator("[data-notices]").inner_text()
    assert url_state(page).get("level") == "model"
    page.locator('[data-tool="sort"]').select_option("entropy")
    lines = page.locator(".model-line")
    every = int(page.locator(GRID).get_attribute("aria-rowcount"))
    assert lines.count() < every, "only what is near is drawn"
    before = lines.count()
    page.locator(GRID).focus()
    page.keyboard.press("Control+End")
    until(
        page, f"document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('.model-line').length > {before}"
    )


def test_masked_is_hatched(open_view):
    trace = made_trace(queries=13, layers=2, spread=2.0, mask=causal_rule(13, 13))
    page = open_view(trace.show(level="model"))
    assert "masked" in page.locator("[data-legends]").inner_text()
    drawn = page.evaluate(PIXELS, [1, 1])
    side = drawn["side"]
    pixels = np.array(drawn["data"]).reshape(side, side, 4)[..., :3]
    corner = {tuple(p) for p in pixels[: side // 4, -side // 4 :].reshape(-1, 3)}
    assert len(corner) == 2, "the ground and a line of hatching"
    octets = thumbnails_of(trace)[1].pixels[1]
    assert (octets == MASKED).sum() == 13 * 12 // 2


@pytest.mark.parametrize("kind", ["matrix", "lines"])
def test_the_picture(open_view, demo_trace, kind):
    page = open_view(demo_trace.show(level="model", layer=2, head=8), hash=f"#level=model&sort=link&thumbs={kind}")
    page.locator('[data-tool="save"]').click()
    with page.expect_download() as download:
        page.locator('[data-save="svg"]').click()
    svg = download.value.path().read_text()
    about = json.loads(html.unescape(re.search(r'<metadata id="attnscope">(.*?)</metadata>', svg)[1]))
    assert about["level"] == "model"
    shown = {name: float(value) for name, value in re.findall(r'data-head="(L\d+H\d+)" data-value="([^"]+)"', svg)}
    links = [one.statistics["link"] for one in thumbnails_of(demo_trace)]
    expected = {f"L{layer}H{head}": v for layer, values in enumerate(links) for head, v in enumerate(values)}
    assert shown == pytest.approx(expected, rel=1e-5)
    first = Image.open(BytesIO(base64.b64decode(re.search(r'href="data:image/png;base64,([^"]+)"', svg)[1])))
    assert first.width > 10 * first.height
    assert len(first.convert("L").getcolors() or []) > 10


def test_a_damaged_first_part_still_opens_heads(open_view, demo_trace):
    text = demo_trace.show(level="model").html
    start = text.index(">", text.index("data-attnscope-block")) + 1
    page = open_view(text[: start + 40] + "A" * 60 + text[start + 100 :])
    assert "thumbnails are not in this data" in page.locator(LEVEL).inner_text()
    page.locator(GRID).focus()
    page.keyboard.press("Enter")
    assert url_state(page).get("level", "head") == "head"


@pytest.mark.parametrize("way", WAYS)
def test_wherever_a_page_is_opened(open_view, demo_trace, way):
    page = open_view(demo_trace.show(level="model"), way)
    assert page.locator(".model-line").count() == 6


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 700, 400])
def test_widths_and_themes(open_view, demo_trace, tmp_path, width, dark):
    page = open_view(demo_trace.show(level="model", layer=2, head=8), width=width, height=1000, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    box = page.evaluate(
        "(() => { const s = document.querySelector('[data-attnscope]').shadowRoot.querySelector('.model-scroll'); return s.scrollWidth - s.clientWidth; })()"
    )
    assert box <= 0, "all heads in sight"
    picture = tmp_path / f"model-{'dark' if dark else 'light'}-{width}.png"
    page.screenshot(path=picture)  # for people: pytest keeps the folder of the last runs
    assert len(set(picture.read_bytes())) > 100


def test_touch_enlarges_first(browser, demo_trace, tmp_path):
    context = browser.new_context(viewport={"width": 400, "height": 860}, has_touch=True)
    context.add_init_script(COUNT_PENDING)
    try:
        page = context.new_page()
        path = tmp_path / "touch.html"
        path.write_text(demo_trace.show(level="model", layer=2, head=8).html)
        page.goto(path.as_uri())
        page.wait_for_selector("[data-attnscope][data-ready]")
        page.locator(GRID).scroll_into_view_if_needed()
        box = page.locator(GRID).bounding_box()
        x, y = box["x"] + box["width"] - 10, box["y"] + 34
        page.touchscreen.tap(x, y)
        assert "layer 0, head 11" in page.locator("[data-enlarged]").inner_text()
        assert url_state(page).get("level") in (None, "model")
        page.touchscreen.tap(x, y)
        after = url_state(page)
        assert (after.get("level", "head"), after["layer"], after["head"]) == ("head", "0", "11")
    finally:
        context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_roles_stand_on_their_heads_and_open_to_their_sentence(open_view, demo_trace, width):
    role = RoleRow(2, 0, relation_task("obj", TO_HEAD), 0.75, 0.7, 0.8, 100, 1, 0.1, p_adjusted=0.001, weight=0.5)
    table = attnscope.RoleTable((role,))
    page = open_view(demo_trace.show("model", layer=2, head=0, roles=table, sort="role"), width=width)
    assert page.locator(f"{LEVEL} [data-badge]").count() == 1
    assert page.locator(f"{LEVEL} [data-caption]").first.get_attribute("data-caption") == "L2H0"
    assert enlarged(page)["role"] == 0.75
    if not page.locator(f"{LEVEL} [data-role] p").is_visible():  # a strip above the grid shows it on request
        page.click(f"{LEVEL} [data-role] summary")
    assert page.inner_text(f"{LEVEL} [data-role] p") == sentence(role)
    assert "role obj ↑" in page.locator(f"{GRID} [role=gridcell]").get_attribute("aria-label")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_effects_stand_on_their_heads_and_sort_them(open_view, demo_trace):
    totals = {Unit("", layer, (head,)): [0.01 * layer, 0.02 * head] for layer in range(6) for head in range(12)}
    totals |= {Unit("", 2, (5,)): [2.0, 2.5], Unit("", 1, (7,)): [-1.0, -1.5]}
    asked = {"measure": "logit difference", "reference": "zero", "asked": "' Mary'", "model": "demo"}
    table = attnscope.EffectTable.of(totals, clean=(3.0, 4.0), **asked)
    page = open_view(demo_trace.show("model", layer=2, head=5, effects=table, sort="effect"))
    outside = {row.name for row in table.outside}
    assert {"L2H5", "L1H7"} <= outside
    badges = page.locator(f"{LEVEL} [data-badge]").evaluate_all("all => all.map(one => one.dataset.badge)")
    assert sorted(badges) == sorted(f"effect {table[name].effect:+.2f}".replace("-", "−") for name in outside)
    ordered = [row.name for row in sorted(table, key=lambda row: -row.effect)]
    captions = page.locator(f"{LEVEL} [data-caption]").evaluate_all(
        "all => all.map(one => [one.dataset.caption, Number(one.dataset.value)])"
    )
    assert [name for name, _ in captions][:1] == ordered[:1] == ["L2H5"]
    assert [value for _, value in captions] == pytest.approx(sorted((row.effect for row in table), reverse=True))
    assert "logit difference of ' Mary': +2.25" in page.inner_text(f"{LEVEL} [data-role] p")
    page.click(f"{LEVEL} [data-tool=table], [data-tool=table]")
    rows = page.locator("[data-table-head] [data-col=effect]").evaluate_all(
        "all => all.map(e => Number(e.dataset.value))"
    )
    assert rows == pytest.approx([value for _, value in captions][: len(rows)])
    page.select_option("[data-tool=sort]", "layer")
    assert page.locator(f"{LEVEL} [data-caption]").count() == 0
    assert page.locator("[data-table-head]").first.get_attribute("data-table-head") == "L0H0"
