"""The widget's module with a notebook's model played by the test: what it says when the kernel is gone, and what it keeps."""

import base64
import json

import pytest

import attnscope
from attnscope.render.page.assets import asset
from browser_tools import until

PLAY = """async ([code, blocks, traits, live]) => {
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const values = {...traits, blocks: blocks.map(text => new DataView(bytes(text).buffer))};
  const heard = {}, sent = [];
  const model = {
    get: name => values[name], set: (name, value) => { values[name] = value; }, save_changes() {},
    send: message => sent.push(message),
    on: (event, callback) => (heard[event] ??= []).push(callback),
    off: (event, callback) => { heard[event] = (heard[event] ?? []).filter(one => one !== callback); },
    ...(live ? {comm_live: true} : {}),
  };
  window.play = {values, sent, model, fire: (event, ...given) => (heard[event] ?? []).forEach(call => call(...given))};
  const module = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
  const el = document.body.appendChild(document.createElement('div'));
  window.play.close = await module.default.render({model, el});
}"""


@pytest.fixture
def play(new_page, demo_trace):
    def played(live: bool = True):
        view = demo_trace.show(level="neuron", layer=2, head=8, query="it")
        first = base64.b64encode(view.blocks[0].data).decode()
        traits = {name: list(v) if isinstance(v, tuple) else v for name, v in view.traits().items()}
        page = new_page()
        page.evaluate(PLAY, [asset("widget.js"), [first], traits, live])
        page.wait_for_selector("[data-attnscope][data-ready]")
        return page

    return played


def other_layer(page) -> None:
    page.locator('[data-crumb="layer"]').focus()
    page.locator('[data-crumb="layer"]').select_option(index=5)


@pytest.mark.parametrize("live", [True, False], ids=["a host that shows the state", "a host that hides it"])
def test_a_dead_kernel_is_said_and_what_is_here_is_kept(play, live):
    page = play(live)
    assert page.locator("[data-notices]").inner_text() == ""
    other_layer(page)
    page.locator("[data-notices]").filter(has_text="Asking the kernel").wait_for()
    assert page.evaluate("play.sent.length") == 1
    page.evaluate(
        "() => { play.fire('comm_live_update'); if ('comm_live' in play.model) { play.model.comm_live = false; play.fire('comm_live_update'); } else play.fire('comm:close'); }"
    )
    page.locator(".notice").filter(has_text="no longer running").first.wait_for()
    assert page.locator("[data-row-key]").count() == 24
    other_layer(page)
    assert page.evaluate("play.sent.length") == 1, "nobody is asked any more"
    page.locator('[data-ribbon] [data-token="14"]').click()
    assert page.locator("[data-sentence]").inner_text().startswith("lower")
    assert page.evaluate("play.values.query") == 14
    assert "no longer running" in page.locator("[data-notices]").inner_text(), "it is said until it is dismissed"
    page.locator('[data-level-switch="head"]').click()
    assert page.locator("main").get_attribute("data-shows") == "head"


def test_traits_follow_the_level_and_the_level_follows_them(play):
    page = play()
    page.locator('[data-level-switch="head"]').click()
    assert page.evaluate("play.values.level") == "head"
    page.evaluate(
        "() => { play.values.level = 'neuron'; play.values.query = 5; play.fire('change:level'); play.fire('change:query'); }"
    )
    until(
        page, "document.querySelector('[data-attnscope]').shadowRoot.querySelector('main').dataset.shows === 'neuron'"
    )
    assert page.locator("[data-sentence]").inner_text().startswith("lighter")
    page.evaluate("() => { play.values.level = 'atoms'; play.fire('change:level'); }")
    page.locator(".notice").filter(has_text="level=atoms").wait_for()
    assert page.locator("main").get_attribute("data-shows") == "neuron"


