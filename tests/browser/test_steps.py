"""The steps level: every number on the page is Python's, every unfolded sum adds up to it, and all of it works by keyboard."""

import re
from xml.etree import ElementTree

import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope.payload.step_tensors import sizes
from browser_tools import until
from made_streams import streamed
from made_traces import with_everything

KEEP = {"x", "pre_rotary", "projections"}
READ = """() => {
  const root = document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-level="steps"]');
  const vectors = {};
  for (const vector of root.querySelectorAll('[data-vector]'))
    vectors[vector.dataset.vector] = Object.fromEntries([...vector.querySelectorAll('[data-dim]')].map(c => [c.dataset.dim, Number(c.dataset.value)]));
  const scalars = Object.fromEntries([...root.querySelectorAll('[data-scalar]')].map(e => [e.dataset.scalar, Number(e.dataset.value)]));
  const quiet = [...root.querySelectorAll('[data-quiet]')].map(e => e.dataset.step);
  const steps = [...root.querySelectorAll('[data-step]')].map(e => e.dataset.step);
  return {vectors, scalars, quiet, steps};
}"""
SUM = """() => {
  const panel = [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('[data-sum]')].find(e => e.checkVisibility());
  if (!panel) return null;
  const read = (hook) => [...panel.querySelectorAll(`[${hook}]`)].map(e => Number(e.dataset.value));
  return {name: panel.dataset.sum, total: read('data-total')[0], rest: read('data-rest'), after: read('data-after'),
          terms: [...panel.querySelectorAll('[data-term] [data-value]')].map(e => Number(e.dataset.value))};
}"""


def close(value, expected):
    return value == pytest.approx(float(expected), rel=1e-4, abs=2e-5)


def assert_numbers_match(page, site, head, query, key):
    """Whatever stands on the page, against `Site.steps`."""
    links = {link.name: link.value for link in site.steps(head, query)}
    expected = {
        "x": links.get("x"),
        "q": links["query"],
        "k": links["keys"][key],
        "v": links["values"][key],
        "product": links["products"][key],
        "z": links["output"],
        "write": links.get("write"),
    }
    made = links.get("pre_norm_query", links.get("pre_rotary_query"))
    if made is not None:
        expected["q_made"] = made
        expected["k_made"] = links.get("pre_norm_keys", links["pre_rotary_keys"])[key]
    seen = page.evaluate(READ)
    for name, vector in expected.items():
        assert (vector is not None) == (name in seen["vectors"]), name
        if vector is None:
            continue
        cells = seen["vectors"][name]
        assert len(cells) == len(vector) if len(vector) <= 160 else len(cells) >= 8
        assert all(close(value, vector[int(d)]) for d, value in cells.items()), name
    scalars = {name: links[name][key] for name in ("dot", "scaled", "capped", "biased") if name in links}
    for name, value in scalars.items():
        if name in seen["scalars"]:
            assert close(seen["scalars"][name], value), name
    assert ("capped" in seen["quiet"]) == (site.softcap is None)
    assert ("biased" in seen["quiet"]) == (site.position_bias is None)
    assert ("masked" in seen["quiet"]) == site.mask.is_empty
    assert close(seen["scalars"]["weight"], links["weights"][key])
    assert close(seen["scalars"]["share"], site.share(head, query)[key])
    return seen, links


def unfold(page, selector):
    page.locator(selector).first.click()
    found = page.evaluate(SUM)
    assert found is not None
    return found


def tiny_view(name, **place):
    model = tiny.model(name)
    trace = attnscope.trace(model, None, inputs=tiny.inputs(name), keep=KEEP)
    return trace, trace.show(level="steps", **place)


