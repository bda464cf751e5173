"""The code that makes a view again is the page's in every case: tests/cases/as_python.json, which vitest reads too."""

import ast
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from attnscope import Trace
from attnscope.tracing.trace import ModelInfo
from attnscope.views.as_python import python, python_of_comparison
from attnscope.views.state import State

CASES = json.loads((Path(__file__).parents[1] / "cases" / "as_python.json").read_text("utf-8"))


def model(given: dict[str, str]) -> ModelInfo:
    return ModelInfo(given["name"], given["class"])


@pytest.mark.parametrize("case", CASES["views"], ids=lambda case: case["name"])
def test_a_view(case: dict[str, Any]) -> None:
    code = python(case["source"], model(case["model"]), State(**case["state"]), bool(case.get("sites")))
    assert code == case["said"]
    ast.parse(code)


@pytest.mark.parametrize("case", CASES["pairs"], ids=lambda case: case["name"])
def test_a_comparison(case: dict[str, Any]) -> None:
    qkv = torch.zeros(3, 1, 2, 5, 7).unbind()
    made = Trace.from_qkv(*qkv, tokens=list("abcde"))
    a, b = (dataclasses.replace(made, source=s["source"], model=model(s["model"])) for s in case["sides"])
    code = python_of_comparison(a, b, State(**case["state"]))
    assert code == case["said"]
    ast.parse(code)
