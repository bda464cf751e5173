"""The recipes of docs/hosts.md run, and what they hand to Streamlit and Gradio lives in the frames those make of it."""

import html
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

HOSTS = Path(__file__).parents[2] / "docs" / "hosts.md"
TEXT = "The kite climbs when a strong wind lifts it."

pytestmark = pytest.mark.source


def run_recipe(title: str, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The recipe's own lines, with a stand-in for the library that it is a recipe for."""
    part = HOSTS.read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    code = re.search(r"```python\n(.*?)```", part, re.DOTALL)
    assert code
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names: dict[str, Any] = {}
    exec(compile(code[1], str(HOSTS), "exec"), names)
    return names


def alive(page) -> bool:
    page.wait_for_selector("iframe")
    frame = page.frames[1]
    frame.wait_for_selector("[data-attnscope][data-ready]")
    return frame.locator("[data-query-list] [data-slot]").count() > 5


def test_streamlit(monkeypatch: pytest.MonkeyPatch, new_page, tmp_path: Path) -> None:
    drawn: list[tuple[str, dict[str, Any]]] = []
    module = ModuleType("streamlit")
    module.cache_resource = lambda function: function  # type: ignore[attr-defined]
    module.text_input = lambda label, value: value  # type: ignore[attr-defined]
    draw = SimpleNamespace(html=lambda text, **options: drawn.append((text, options)))
    module.components = SimpleNamespace(v1=draw)  # type: ignore[attr-defined]
    run_recipe("Streamlit", module, monkeypatch)
    ((text, options),) = drawn
    assert options == {"height": 900, "scrolling": True}
    outer = tmp_path / "streamlit.html"
    # Streamlit's frame: srcdoc, scripts allowed.
    outer.write_text(
        '<!doctype html><meta charset="utf-8"><iframe sandbox="allow-forms allow-modals allow-popups allow-same-origin '
        f'allow-scripts allow-downloads" height="900" width="1000" srcdoc="{html.escape(text)}"></iframe>'
    )
    page = new_page()
    page.goto(outer.as_uri())
    assert alive(page)


def test_gradio(monkeypatch: pytest.MonkeyPatch, new_page, tmp_path: Path) -> None:
    launched: list[Any] = []
    module = ModuleType("gradio")
    module.Textbox = lambda value: value  # type: ignore[attr-defined]
    module.HTML = lambda: None  # type: ignore[attr-defined]
    module.Interface = lambda function, given, shown: SimpleNamespace(launch=lambda: launched.append((function, given)))  # type: ignore[attr-defined]
    run_recipe("Gradio", module, monkeypatch)
    ((look, given),) = launched
    assert given == TEXT
    page = new_page()
    page.goto("about:blank")
    # Gradio sets it as inner HTML, where scripts beside the frame would not run.
    page.evaluate("text => { document.body.innerHTML = text }", look(given))
    assert alive(page)
