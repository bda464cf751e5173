"""The server's page: type a text, see its numbers; model, pair, level; the address reproduces it; nothing is lost."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

import attnscope
import tiny_models as tiny
from attnscope.cli.serve import reader_of
from attnscope.render.server.limits import Limits
from attnscope.views.state import State
from browser_tools import until
from served import TOKEN, served

CAT = "The cat did not sit on the mat because it was too small."
TIME = "Time flies like an arrow, fruit flies like a banana."
AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
WEIGHTS = """() => Object.fromEntries([...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('[data-row-key]')]
  .filter(row => row.checkVisibility()).map(row => [row.dataset.rowKey, Number(row.querySelector('[data-col=weight]').dataset.value)]))"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("models") / "small"
    tiny.model("bert", "sdpa").save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def predicts(tmp_path_factory) -> str:
    """A model that predicts the next token."""
    path = tmp_path_factory.mktemp("models") / "predicts"
    tiny.model("gpt2", "sdpa").save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def readers(folder, predicts):
    return {"demo": reader_of("demo", 2048), "small": reader_of(folder, 2048), "predicts": reader_of(predicts, 2048)}


@pytest.fixture(scope="module")
def server(readers):
    with served(readers) as one:
        yield one


@pytest.fixture
def visit(browser):
    """Open an address as a new person with a browser of their own; script errors fail the test."""
    contexts, troubles = [], []

    def visited(server, address="/", token=True, ready=True, width=1280, height=1400, dark=False):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            accept_downloads=False,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("console", lambda m: troubles.append(m.text) if "Content Security" in m.text else None)
        page.on("request", lambda r: None if r.url.startswith((here, "blob:", "data:")) else troubles.append(r.url))
        here = f"http://127.0.0.1:{server.port}/"
        path, _, hash = address.partition("#")
        joined = f"{path}{'&' if '?' in path else '?'}token={TOKEN}" if token else path
        page.goto(here.rstrip("/") + joined + (f"#{hash}" if hash else ""))
        if ready:
            settled(page)
        return page

    yield visited
    for context in contexts:
        context.close()
    assert not troubles


def settled(page):
    expect(page.locator("[data-attnscope-ask] form")).to_have_attribute("aria-busy", "false")
    page.locator("[data-attnscope][data-ready]").wait_for()


def type_text(page, text, pair=None):
    if pair is not None:
        page.locator("[data-ask=more]").click()
        page.locator("[data-ask=pair]").fill(pair)
    page.locator("[data-ask=text]").fill(text)
    page.keyboard.press("Enter") if pair is None else page.locator("[data-ask=show]").click()
    page.locator(f"form[data-read='{text}'][aria-busy=false]").wait_for()
    settled(page)


def numbers(page) -> dict[str, float]:
    """The weights by key, at the neuron level."""
    if page.locator("main").get_attribute("data-shows") != "neuron":
        page.locator('[data-level-switch="neuron"]').click()
        page.wait_for_url("**level=neuron*")
    return page.evaluate(WEIGHTS)


def assert_shows(page, trace):
    """The numbers at the neuron level, at the place that the address names, are those of the trace."""
    numbers(page)
    state = State.from_url(page.url)
    expected = trace.site(state.layer).weights(state.head, state.query)[0]
    seen = page.evaluate(WEIGHTS)
    assert len(seen) == len(expected)
    for key, value in seen.items():
        assert value == pytest.approx(float(expected[int(key)]), rel=1e-3, abs=1e-6)
    return state


def test_type_a_text_and_see_its_numbers(server, visit, demo):
    page = visit(server)
    assert TOKEN not in page.url
    type_text(page, CAT)
    state = assert_shows(page, attnscope.trace(*demo, CAT))
    opened = attnscope.show(*demo, CAT).state
    assert (state.layer, state.head, state.query, state.key) == (opened.layer, opened.head, opened.query, opened.key)
    assert "Opened here because" in page.locator("[data-why]").inner_text()
    type_text(page, TIME)
    assert_shows(page, attnscope.trace(*demo, TIME))
    assert page.title() == f"{TIME} · attnscope"


def test_another_layer_comes_from_the_server(server, visit, demo):
    page = visit(server)
    type_text(page, CAT)
    trace = attnscope.trace(*demo, CAT)
    page.locator('[data-crumb="layer"]').select_option("4")
    page.wait_for_url("**#layer=4*")
    page.locator('[data-crumb="head"]').select_option("2")
    page.wait_for_url("**#layer=4&head=2*")
    state = assert_shows(page, trace)
    assert (state.layer, state.head) == (4, 2)
    # a head that somebody has chosen is looked at in the next text too
    type_text(page, TIME)
    state = assert_shows(page, attnscope.trace(*demo, TIME))
    assert (state.layer, state.head) == (4, 2)


