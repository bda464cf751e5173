"""What the documentation promises for notebooks is what a real JupyterLab shows.

Four saved notebooks (with and without widget state, trusted and not), each with a live and a static view; one with all
scripts stripped, as GitHub shows it; and one that runs.
"""

import copy

import nbformat
import pytest
from nbconvert import HTMLExporter

import attnscope
from browser_tools import until

pytestmark = [pytest.mark.notebook, pytest.mark.browser]

SENTENCE = "layer 2, head 8 (counted from 0)"


def write(lab, executed, name: str, *, state: bool, trusted: bool) -> None:
    notebook = copy.deepcopy(executed)
    notebook.metadata["attnscope_test"] = name  # trust goes by content: no two of them may be alike
    if not state:
        notebook.metadata.pop("widgets")
    nbformat.write(notebook, lab.folder / name)
    if trusted:
        lab.trust(name)


def open_in(page, lab, name: str):
    """The outputs of the second and third cell: the widget and the static view."""
    page.goto(lab.address(name))
    page.wait_for_selector(".jp-Notebook .jp-OutputArea-output")
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    return cells.nth(1).locator(".jp-OutputArea-output"), cells.nth(2).locator(".jp-OutputArea-output")


def alive_frame(output):
    return output.frame_locator("iframe.attnscope-frame").locator("[data-attnscope][data-ready]")


@pytest.mark.parametrize(("state", "trusted"), [(True, True), (True, False), (False, True), (False, False)])
def test_saved_notebooks(page, lab, executed, state, trusted):
    name = f"saved-{'state' if state else 'bare'}-{'trusted' if trusted else 'untrusted'}.ipynb"
    write(lab, executed, name, state=state, trusted=trusted)
    widget, static = open_in(page, lab, name)
    if trusted:
        alive_frame(static).wait_for()
    else:
        static.locator(".attnscope-plain table").wait_for()
        assert SENTENCE in static.inner_text()
        assert static.locator("iframe, script").count() == 0
    if state and trusted:
        view = widget.locator("[data-attnscope][data-ready]")
        view.wait_for()
        assert view.locator("[data-row-key]").count() > 5
    else:
        expected = "Error displaying widget" if trusted else "run this cell to see it"
        widget.filter(has_text=expected).wait_for()
        assert widget.locator("[data-attnscope]").count() == 0, (
            "a widget lives only where it is trusted and has its state"
        )


def test_keys_pressed_in_the_widget_stay_in_it(page, lab, executed):
    """An arrow would go to the next cell, and two d would delete this one."""
    write(lab, executed, "keys.ipynb", state=True, trusted=True)
    widget, _ = open_in(page, lab, "keys.ipynb")
    view = widget.locator("[data-attnscope][data-ready]")
    view.wait_for()
    active = "() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].map(cell => cell.classList.contains('jp-mod-active'))"
    view.locator('[data-ribbon] [data-token="4"]').click()
    before = page.evaluate(active)
    query = lambda: view.locator("[data-ribbon] .query").get_attribute("data-token")  # noqa: E731
    for key, there in (("ArrowDown", "5"), ("ArrowUp", "4"), ("ArrowRight", "5"), ("d", "5"), ("d", "5")):
        page.keyboard.press(key)
        assert query() == there
        assert page.evaluate(active) == before
    page.keyboard.press("Shift+Enter")
    until(page, f"before => String(({active})()) !== String(before)", before)


def test_with_all_scripts_stripped(executed):
    """nbconvert's sanitizer is what GitHub and nbviewer do: no script, no frame, no style."""
    html, _ = HTMLExporter(sanitize_html=True).from_notebook_node(copy.deepcopy(executed))
    assert "<iframe" not in html
    assert SENTENCE in html
    assert "share of output" in html


def test_a_live_notebook_goes_both_ways(page, lab):
    """Run in the browser: the widget follows its traits, its traits follow the widget, and missing layers are fetched."""
    setup = (
        'import attnscope\nmodel, tokenizer = attnscope.load("demo")\n'
        'trace = attnscope.trace(model, tokenizer, "The kite climbs when a strong wind lifts it. " * 6)\n'
        "view = trace.show(level='neuron', layer=2, head=8, query=3, max_mb=0.5)\nlen(view.blocks)"
    )
    cells = [setup, "view", "view.widget.layer, view.widget.head", "view.widget.head = 5"]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, lab.folder / "live.ipynb")
    page.goto(lab.address("live.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.get_by_text("| Idle").wait_for()  # the kernel is up
    code = page.locator(".jp-Notebook .jp-CodeCell")

    def run(index: int) -> None:
        code.nth(index).locator(".cm-content").click()
        page.keyboard.press("Control+Enter")

    run(0)
    code.nth(0).locator(".jp-OutputArea-executeResult").wait_for()
    assert int(code.nth(0).locator(".jp-OutputArea-executeResult pre").inner_text()) < 6, "not all layers are embedded"
    run(1)
    view = code.nth(1).locator("[data-attnscope][data-ready]")
    view.wait_for()
    view.locator('[data-crumb="layer"]').focus()
    view.locator('[data-crumb="layer"]').select_option(index=0)
    until(
        page,
        "document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-crumb=layer]').value == 0",
    )
    first = view.locator("[data-sentence]").inner_text()
    run(2)
    code.nth(2).locator(".jp-OutputArea-executeResult").wait_for()
    assert code.nth(2).locator(".jp-OutputArea-executeResult pre").inner_text() == "(0, 8)"
    run(3)
    until(
        page,
        "before => document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-sentence]').innerText != before",
        arg=first,
    )
    assert view.locator('[data-crumb="head"]').input_value() == "5"
    model, tokenizer = attnscope.load("demo")
    trace = attnscope.trace(model, tokenizer, "The kite climbs when a strong wind lifts it. " * 6)
    weights = trace.site(0).weights(5, 3)[0]
    shown = view.locator("[data-row-key]").first
    key = int(shown.get_attribute("data-row-key"))
    value = float(shown.locator('[data-col="weight"]').get_attribute("data-value"))
    assert value == pytest.approx(float(weights[key]), rel=1e-3, abs=1e-6)
