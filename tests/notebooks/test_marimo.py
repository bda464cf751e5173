"""Views in a real marimo: in mo.ui.anywidget, whose value follows the page; as they are; and static."""

import os
import secrets

import pytest
from playwright.sync_api import expect

from notebook_servers import free_port, running

pytestmark = [pytest.mark.notebook, pytest.mark.browser, pytest.mark.by_hand]

NOTEBOOK = """import marimo

app = marimo.App()


@app.cell
def _():
    import attnscope
    import marimo as mo

    trace = attnscope.trace(*attnscope.load("demo"), "The kite climbs when a strong wind lifts it.")
    view = trace.show(layer=2, head=8, query=3)
    seen = []
    view.widget.observe(lambda change: seen.append((change.name, change.new)), ["layer", "head"])
    scope = mo.ui.anywidget(view.widget)
    return mo, scope, seen, trace, view


@app.cell
def _(scope):
    scope
    return


@app.cell
def _(mo, scope):
    mo.md(f"value: {scope.value['layer']}, {scope.value['head']}")
    return


@app.cell
def _(mo, view):
    to_five = mo.ui.button(label="to head 5", value=0, on_click=lambda n: [n + 1, setattr(view.widget, "head", 5)][0])
    to_five
    return (to_five,)


@app.cell
def _(mo, seen, to_five):
    mo.md(f"seen after {to_five.value}: {seen}")
    return


@app.cell
def _(trace):
    trace.show(layer=1, head=4, query=3)
    return


@app.cell
def _(trace):
    trace.show(layer=0, head=2, query=3, static=True)
    return
"""


def test_views_in_marimo(page, tmp_path):
    (tmp_path / "app.py").write_text(NOTEBOOK)
    port, token = free_port(), secrets.token_hex(16)
    env = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path),
        "MARIMO_SKIP_UPDATE_CHECK": "1",
    }
    url = f"http://127.0.0.1:{port}"
    command = ["marimo", "run", str(tmp_path / "app.py"), "--headless", "--host", "127.0.0.1", "--port", str(port)]
    with running([*command, "--token", "--token-password", token], f"{url}/health", env, tmp_path / "log"):
        page.goto(f"{url}/?access_token={token}")
        views = page.locator("[data-attnscope][data-ready]")
        views.nth(1).wait_for()
        heads = [views.nth(i).locator('[data-crumb="head"]').input_value() for i in range(2)]
        assert heads == ["8", "4"], "in mo.ui.anywidget, and as it is"
        static = page.frame_locator("iframe.attnscope-frame").locator("[data-attnscope][data-ready]")
        static.wait_for()
        assert static.locator('[data-crumb="head"]').input_value() == "2"
        page.get_by_text("value: 2, 8").wait_for()
        views.first.locator('[data-crumb="layer"]').select_option(index=0)
        page.get_by_text("value: 0, 8").wait_for()
        page.get_by_text("to head 5").click()
        page.get_by_text("seen after 1: [('layer', 0), ('head', 5)]").wait_for()
        expect(views.first.locator('[data-crumb="head"]')).to_have_value("5")
