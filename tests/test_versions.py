"""Other releases of torch and transformers are refused: by what is expected, what was found, and what to install."""

import sys
import tomllib
from pathlib import Path

import pytest
import torch

import attnscope
from attnscope import versions


def test_what_is_installed_fits() -> None:
    assert versions.unsupported() is None


@pytest.mark.parametrize("found", ["4.57.1", "5.0.0", "5.0.0rc3", "6.0.0.dev0", "6.1"])
def test_another_transformers_is_refused(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["transformers"], "__version__", found)
    said = (
        "attnscope works with transformers from 5.1 on and below 6, and this is "
        f"transformers {found}. Install one: pip install 'transformers>=5.1,<6'."
    )
    assert versions.unsupported() == said
    with pytest.raises(attnscope.LoadError) as caught:
        attnscope.load("demo")
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("found", "fits"), [("2.4.1+cpu", False), ("2.5.0", True), ("2.13.0a0+git1", True), ("3.0", True)]
)
def test_an_older_torch_is_refused(found: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", found)
    assert (versions.unsupported() is None) == fits
    if not fits:
        with pytest.raises(
            attnscope.LoadError, match=r"torch from 2\.5 on, and this is torch 2\.4\.1\+cpu\..*'torch>=2\.5'"
        ):
            attnscope.load("demo")


@pytest.mark.source
def test_the_ranges_are_those_that_pip_knows() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, (first, end) in versions.RANGES.items():
        wanted = f"{name}>={'.'.join(map(str, first))}" + (f",<{'.'.join(map(str, end))}" if end else "")
        assert wanted in project["dependencies"]
