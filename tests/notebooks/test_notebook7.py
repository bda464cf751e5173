"""A view in a real Notebook 7: alive, its traits read, set and observed."""

import contextlib

import nbformat
import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.notebook, pytest.mark.browser, pytest.mark.by_hand]

SETUP = """import attnscope
trace = attnscope.trace(*attnscope.load("demo"), "The kite climbs when a strong wind lifts it.")
view = trace.show(layer=2, head=8, query=3)
seen = []
view.widget.observe(lambda change: seen.append((change.name, change.new)), ["layer", "head"])
"ready"
"""
CELLS = [
    SETUP,
    "view",
    "view.widget.layer, view.widget.head, seen",
    "view.widget.head = 5",
    "trace.show(layer=1, head=4, query=3, static=True)",
]


def test_a_live_view(page, notebook7):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, notebook7.folder / "live.ipynb")
    page.goto(notebook7.address("live.ipynb"))
    code = page.locator(".jp-Notebook .jp-CodeCell")
    code.nth(len(CELLS) - 1).wait_for()
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', state="attached")

    def run(index: int):
        """Runs a cell, again where the notebook was not ready to be typed into."""
        prompt = code.nth(index).locator(".jp-InputPrompt")
        before = prompt.inner_text()
        for _ in range(20):
            code.nth(index).locator(".cm-content").click()
            page.keyboard.press("Control+Enter")
            with contextlib.suppress(AssertionError):
                expect(prompt).not_to_have_text(before, timeout=1000)
                return code.nth(index).locator(".jp-OutputArea-output")
        raise AssertionError(f"cell {index} did not run")

    run(0).filter(has_text="ready").wait_for()
    view = run(1).locator("[data-attnscope][data-ready]")
    view.wait_for()
    view.locator('[data-crumb="layer"]').select_option(index=0)
    # The trait has followed when the kernel says so: the cell is run again until it does.
    read = run(2)
    for _ in range(100):
        read.wait_for()
        if read.inner_text().startswith("(0, "):
            break
        read = run(2)
    assert read.inner_text() == "(0, 8, [('layer', 0)])"
    run(3)
    expect(view.locator('[data-crumb="head"]')).to_have_value("5")
    static = run(4).frame_locator("iframe.attnscope-frame").locator("[data-attnscope][data-ready]")
    static.wait_for()
    assert static.locator('[data-crumb="head"]').input_value() == "4"