def test_the_demo_from_x_to_the_write(open_view, demo):
    from attnscope.text.example import SENTENCE

    view = attnscope.show(*demo, SENTENCE, level="steps", layer=2, head=8, query="it")
    page = open_view(view)
    site = view.trace.site(2)
    assert_numbers_match(page, site, 8, 7, 8)
    assert page.locator("[data-ask]").count() == 0
    for selector, expected in (
        ('[data-vector="q"] [data-dim="3"]', site.q[8, 7, 3]),
        ('[data-vector="k"] [data-dim="30"]', site.k[8, 8, 30]),
        ('[data-vector="v"] [data-dim="0"]', site.v[8, 8, 0]),
        ('[data-vector="z"] [data-dim="5"]', site.output(8, 7)[0, 5]),
        ('[data-scalar="dot"]', site.dot(8, 7)[0, 8]),
        ('[data-scalar="scaled"]', site.scores(8, 7)[0, 8]),
        ('[data-scalar="weight"]', site.weights(8, 7)[0, 8]),
        ('[data-scalar="share"]', site.share(8, 7)[8]),
    ):
        found = unfold(page, selector)
        assert close(found["total"], expected), selector
        page.keyboard.press("Escape")
        assert page.evaluate(SUM) is None
    terms = unfold(page, '[data-vector="q"] [data-dim="3"]')
    assert close(sum(terms["terms"]) + sum(terms["rest"]) + sum(terms["after"]), site.q[8, 7, 3])
    assert len(terms["terms"]) == 8
    sizes = [abs(value) for value in terms["terms"]]
    assert sizes == sorted(sizes, reverse=True)
    page.locator("[data-more]:visible").click()
    more = page.evaluate(SUM)
    assert len(more["terms"]) == 48
    assert close(sum(more["terms"]) + sum(more["rest"]) + sum(more["after"]), site.q[8, 7, 3])
    page.keyboard.press("Escape")
    page.locator('[data-step="write"] [data-all]').click()
    written = page.evaluate(READ)["vectors"]["write"]
    assert len(written) == 384
    assert all(close(value, site.write(8, 7)[0, int(m)]) for m, value in written.items())
    found = unfold(page, '[data-vector="write"] [data-dim="381"]')
    assert close(found["total"], site.write(8, 7)[0, 381])


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "qwen3", "gemma2", "opt", "gpt2", "modernbert"])
def test_architectures(open_view, name):
    trace, view = tiny_view(name, layer=1, head=2, query=9, key=6)
    page = open_view(view)
    site = trace.site(1)
    assert_numbers_match(page, site, 2, 9, 6)
    made = '[data-vector="q_made"]' if page.locator('[data-vector="q_made"]').count() else '[data-vector="q"]'
    found = unfold(page, f'{made} [data-dim="4"]')
    before = site.pre_norm_q if site.pre_norm_q is not None else site.pre_rotary_q
    assert close(found["total"], (site.q if before is None else before)[2, 9, 4])
    page.keyboard.press("Escape")
    if site.pre_rotary_q is None:
        assert "query_rotary" in page.evaluate(READ)["quiet"]
    else:
        group = 2 // (site.heads // site.kv_heads)
        for selector, expected in (
            ('[data-vector="q"] [data-dim="4"]', site.q[2, 9, 4]),
            ('[data-vector="k"] [data-dim="3"]', site.k[group, 6, 3]),
        ):
            assert close(unfold(page, selector)["total"], expected)
            page.keyboard.press("Escape")
        assert "Without it q · k would be" in page.locator('[data-step="key_rotary"]').inner_text()
    text = page.locator('[data-level="steps"]').inner_text()
    assert ("head 2 reads key/value head 0 of 2 (heads 0–2 share it)" in text) == (site.heads != site.kv_heads)
    assert ("The model multiplies q by 0.378 itself" in text) == (name == "opt")
    assert ("q_norm (Qwen3RMSNorm)" in text) == (name == "qwen3")


def test_masks_softcap_bias_and_sinks(open_view):
    trace = with_everything()
    page = open_view(trace.show(level="steps", layer=1, head=4, query=9, key=7))
    site = trace.site(1)
    seen, _ = assert_numbers_match(page, site, 4, 9, 7)
    chain = site.chain(4, 9)
    free = torch.softmax(torch.cat([chain.biased[0], site.sinks[4:5]]), 0)
    allowed = site.mask.allowed(torch.tensor([9]), 13)[0]
    assert seen["scalars"]["removed"] == int((~allowed).sum()) == 8
    assert close(seen["scalars"]["removed_mass"], free[:13][~allowed].sum())
    assert close(seen["scalars"]["before_mask"], free[7])
    assert close(seen["scalars"]["sink"], 1 - chain.weights.sum())
    found = unfold(page, '[data-scalar="denominator"]')
    largest = max(float(chain.masked.max()), float(site.sinks[4]))
    expected = torch.exp(chain.biased[0][allowed] - largest).sum() + torch.exp(site.sinks[4] - largest)
    assert close(found["total"], expected)
    assert len(found["terms"]) == 5
    assert len(found["after"]) == 1, "the sink"
    page.locator('[data-crumb="key"]').focus()
    page.locator('[data-crumb="key"]').select_option("2")
    assert page.locator('[data-scalar="weight"]').inner_text() == "masked"
    assert "“word2” among them" in page.locator('[data-step="masked"]').inner_text()


