"""Facts that several files of the repository state: they state the same."""

import json
import re
import tomllib
from pathlib import Path

import pytest

import attnscope
from attnscope.models.packaged import SMOLLM2_WHEEL

pytestmark = [pytest.mark.packaging, pytest.mark.source]

ROOT = Path(__file__).parents[2]


def test_version_is_the_same_everywhere() -> None:
    version = attnscope.__version__
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)[1] == version
    assert re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version


def test_constraints_are_plain_pins_without_a_build_of_torch() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins)  # no +cpu, no address, no path
    assert not [pin for pin in pins if re.match("nvidia|cuda|triton", pin)]


def test_constraints_pin_every_requirement() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["dev"],
        *project["optional-dependencies"]["demo"],
        *project["optional-dependencies"]["smollm2"],
        SMOLLM2_WHEEL,
    ]
    names = {re.match(r"[A-Za-z0-9._-]+", line)[0].lower().replace("_", "-") for line in wanted} - {"attnscope"}
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert names <= pinned
    assert SMOLLM2_WHEEL in (ROOT / "constraints.txt").read_text().splitlines()


def test_front_end_lock_names_no_host_but_the_public_registry() -> None:
    packages = json.loads((ROOT / "frontend/package-lock.json").read_text())["packages"]
    hosts = {re.match(r"https?://([^/]+)", p["resolved"])[1] for p in packages.values() if "resolved" in p}
    assert hosts <= {"registry.npmjs.org"}


def test_browser_tests_wait_for_conditions_and_never_for_a_clock() -> None:
    here = Path(__file__)
    waits = [
        path.name for path in (ROOT / "tests").rglob("*.py") if path != here and "wait_for_timeout" in path.read_text()
    ]
    assert waits == []
