"""A failed `assert attnscope.check(f)` shows the report: by itself as raise_for_errors, in pytest through the plugin."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import attnscope
from attnscope.doctor.diagnosis import Diagnosis
from attnscope.doctor.findings import finding
from attnscope.doctor.pytest_plugin import _with_report
from patience import PATIENCE

SOURCE = Path(attnscope.__file__).parents[1]
PLUGIN = "attnscope.doctor.pytest_plugin"
CASES = """
from attnscope.doctor.diagnosis import Diagnosis
from attnscope.doctor.findings import finding

def check(ill=True):
    found = finding("raises", error="ValueError: <x> = [red]", evidence="line 3 of it")
    return Diagnosis("mine", (found,) * ill)

def test_of_a_call():
    assert check()

def test_of_a_name():
    diagnosis = check()
    assert diagnosis, "my own words"

def test_with_the_method():
    check().raise_for_errors()

def test_of_something_else():
    sound = check(ill=False)
    assert sound
    assert 1 == 2
"""


def ill() -> Diagnosis:
    return Diagnosis("mine", (finding("mutates-inputs", arguments="first"), finding("not-finite")))


def test_raise_for_errors_raises_with_the_report() -> None:
    found = finding("raises", error="ValueError: no")
    diagnosis = Diagnosis("mine", (found,))
    with pytest.raises(AssertionError) as raised:
        diagnosis.raise_for_errors()
    assert str(raised.value) == repr(diagnosis)
    assert found.cure in str(raised.value)
    sound = Diagnosis("mine")
    assert sound.raise_for_errors() is sound
    with pytest.raises(AssertionError, match="nothing"):
        Diagnosis("mine", compared=False).raise_for_errors()
    warned = finding("mutates-inputs", arguments="first")
    assert Diagnosis("mine", (warned,)).raise_for_errors()
    with pytest.raises(AssertionError, match="in place"):
        Diagnosis("mine", (warned,), strict=True).raise_for_errors()


def test_asking_whether_it_is_true_has_no_side_effect(capfd: pytest.CaptureFixture[str]) -> None:
    diagnosis = ill()
    before = repr(diagnosis)
    assert not diagnosis
    assert repr(diagnosis) == before
    assert capfd.readouterr() == ("", "")


def test_the_first_hint_says_one_thing() -> None:
    gravest = finding("not-finite").invariant
    diagnosis = Diagnosis(
        "mine",
        (finding("mutates-inputs", arguments="first"), finding("not-finite")),
        not_examined=("masks: it takes none",),
        notes=("a note",),
        hint=1,
    )
    assert diagnosis.lines()[1:] == [f"1. this does not hold: {gravest}"]
    assert diagnosis.to_dict()["findings"] == [{"invariant": gravest}]
    assert diagnosis.to_dict()["not_examined"] == []
    assert diagnosis._repr_html_().count("this does not hold") == 1
    bare = Diagnosis("mine", not_examined=("masks: it takes none",), compared=False, hint=1)
    assert bare.lines()[1:] == ["not examined: masks: it takes none"]  # it says why nothing could be compared


def test_pytest_shows_the_report(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(CASES)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        PLUGIN,
        "-p",
        "no:cacheprovider",
        "--tb=short",
        "-q",
        "test_mine.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    parts = dict(zip(("call", "name", "method", "else"), result.stdout.split("\n____")[1:], strict=True))
    report = (
        "E   1. error: it raises ValueError: <x> = [red] [raises]",
        "E      evidence: line 3 of it",
        "E      cure: ",
    )
    for name in ("call", "name", "method"):
        assert all(part in parts[name] for part in report), parts[name]
        assert "\\n" not in parts[name]
    assert "E   assert mine: 1 error\n" in parts["call"]
    assert "where mine: 1 error = check()" in parts["call"]
    assert "my own words" in parts["name"]
    assert "assert 1 == 2" in parts["else"]
    assert "mine" not in parts["else"].partition("short test summary")[0].replace("test_mine", "")
    assert "4 failed" in result.stdout


def test_a_message_without_pytests_own_text_gets_the_headline() -> None:
    assert _with_report("", ill()).splitlines()[0] == ill().headline
    shortened = (
        f"words\nassert {ill().headline}\\n1. warning: it ch...st\n +  where {ill().headline}\\n1. w...t = check()"
    )
    assert _with_report(shortened, ill()).splitlines()[:3] == [
        "words",
        f"assert {ill().headline}",
        f" +  where {ill().headline} = check()",
    ]


@pytest.mark.packaging
def test_the_plugin_is_light() -> None:
    code = f"import sys, pytest; before = set(sys.modules); import {PLUGIN}; print(sorted({{n.partition('.')[0] for n in set(sys.modules) - before}}))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert set(eval(done.stdout)) - sys.stdlib_module_names <= {"attnscope", "lazy_loader"}, done.stdout


@pytest.mark.source
def test_pytest_finds_the_plugin() -> None:
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"attnscope": PLUGIN}