def test_the_running_sum_by_keyboard(open_view, demo_trace):
    page = open_view(demo_trace.show(level="steps", layer=2, head=8, query="it"))
    product = (demo_trace.site(2).q[8, 7] * demo_trace.site(2).k[8, 8]).double()
    part = '[data-running-part="{}"]'

    def shown():
        return [float(page.locator(part.format(name)).get_attribute("data-value")) for name in ("product", "sum")]

    assert shown() == pytest.approx([float(product[31]), float(product.sum())], rel=1e-4)
    page.locator("[data-slider]").focus()
    page.keyboard.press("Home")
    assert shown() == pytest.approx([float(product[0])] * 2, rel=1e-4)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert shown() == pytest.approx([float(product[5]), float(product[:6].sum())], rel=1e-4)
    assert "dim=5" in page.evaluate("location.hash")
    page.keyboard.press("ArrowLeft")
    assert shown()[1] == pytest.approx(float(product[:5].sum()), rel=1e-4)
    page.locator('[data-vector="product"] [data-dim="20"]').click()
    assert shown()[1] == pytest.approx(float(product[:21].sum()), rel=1e-4)
    page.locator('[data-dim-step="forth"]').click()
    assert shown()[1] == pytest.approx(float(product[:22].sum()), rel=1e-4)
    page.locator('[data-dim-step="all"]').click()
    assert shown()[1] == pytest.approx(float(product.sum()), rel=1e-4)


def test_numbers_are_walked_and_unfolded_by_keyboard(open_view, demo_trace):
    page = open_view(demo_trace.show(level="steps", layer=2, head=8, query="it"))
    page.locator('[data-vector="z"] [tabindex="0"]').focus()
    assert page.locator('[data-vector="z"] [tabindex="0"]').count() == 1
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    focused = page.evaluate("document.querySelector('[data-attnscope]').shadowRoot.activeElement.dataset.dim")
    assert int(focused) > 10, "a line further down"
    assert f"dimension {focused}" in page.locator("[data-readout]").inner_text()
    page.keyboard.press("Enter")
    assert close(page.evaluate(SUM)["total"], demo_trace.site(2).output(8, 7)[0, int(focused)])
    page.keyboard.press("Escape")
    assert page.evaluate(SUM) is None
    assert page.locator('[data-level="steps"]').is_visible(), "the first Escape folds, it does not leave"
    again = page.evaluate("document.querySelector('[data-attnscope]').shadowRoot.activeElement.dataset.dim")
    assert again == focused


def test_the_walk_ends_with_all_of_the_last_step_in_sight(open_view):
    page = open_view(streamed().show("steps", layer=1, head=1, query=4))
    forth = page.locator("[data-walk=next]")
    for _ in range(page.locator("[data-step]").count()):
        forth.click()
    last = page.locator("[data-step][data-walked]")
    assert last.get_attribute("data-step") == "logits"
    box = "(part) => document.querySelector('[data-attnscope]').shadowRoot.querySelector(part).getBoundingClientRect()"
    until(page, f"() => ({box})('[data-walked]').bottom <= ({box})('.foot').top")
    assert re.fullmatch(r"\d+ logits", page.locator("[data-readout]").inner_text())


def test_without_x_it_begins_at_q_and_says_how_to_get_it(open_view, demo_trace):
    page = open_view(demo_trace.show(level="steps", layer=3, head=5, query="it"))
    words = ~torch.tensor(demo_trace.tokens.special)
    key = int((demo_trace.site(3).weights(5, 7)[0] * words).argmax())
    assert_numbers_match(page, demo_trace.site(3), 5, 7, key)
    ask = page.locator("[data-ask]").inner_text()
    assert "begin at q, k and v" in ask
    assert 'keep={"x", "pre_rotary", "projections"}' in ask
    assert page.locator('[data-vector="q"] [aria-expanded]').count() == 0, "nothing that made q is known"


