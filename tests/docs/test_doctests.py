"""The examples in docstrings and in the pages of the docs are true."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import attnscope

ROOT = Path(__file__).parents[2]
SKIP = {"attnscope.__main__"}
MODULES = [m.name for m in pkgutil.walk_packages(attnscope.__path__, "attnscope.") if m.name not in SKIP]
PAGES = sorted(str(p.relative_to(ROOT)) for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if p.is_file())


def run(name: str, examples: list[doctest.DocTest]) -> int:
    """How many examples ran; fails with what doctest says where one is not true."""
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for test in examples:
        runner.run(test, out=said.append)
    assert runner.failures == 0, f"{name}:\n{''.join(said)}"
    return runner.tries


def test_examples_in_docstrings() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    tried = {name: run(name, finder.find(importlib.import_module(name), name)) for name in ["attnscope", *MODULES]}
    assert tried["attnscope.attention.functions"] >= 6


@pytest.mark.source
@pytest.mark.parametrize("page", PAGES)
def test_examples_in_pages(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, page, page, 0)
    assert run(page, [test]) == text.count(">>> ")


def test_a_false_example_is_found() -> None:
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "false", "false", 0)
    with pytest.raises(AssertionError, match="Expected:"):
        run("false", [test])
