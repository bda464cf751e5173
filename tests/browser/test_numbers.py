"""What the page shows is what Python computes, to the last digit that fp32 has, in every way a page is opened."""

import pytest
import torch

import attnscope
from attnscope.tracing.masks import MaskRule, causal_rule
from browser_tools import settled
from made_traces import WAYS, made_trace, with_everything

READ = """() => {
  const root = document.querySelector('[data-attnscope]').shadowRoot;
  const rows = {};
  for (const row of root.querySelectorAll('[data-row-key]')) if (row.checkVisibility())
    rows[row.dataset.rowKey] = Object.fromEntries([...row.querySelectorAll('[data-col][data-value]')].map(c => [c.dataset.col, Number(c.dataset.value)]));
  const links = Object.fromEntries([...root.querySelectorAll('[data-link]')].map(e => [e.dataset.link, Number(e.dataset.value)]));
  return {rows, links};
}"""


def assert_rows_match(page, site, head, query):
    chain = site.chain(head, query)
    share = site.share(head, query)
    seen = page.evaluate(READ)["rows"]
    assert len(seen) == site.keys
    for key, cells in seen.items():
        k = int(key)
        assert cells["dot"] == pytest.approx(float(chain.dot[0, k]), rel=1e-4, abs=1e-4)
        assert cells["weight"] == pytest.approx(float(chain.weights[0, k]), rel=1e-3, abs=1e-6)
        assert cells["share"] == pytest.approx(float(share[k]), rel=1e-3, abs=1e-6)
        if torch.isfinite(chain.masked[0, k]):
            assert cells["score"] == pytest.approx(float(chain.masked[0, k]), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_the_demo(open_view, demo_trace, way):
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"), way)
    site = demo_trace.site(2)
    assert_rows_match(page, site, 8, 7)
    links = page.evaluate(READ)["links"]
    chain = site.chain(8, 7)
    assert links["dot"] == pytest.approx(float(chain.dot[0, 8]), rel=1e-4)
    assert links["scaled"] == pytest.approx(float(chain.scaled[0, 8]), rel=1e-4)
    assert links["weight"] == pytest.approx(float(chain.weights[0, 8]), rel=1e-4)
    assert page.locator("[data-sentence]").inner_text().startswith("it attends most to flies with 53 % of its weight")


def test_another_layer_head_and_query(open_view, demo_trace):
    page = open_view(
        demo_trace.show(level="neuron", layer=2, head=8, query="it"), hash="#level=neuron&layer=4&head=3&query=12&key=2"
    )
    assert_rows_match(page, demo_trace.site(4), 3, 12)


def test_fp16_pages_show_the_rounded_numbers(open_view, demo_trace):
    full = sum(s.q.nbytes + s.k.nbytes + s.v.nbytes for s in demo_trace.sites) / 1e6
    view = demo_trace.show(level="neuron", layer=2, head=8, query="it", max_mb=full)
    page = open_view(view)
    seen = page.evaluate(READ)["rows"]
    assert seen["8"]["weight"] == pytest.approx(0.527, abs=2e-3)
    assert seen["8"]["dot"] != pytest.approx(float(demo_trace.site(2).dot(8, 7)[0, 8]), rel=1e-7)
    assert "fp16" in page.locator("[data-notes]").inner_text(), "in sight without a click"
    page.locator("[data-receipt]").click()
    assert "fp16" in page.locator("main").inner_text()


@pytest.mark.parametrize("query", [0, 4, 12])
def test_grouped_softcapped_biased_windowed_and_with_sinks(open_view, query):
    trace = with_everything()
    page = open_view(trace.show(level="neuron", layer=1, head=4, query=query))
    assert_rows_match(page, trace.site(1), 4, query)
    links = page.evaluate(READ)["links"]
    assert {"dot", "scaled", "capped", "biased", "weight"} <= set(links)
    sink = page.locator('[data-row="sink"] [data-col="weight"]').get_attribute("data-value")
    assert float(sink) == pytest.approx(1 - float(trace.site(1).weights(4, query).sum()), abs=1e-5)
    if query == 4:
        assert page.locator(".row.masked").count() == 8, "a window of 5 leaves keys 0 to 4 of 13"
        assert page.locator('[data-row-key="9"] [data-col="weight"]').inner_text() == "masked"


@pytest.mark.parametrize("uniform", [False, True])
def test_a_query_with_no_key_allowed(open_view, uniform):
    keys = torch.ones(11, dtype=torch.bool)
    keys[:3] = False
    rule = MaskRule(upper=0, keys=keys, uniform_empty_rows=uniform)
    trace = made_trace(queries=11, mask=rule)
    page = open_view(trace.show(level="neuron", layer=0, head=1, query=1))
    seen = page.evaluate(READ)["rows"]
    assert seen["5"]["weight"] == pytest.approx(1 / 11 if uniform else 0.0, abs=1e-6)
    assert "no key" in page.locator("main").inner_text().lower()


def test_packed_masks(open_view):
    cells = torch.rand(13, 13, generator=torch.Generator().manual_seed(3)) > 0.4
    cells |= torch.eye(13, dtype=torch.bool)
    q, k, v = (torch.randn(2, 13, 7, generator=torch.Generator().manual_seed(i)) for i in range(3))
    trace = attnscope.Trace.from_qkv(q, k, v, mask=cells)
    assert trace.sites[0].mask.packed is not None
    page = open_view(trace.show(level="neuron", head=1, query=6))
    assert_rows_match(page, trace.sites[0], 1, 6)
    assert page.locator(".row.masked").count() == int((~cells[6]).sum())


def test_without_a_projection_the_share_is_of_values(open_view):
    trace = made_trace()
    page = open_view(trace.show(level="neuron", layer=0, head=2, query=5))
    assert_rows_match(page, trace.site(0), 2, 5)
    assert "W_O" not in page.locator('[data-heading="share"]').inner_text()


def test_the_browser_checks_the_output_itself(open_view, demo_trace):
    page = open_view(demo_trace.show(level="neuron", layer=2, head=8, query="it"))
    settled(page)
    page.locator("[data-receipt]").click()
    assert "This browser did the same for head 8" in page.locator("main").inner_text()
    assert "✓" in page.locator("[data-receipt]").inner_text()


def test_a_receipt_that_fails_is_unmistakable(open_view):
    from dataclasses import replace

    trace = made_trace()
    wrong = replace(trace.sites[0], z=trace.sites[0].z * 1.5)
    page = open_view(trace.replace_sites([wrong, trace.sites[1]]).show(level="neuron", layer=0, head=0, query=3))
    assert "✕" in page.locator("[data-receipt]").inner_text()
    assert page.locator(".banner").is_visible()


def test_a_cached_step_names_its_query(open_view):
    """One query among thirteen keys: the query is the last token."""
    from dataclasses import replace

    whole = made_trace(mask=causal_rule(13, 13))
    sites = [replace(s, q=s.q[:, 12:], z=s.z[:, 12:], z_rows=torch.tensor([0]), mask=MaskRule()) for s in whole.sites]
    trace = whole.replace_sites(sites)
    page = open_view(trace.show(level="neuron", layer=1, head=0))
    assert page.locator('[data-crumb="query"]').locator("..").inner_text().find("word12") >= 0
    seen = page.evaluate(READ)["rows"]
    assert seen["4"]["weight"] == pytest.approx(float(whole.site(1).weights(0, 12)[0, 4]), rel=1e-3, abs=1e-6)
