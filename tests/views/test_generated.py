"""What the page reads from frontend/src/generated is what the tables in Python say."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import pytest

from attnscope.views import levels
from attnscope.views.sentences import notes
from attnscope.views.state import State

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.source


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_has_drifted(generate) -> None:
    assert generate.drift() == []


def test_a_change_on_either_side_is_found(generate, monkeypatch, tmp_path) -> None:
    changed = (*levels.REGISTRY[:-1], dataclasses.replace(levels.REGISTRY[-1], help="Something else."))
    monkeypatch.setattr(levels, "REGISTRY", changed)
    assert generate.drift() == ["words.json"]
    monkeypatch.undo()
    monkeypatch.setitem(generate.colours.PAGE["light"], "ink", "#000000")
    monkeypatch.setitem(notes.NOTES, "words", "Pieces of a word are one.")
    assert generate.drift() == ["words.json", "colours.json"]
    monkeypatch.undo()
    for name, make in generate.FILES.items():
        (tmp_path / name).write_text(make(), "utf-8")
    assert generate.drift(tmp_path) == []
    text = (tmp_path / "state.ts").read_text("utf-8")
    (tmp_path / "state.ts").write_text(text.replace('"head",\n  stack', '"neuron",\n  stack'), "utf-8")
    assert generate.drift(tmp_path) == ["state.ts"]


def test_the_page_has_no_other_source_for_these_facts() -> None:
    """No colour of the table, and no field's list of choices, stands in a source of the page once more."""
    sources = [path for path in (ROOT / "frontend" / "src").rglob("*.ts") if "generated" not in path.parts]
    text = {path: path.read_text("utf-8") for path in sources}
    colours = json.loads((ROOT / "frontend/src/generated/colours.json").read_text("utf-8"))
    known = {
        colour for theme in ("light", "dark") for colour in (*colours["page"][theme].values(), *colours["heads"][theme])
    }
    for path, source in text.items():
        found = set(re.findall(r"#[0-9a-f]{6}\b", source)) - {"#000000", "#ffffff"}  # text on a cell
        assert not known & found, path
        for row in State.table():
            listed = ", ".join(json.dumps(choice) for choice in row.metadata["choices"])
            assert not listed or f"[{listed}]" not in source, (path, row.name)
