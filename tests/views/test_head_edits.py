"""Edits as data, the same in Python and in the page: tests/cases/head_edits.json, which vitest reads too."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from attnscope import InputError
from attnscope.views.head_edits import MOST, HeadEdit, parse_edit, parse_edits

CASES = json.loads((Path(__file__).parents[1] / "cases" / "head_edits.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES["edits"], ids=lambda case: case["text"])
def test_an_edit_in_an_address_and_as_python(case: dict[str, Any]) -> None:
    edit = HeadEdit(**{**case["edit"], "heads": tuple(case["edit"]["heads"])})
    assert parse_edit(case["text"]) == edit
    assert str(edit) == case["text"]
    assert edit.code() == case["code"]


@pytest.mark.parametrize("text", CASES["refused"])
def test_what_is_no_edit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"expected an edit|the edit \w+"):
        parse_edit(text)


@pytest.mark.parametrize("wrong", [None, 3, ["off_L2H8"]])
def test_what_is_no_text_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="expected an edit such as off_L2H8"):
        parse_edit(wrong)


def test_each_once_and_not_too_many() -> None:
    assert [str(one) for one in parse_edits(["off_L2H8", "off_L1H0", "off_L2H8"])] == ["off_L2H8", "off_L1H0"]
    with pytest.raises(InputError, match=f"at most {MOST} edits"):
        parse_edits([f"off_L{layer}" for layer in range(MOST + 1)])


@given(st.floats(0, 1), st.integers(0, 999), st.lists(st.integers(0, 99), unique=True, max_size=3))
def test_a_text_is_read_as_it_was_written(weight: float, place: int, heads: list[int]) -> None:
    edit = HeadEdit("weights", place, tuple(heads), place, place + 1, weight)
    again = parse_edit(str(edit))
    assert again.number == pytest.approx(weight, abs=1e-6)
    assert str(again) == str(edit)
