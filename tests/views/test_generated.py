"""What the page reads from frontend/src/generated is what the tables in Python say."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import pytest

from attnscope.render.figures.colours import ON_ANY
from attnscope.tracing.step_names import STEP_NAMES
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


def test_colours_and_names_of_steps_stand_in_one_place() -> None:
    """No colour outside the table, but the doctor's one mark and text on a cell; no title of a step in the page."""
    package, page = ROOT / "src" / "attnscope", ROOT / "frontend" / "src"
    python = {path for path in package.rglob("*.py") if path.name not in ("colours.py", "report_html.py")}
    style = {path for path in page.rglob("*.css") if path.name != "colours.css"}
    for path in python | style:
        assert not re.findall(r"#[0-9a-fA-F]{6}\b", path.read_text("utf-8")), path
    titles = {step.title for step in STEP_NAMES.values() if len(step.title) > 8}  # "q · k" is notation
    assert titles
    for path in (page / "levels" / "steps").glob("*.ts"):
        source = path.read_text("utf-8")
        assert not [title for title in titles if f'"{title}"' in source], path


def test_colours_for_any_ground_can_be_seen_on_both() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(a * b for a, b in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    for colour in ON_ANY.values():  # WCAG's contrast with white and with black
        assert 1.05 / (luminance(colour) + 0.05) >= 3 <= (luminance(colour) + 0.05) / 0.05, colour


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