def test_a_change_made_while_the_kernel_is_asked_does_not_undo_the_first(play, demo_trace):
    page = play()
    other_layer(page)
    page.locator("[data-notices]").filter(has_text="Asking the kernel").wait_for()  # it moves what is below it
    page.locator('[data-ribbon] [data-token="14"]').click()
    assert page.evaluate("[play.values.layer, play.values.query]") == [2, 14], "what needs no answer is done at once"
    page.locator('[data-crumb="head"]').focus()
    page.locator('[data-crumb="head"]').select_option(index=3)
    answer = base64.b64encode(demo_trace.show(level="neuron", layer=5, head=3).blocks[0].data).decode()
    page.evaluate(
        """text => { const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
             for (const {id} of play.sent) play.fire('msg:custom', {id, kind: 'reply'}, [new DataView(bytes.buffer)]); }""",
        answer,
    )
    until(page, "play.values.layer === 5 && play.values.head === 3 && play.values.query === 14")
    weight = page.locator('[data-row-key="4"] [data-col="weight"]').first.get_attribute("data-value")
    assert float(weight) == pytest.approx(float(demo_trace.site(5).weights(3, 14)[0, 4]), rel=1e-4)


KERNEL = """async ([code, blocks, others, difference, traits]) => {
  const view = text => new DataView(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
  const values = {...traits, blocks: blocks.map(view), other_blocks: others.map(view), difference: view(difference), editable: true};
  const heard = {};
  const model = {
    get: name => values[name], set: (name, value) => { values[name] = value; }, save_changes() {},
    on: (event, callback) => (heard[event] ??= []).push(callback), off() {}, comm_live: true,
    send: async message => {
      const {content, buffers} = JSON.parse(await kernel(JSON.stringify(message)));
      for (const callback of heard['msg:custom'] ?? []) callback(content, buffers.map(view));
    },
  };
  window.values = values;
  const module = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
  await module.default.render({model, el: document.body.appendChild(document.createElement('div'))});
}"""


def test_a_head_is_patched_from_the_other_side_of_a_comparison(new_page, demo, monkeypatch):
    model, tokenizer = demo
    a, b = (attnscope.trace(model, tokenizer, text) for text in ("The cat sat on the mat.", "The dog sat on the rug."))
    view = attnscope.compare(a, b).show(level="model", side="b", model=model, tokenizer=tokenizer)
    widget, sent = view.widget, []
    encoded = lambda data: base64.b64encode(data).decode()  # noqa: E731
    monkeypatch.setattr(widget, "send", lambda content, buffers=(): sent.append((content, [*buffers])))

    def kernel(message: str) -> str:
        widget._on_message(widget, json.loads(message), [])
        content, buffers = sent.pop()
        return json.dumps({"content": content, "buffers": [encoded(one) for one in buffers]})

    page = new_page(height=1000)
    page.expose_function("kernel", kernel)
    traits = {name: list(v) if isinstance(v, tuple) else v for name, v in view.traits().items()}
    blocks, others = ([encoded(block.data) for block in one.blocks] for one in (view, view.other))
    page.evaluate(KERNEL, [widget._esm, blocks, others, encoded(view.pair.difference), traits])
    page.wait_for_selector("[data-attnscope][data-ready]")
    page.locator("[data-tool=edit]").click()
    page.locator("[data-edit=patch]").filter(has_text="from A").click()
    until(page, "values.edits.length === 1")
    (edit,) = page.evaluate("values.edits")
    assert edit == f"patch_L{view.state.layer}H{view.state.head}"
    page.locator("[data-score]").filter(has_text="cosine").wait_for()
    with attnscope.edit(model, tokenizer) as by_hand:
        by_hand.head(edit.removeprefix("patch_")).patch(a)
        effect = by_hand.effect(inputs=b.inputs)
    until(
        page,
        "document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-score]').dataset.value.includes('0.')",
    )
    score = [float(one) for one in page.locator("[data-score]").get_attribute("data-value").split(",")]
    assert score == pytest.approx([1, effect.edited], abs=1e-6)
    page.locator("[data-side=difference]").click()
    page.locator("[data-attnscope][data-ready] [data-edits]").filter(has_text="from the other text").wait_for()
    assert "Edits are made in A." in page.locator(".edits-note").inner_text()  # the panel stays open
    page.locator("[data-side=b]").click()
    until(page, "values.side === 'b'")
    page.locator("[data-attnscope][data-ready] [data-edit=undo]").click()  # each text keeps its own history
    until(page, "values.edits.length === 0")
