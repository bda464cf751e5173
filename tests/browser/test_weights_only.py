"""A page of nothing but weights shows them, to the last digit, and says what is not there."""

import pytest
import torch

from attnscope import Trace
from made_traces import WAYS

READ = """() => {
  const root = document.querySelector('[data-attnscope]').shadowRoot;
  const cells = row => Object.fromEntries(
    [...row.querySelectorAll('[data-col][data-value]')].map(c => [c.dataset.col, Number(c.dataset.value)]));
  const rows = [...root.querySelectorAll('[data-row-key]')].filter(row => row.checkVisibility());
  return {
    rows: Object.fromEntries(rows.map(row => [row.dataset.rowKey, cells(row)])),
    links: [...root.querySelectorAll('[data-link]')].filter(e => e.checkVisibility()).map(e => e.dataset.link),
  };
}"""


def three_stacks() -> Trace:
    generator = torch.Generator().manual_seed(3)

    def weights(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * 2).softmax(-1)

    given = {"encoder": weights(2, 3, 11, 11), "decoder": weights(2, 3, 7, 7), "cross": weights(2, 3, 7, 11)}
    return Trace.from_attentions(
        given, {"encoder": [f"s{i}" for i in range(11)], "decoder": [f"t{i}" for i in range(7)]}
    )


@pytest.mark.parametrize("way", WAYS)
def test_weights_are_read_back(open_view, way):
    trace = three_stacks()
    page = open_view(trace.show(level="neuron", stack="cross", layer=1, head=2, query=4), way)
    assert_weights(page, trace.site(1, "cross").weights(2, 4)[0])
    assert page.evaluate(READ)["links"] == ["weight"]
    assert "so there are no products to show" in page.locator(".message").inner_text()
    assert "weights only" in page.locator("[data-receipt]").inner_text()


def test_each_stack(open_view):
    trace = three_stacks()
    view = trace.show(level="neuron", stack="cross", layer=1, head=2, query=4)
    for stack in ("encoder", "decoder"):
        page = open_view(view, hash=f"#level=neuron&stack={stack}&layer=0&head=1&query=3&key=2")
        assert_weights(page, trace.site(0, stack).weights(1, 3)[0])


def test_fp16(open_view):
    given = torch.rand(2, 5, 41, 41, generator=torch.Generator().manual_seed(1)).softmax(-1)
    trace = Trace.from_attentions(given, [f"k{i}" for i in range(41)])
    page = open_view(trace.show(level="neuron", layer=1, head=3, query=7, max_mb=0.08))
    assert_weights(page, given[1, 3, 7].half().float())
    assert "fp16" in page.locator("[data-notes]").inner_text()


def assert_weights(page, expected):
    rows = page.evaluate(READ)["rows"]
    assert len(rows) == len(expected)
    for key, cells in rows.items():
        assert set(cells) == {"weight"}
        assert cells["weight"] == pytest.approx(float(expected[int(key)]), rel=1e-6)