def test_another_head_says_where_x_is_and_how_large_it_is(open_view, demo):
    view = attnscope.show(*demo, "The cat sat on the mat.", level="steps", layer=2, head=8, query=3)
    page = open_view(view, hash="#level=steps&layer=4&head=1&query=3")
    ask = page.locator("[data-ask]").inner_text()
    whole = sum(sizes(site)[1] for site in view.trace.sites)
    assert "0.2 MB" in ask
    assert f"{whole / 1e6:.0f} MB" in ask or f"{whole / 1e6:.1f} MB" in ask
    assert 'steps="all"' in ask
    page.locator("[data-ask-go]").click()
    page.wait_for_selector('[data-vector="x"]')
    assert page.locator('[data-crumb="layer"]').input_value() == "2"
    page.go_back()
    page.wait_for_selector("[data-ask]")


def test_all_heads_on_request(open_view):
    model = tiny.model("llama")
    view = attnscope.show(
        model, None, inputs=tiny.inputs("llama"), level="steps", layer=0, head=0, query=5, steps="all"
    )
    page = open_view(view, hash="#level=steps&layer=1&head=5&query=8&key=3")
    assert page.locator("[data-ask]").count() == 0
    assert_numbers_match(page, view.trace.site(1), 5, 8, 3)


def test_cross_attention(open_view):
    trace, view = tiny_view("t5", stack="cross", layer=1, head=2, query=3, key=8)
    page = open_view(view)
    seen, links = assert_numbers_match(page, trace.site(1, "cross"), 2, 3, 8)
    assert all(close(value, links["x_keys"][8, int(m)]) for m, value in seen["vectors"]["x_key"].items())
    assert "scaled" in seen["quiet"]


def test_weights_only(open_view):
    weights = torch.softmax(torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(1)), -1)
    trace = attnscope.Trace.from_attentions(weights, list("abcdefg"))
    page = open_view(trace.show(level="steps", layer=1, head=2, query=4, key=5))
    assert "no arithmetic to write out" in page.locator('[data-level="steps"]').inner_text()
    assert close(page.evaluate(READ)["scalars"]["weight"], weights[1, 2, 4, 5])


def test_given_tensors(open_view):
    q, k, v = (torch.randn(2, 11, 5, generator=torch.Generator().manual_seed(i)) for i in range(3))
    trace = attnscope.Trace.from_qkv(q, k, v)
    page = open_view(trace.show(level="steps", head=1, query=4, key=2))
    assert "given as they are" in page.locator("[data-ask]").inner_text()
    assert_numbers_match(page, trace.sites[0], 1, 4, 2)


@pytest.mark.parametrize("width", [1280, 700, 400])
def test_nothing_is_cut_off(open_view, width):
    _, view = tiny_view("qwen3", layer=1, head=4, query=9)
    page = open_view(view, width=width)
    page.locator('[data-vector="q_made"] [data-dim="3"]').click()
    wider = page.evaluate("""() => {
      const root = document.querySelector('[data-attnscope]').shadowRoot;
      const room = root.querySelector('main').clientWidth;
      return [...root.querySelectorAll('[data-level="steps"] *')].filter(e => e.checkVisibility() && !e.classList.contains('unseen')
        && !e.closest('.unfolded') && e.getBoundingClientRect().right > room + 1).map(e => e.className).slice(0, 5);
    }""")
    assert wider == []


def test_the_saved_picture_holds_the_numbers(open_view):
    trace, view = tiny_view("llama", layer=1, head=4, query=9, key=3)
    page = open_view(view)
    page.locator('[data-tool="save"]').click()
    with page.expect_download() as download:
        page.locator('[data-save="svg"]').click()
    drawing = ElementTree.fromstring(download.value.path().read_text(encoding="utf-8"))
    links = {link.name: link.value for link in trace.site(1).steps(4, 9)}
    texts = " ".join(drawing.itertext())
    assert "q [10] = x [18] · W_q [18 × 10]" in texts
    values = [
        float(one.get("data-value"))
        for one in drawing.iter("{http://www.w3.org/2000/svg}rect")
        if one.get("data-value")
    ]
    for name in ("x", "query", "output", "write"):
        for number in links[name]:
            assert any(close(value, number) for value in values), name
    scalars = [
        float(one.get("data-value"))
        for one in drawing.iter("{http://www.w3.org/2000/svg}text")
        if one.get("data-value")
    ]
    assert any(close(value, links["dot"][3]) for value in scalars)