def chances(page) -> list[tuple[float, float]]:
    """Predictions before and after, once the newest edit is answered; without edits there is one number of each."""
    until(page, "!document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-edits][aria-busy=true]')")
    rows = page.locator("[data-edits] [data-prediction]").all()
    return [(float(row.get_attribute("data-before")), float(row.get_attribute("data-after"))) for row in rows]


def test_a_head_is_switched_off_and_on_again(server, visit, predicts):
    model, tokenizer = attnscope.load(predicts)
    page = visit(server, "/?model=predicts&text=the+cat+sat+on+the+mat#level=model&layer=1&head=0&query=5")
    page.locator("[data-tool=edit]").click()
    page.locator("[data-score]").filter(has_text="logit difference").wait_for()
    page.locator("[data-level=model] [data-grid]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.wait_for_url("**edits=off_L1H1*")
    assert page.locator("[data-edited=off][data-head='1']").is_visible()
    assert (
        page.locator(".model-panel-title").bounding_box()["height"] < 60
    )  # beside two buttons it does not break by words
    with attnscope.edit(model, tokenizer) as edit:
        edit.head("L1H1").off()
        effect = edit.effect("the cat sat on the mat", control=20)
    page.locator("[data-control][data-draws='5']").wait_for()  # the band: all other heads of this small model
    found = chances(page)
    for side in (0, 1):
        expected = [p for _, p in effect.top[side]]
        assert sorted((one[side] for one in found), reverse=True)[:3] == pytest.approx(expected[:3], rel=1e-4)
    scores = [float(one) for one in page.locator("[data-score]").get_attribute("data-value").split(",")]
    assert scores == pytest.approx([effect.clean, effect.edited], abs=1e-4)
    band = [float(one) for one in page.locator("[data-control]").get_attribute("data-value").split(",")]
    assert band == pytest.approx(effect.band.totals, abs=1e-4)
    # a click on the switch of a thumbnail does the same as Space
    box = page.locator("[data-edited=off]").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator("[data-switch]").filter(has_text="on").click()
    page.wait_for_url(lambda url: "edits=" not in url)
    assert all(before == after for before, after in chances(page))
    page.locator("[data-edit=undo]").click()
    page.wait_for_url("**edits=off_L1H1*")
    page.locator("[data-edit=undo]").click()
    page.wait_for_url(lambda url: "edits=" not in url)
    assert all(before == after for before, after in chances(page))
    page.locator("[data-edit=redo]").click()
    page.wait_for_url("**edits=off_L1H1*")
    # another text keeps the head off
    type_text(page, "the dog ran home")
    assert page.locator("[data-edit-on='off_L1H1']").is_visible()


def test_a_line_is_cut_and_another_weight_given(server, visit, predicts):
    model, tokenizer = attnscope.load(predicts)
    text = "the cat sat on the mat"
    page = visit(
        server, "/?model=predicts&text=the+cat+sat+on+the+mat#level=head&layer=0&head=1&query=5&key=2&edits=off_L1H0"
    )
    page.locator("[data-tool=edit]").click()
    page.locator("[data-edit=weight]").fill("75")
    page.keyboard.press("Enter")
    page.wait_for_url("**edits=off_L1H0%2Cweights_L0H1_q5_k2_x0.75*")

    def matches(*edits) -> bool:
        with attnscope.edit(model, tokenizer) as edit:
            edit.head("L1H0").off()
            for one in edits:
                one(edit.head("L0H1"))
            effect = edit.effect(text)
        values = page.locator("[data-score]").get_attribute("data-value").split(",")
        return float(values[1]) == pytest.approx(effect.edited, abs=1e-4)

    chances(page)
    assert matches(lambda head: head.weights(0.75, query=5, key=2))
    page.locator("[data-edit=cut]").click()
    page.wait_for_url("**cut_L0H1_q5_k2*")
    chances(page)
    assert matches(lambda head: head.cut(query=5, key=2))
    page.locator("[data-tool=python]").click()
    code = page.locator("[data-python]").input_value()
    assert (
        'edit.head("L1H0").off()\n    edit.head("L0H1").cut(query=5, key=2)\n    effect = edit.effect("the cat' in code
    )
    page.keyboard.press("Escape")
    page.locator("[data-edit=more]").click()
    for level in ("neuron", "model"):
        page.locator(f'[data-level-switch="{level}"]').click()
        assert page.locator("[data-edit-on]").count() == 2


def test_panel_and_view_are_both_usable_in_a_narrow_window(server, visit):
    hash = "#level=head&layer=1&head=0&query=5&edits=off_L1H1,cut_L1H0_q5_k2"
    page = visit(server, f"/?model=predicts&text=the+cat+sat+on+the+mat{hash}", width=700, height=844)
    page.locator("[data-edit=more]").click()
    page.locator("[data-control]").filter(has_text="band").wait_for()
    panel = page.locator("[data-edits]")
    for width in (700, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert panel.bounding_box()["height"] <= 844 / 3
        assert panel.evaluate("e => e.scrollWidth <= e.clientWidth")
        panel.evaluate("e => { e.scrollTop = 0 }")
        inside = panel.bounding_box()
        for name in ("off", "cut", "weight", "undo", "more"):  # at once, and the rest by scrolling the panel alone
            box = page.locator(f"[data-edit={name}]").bounding_box()
            assert inside["y"] <= box["y"] <= box["y"] + box["height"] <= inside["y"] + inside["height"], (width, name)
        readout = page.locator("[data-readout]").bounding_box()
        assert inside["y"] + inside["height"] <= readout["y"], width
        scrolled = page.evaluate("scrollY")
        panel.evaluate("e => { e.scrollTop = e.scrollHeight }")
        for name in ("[data-brief]", "[data-edit=undo]", "[data-prediction] >> nth=-1"):
            box = page.locator(name).bounding_box()
            assert inside["y"] <= box["y"] <= box["y"] + box["height"] <= inside["y"] + inside["height"], (width, name)
        assert page.evaluate("scrollY") == scrolled


def test_a_pair(server, visit, demo):
    page = visit(server)
    type_text(page, "The cat is small.", "It is a dog.")
    assert_shows(page, attnscope.trace(*demo, "The cat is small.", text_pair="It is a dog."))
    assert page.locator("[data-tool=filter]").is_visible()
    assert "pair=It+is+a+dog." in page.url
    page.locator("[data-ask=more]").click()
    page.wait_for_url(lambda url: "pair=" not in url)
    settled(page)
    assert_shows(page, attnscope.trace(*demo, "The cat is small."))


def test_another_model(server, visit, folder):
    page = visit(server)
    page.locator("[data-ask=text]").fill("the cat sat")
    page.locator("[data-ask=model]").select_option("small")
    page.wait_for_url("**model=small*")
    settled(page)
    assert_shows(page, attnscope.trace(*attnscope.load(folder), "the cat sat"))


@pytest.mark.parametrize("level", ["model", "head", "matrix", "steps"])
def test_the_level_stays(server, visit, level):
    page = visit(server)
    page.locator('[data-level-switch="head"]' if level == "matrix" else f'[data-level-switch="{level}"]').click()
    if level == "matrix":
        page.locator('[data-drawing="matrix"]').click()
    type_text(page, TIME)
    expect(page.locator("main")).to_have_attribute("data-shows", level)
    assert State.from_url(page.url).level == level


def test_a_link_reproduces_the_view_and_holds_no_token(server, visit, demo):
    page = visit(server)
    type_text(page, "The cat is small.", "It is a dog.")
    page.locator('[data-crumb="layer"]').select_option("4")
    page.wait_for_url("**#layer=4*")
    page.locator('[data-ribbon] [data-token="3"]').first.click()
    page.wait_for_url("**query=3*")
    seen = numbers(page)
    link = page.url
    assert "token" not in link
    address = link.split(str(server.port))[1]
    # who has the cookie needs no token; who has not is asked for it, and then is at the same place
    again = page.context.new_page()
    again.goto(link)
    settled(again)
    stranger = visit(server, address, token=False, ready=False)
    stranger.locator("[role=alert]").wait_for()
    assert stranger.locator("[data-attnscope]").count() == 0
    stranger.locator("#token").fill(TOKEN)
    stranger.keyboard.press("Enter")
    stranger.locator("[data-attnscope][data-ready]").wait_for()
    settled(stranger)
    for other in (again, stranger):
        assert other.url == link
        assert other.evaluate(WEIGHTS) == seen
        assert other.locator("[data-ask=pair]").input_value() == "It is a dog."
    again.reload()
    settled(again)
    assert again.url == link


def test_back_and_forward(server, visit):
    page = visit(server)
    type_text(page, CAT)
    first = page.url
    type_text(page, TIME)
    second = page.url
    page.go_back()
    page.locator(f"form[data-read='{CAT}']").wait_for()
    settled(page)
    assert page.url == first
    assert page.locator("[data-ask=text]").input_value() == CAT
    page.go_forward()
    page.locator(f"form[data-read='{TIME}']").wait_for()
    settled(page)
    assert page.url == second
    assert page.locator("[data-notices]").inner_text() == ""


def test_a_text_that_is_too_long_can_be_cut(server, visit):
    page = visit(server)
    type_text(page, CAT)
    seen = numbers(page)
    text = "word " * 600
    page.locator("[data-ask=text]").fill(text)
    page.keyboard.press("Enter")
    cut = page.locator("[data-ask=cut]")
    cut.wait_for()
    assert "The text has 602 tokens, and this model reads at most 512" in page.locator("[data-ask=status]").inner_text()
    assert page.evaluate(WEIGHTS) == seen  # what was there stays
    assert page.locator("[data-ask=text]").input_value() == text
    cut.click()
    page.locator(f"form[data-read='{text.strip()}'][aria-busy=false]").wait_for()
    assert "truncate=1" in page.url
    assert "cut to the 512 tokens" in page.locator("main").inner_text()


def test_wrong_addresses_are_said(server, visit):
    page = visit(server, "/?model=gpt2&text=the+cat#layer=99&head=zero")
    notices = page.locator("[data-notices]").inner_text()
    assert "gpt2 is not served here; this is demo." in notices
    assert "head=zero" in notices
    assert "99" in notices
    page.locator("[data-ask=text]").fill("   ")
    page.keyboard.press("Enter")
    expect(page.locator("[data-ask=status]")).to_have_text("Type at least one word.")


def test_tokens_are_text(server, visit):
    page = visit(server)
    text = '<img src=x onerror="document.title=1"> <b>bold</b>'
    page.locator("[data-ask=text]").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_url("**onerror*")
    settled(page)
    assert page.title() == f"{text} · attnscope"
    assert page.locator("main img, main b:text-is('bold')").count() == 0


def test_a_busy_server_is_asked_again_and_a_forgotten_text_is_read_again(readers, visit, demo):
    with served(readers, Limits(burst=1, rate=1, keep=1)) as server:
        page = visit(server)
        type_text(page, CAT)  # a second request within a second: refused, and asked again
        other = visit(server, f"/?text={TIME}")  # the server keeps one trace, and it is this one now
        page.locator('[data-crumb="layer"]').select_option("5")
        page.wait_for_url("**#layer=5*")
        assert_shows(page, attnscope.trace(*demo, CAT))
        assert_shows(other, attnscope.trace(*demo, TIME))


def test_a_server_that_is_gone(readers, visit):
    with served(readers) as server:
        page = visit(server)
        type_text(page, CAT)
        seen = numbers(page)
    page.locator("[data-ask=text]").fill(TIME)
    page.keyboard.press("Enter")
    expect(page.locator("[data-ask=status]")).to_contain_text("The server does not answer")
    assert page.evaluate(WEIGHTS) == seen
    assert page.locator("[data-ask=text]").input_value() == TIME
    page.locator('[data-crumb="layer"]').select_option("1")
    expect(page.locator("[data-notices]")).to_contain_text("The server does not answer")
    assert page.evaluate(WEIGHTS) == seen


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (700, True), (400, False)])
def test_everything_is_within_the_window(server, visit, width, dark):
    page = visit(server, width=width, height=900, dark=dark)
    page.locator("[data-ask=more]").click()
    page.locator("[data-ask=text]").fill("word " * 900)
    page.keyboard.press("Enter")
    page.locator("[data-ask=cut]").wait_for()
    until(page, "document.documentElement.scrollHeight <= innerHeight")  # measured with the next frame
    found = page.evaluate(
        """() => { const ask = document.querySelector('[data-attnscope-ask]').getBoundingClientRect();
             const main = document.querySelector('[data-attnscope]').shadowRoot.querySelector('main').getBoundingClientRect();
             return [document.documentElement.scrollWidth, document.documentElement.scrollHeight, ask.bottom - main.top, main.bottom, ask.height]; }"""
    )
    wide, high, gap, bottom, ask = found
    assert (wide, high) == (width, 900)
    assert abs(gap) < 1
    assert abs(bottom - 900) < 1
    assert ask < 450
    dark_ground = page.locator("form").evaluate("e => getComputedStyle(e).colorScheme")
    assert dark_ground == ("dark" if dark else "light")


@pytest.mark.source
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(server, visit, dark):
    page = visit(server, dark=dark)
    page.locator("[data-ask=more]").click()
    page.locator("[data-ask=text]").fill("word " * 900)
    page.keyboard.press("Enter")
    page.locator("[data-ask=cut]").wait_for()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    run = "async () => (await axe.run(document)).violations.map(v => `${v.id}: ${v.nodes.map(n => n.target.flat())}`)"
    assert page.evaluate(run) == []


def test_three_examples_are_offered(visit, server):
    page = visit(server)
    choice = page.locator('[data-ask="example"]')
    texts = choice.locator("option").evaluate_all("all => all.map(one => one.value).filter(Boolean)")
    assert len(set(texts)) == 3
    choice.select_option(texts[2])
    expect(page.locator('[data-ask="text"]')).to_have_value(texts[2])
    until(
        page,
        "text => document.querySelector('[data-attnscope-ask]').shadowRoot.querySelector('form').dataset.read === text",
        arg=texts[2],
    )
    ribbon = page.locator("[data-ribbon] [data-token]").all_inner_texts()
    assert "banana" in "".join(ribbon)
