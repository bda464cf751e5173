"""Numbers and tokens are spelled alike in Python and on the page: tests/cases/spelling.json, which vitest reads too."""

import json
from pathlib import Path
from typing import Any

import pytest

from attnscope.text import format
from attnscope.text.spelling import isolated, labels, named, spelled, visible
from attnscope.tracing.tokens import Tokens

CASES = json.loads((Path(__file__).parents[1] / "cases" / "spelling.json").read_text())


def tokens(table: dict[str, Any]) -> Tokens:
    return Tokens(
        tuple(table["text"]),
        special=tuple(table["special"]),
        words=tuple(table["words"]),
        word_text=tuple(table["word_text"]) or ("",),
        segments=tuple(table["segments"]),
    )


@pytest.mark.parametrize("case", CASES["tables"], ids=lambda case: case["name"])
def test_tokens_are_shown_as_the_text_has_them(case: dict[str, Any]) -> None:
    made = tokens(case["table"])
    assert list(spelled(made)) == case["shown"]
    for index, name in case["named"].items():
        assert named(labels(made)[int(index)]) == name


@pytest.mark.parametrize(("text", "shown"), CASES["isolated"])
def test_what_is_written_from_the_right_is_isolated(text: str, shown: str) -> None:
    assert isolated(text) == shown


@pytest.mark.parametrize(("name", "cases"), CASES["numbers"].items())
def test_numbers(name: str, cases: list[list[Any]]) -> None:
    for *given, said in cases:
        values = [float(one) if one in ("nan", "inf", "-inf") else one for one in given]
        assert getattr(format, name)(*values) == said


def test_scores() -> None:
    assert [format.number(x) for x in (-1.5, float("-inf"), float("inf"))] == ["−1.50", "masked", "∞"]
    assert [format.significant(x) for x in (0.0451, -0.00012346, 12.0, 0.0)] == ["0.04510", "−0.000123", "12.00", "0"]


def test_what_can_be_seen_is_left_alone() -> None:
    for case in CASES["tables"]:
        for text in case["shown"]:
            assert visible(text) == text
