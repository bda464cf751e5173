"""`attnscope check FILE.py:NAME` starts a process for the code; its own process imports nothing heavy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from patience import PATIENCE

pytestmark = pytest.mark.packaging

HEAVY = {"torch", "numpy", "transformers"}
RUN = """
import json, sys
from attnscope.cli import main
{before}
try:
    main({arguments!r})
except SystemExit as ended:
    code = ended.code
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]))
"""
CODE = """
import time

import torch

def attend(query, key, value):
    return torch.softmax(query @ key.mT, -1) @ value

def endless(query, key, value):
    while True:
        time.sleep(1)

def leaves(query, key, value):
    import os
    os._exit(7)
"""


def outcome(*arguments: str, before: str = "") -> tuple[int, set[str]]:
    """The exit code, and which heavy packages the command's own process has imported."""
    code = RUN.format(arguments=["check", *arguments], before=before)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    exit_code, names = json.loads(result.stdout.splitlines()[-1])
    return exit_code, HEAVY & set(names)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("code") / "attention.py"
    path.write_text(CODE)
    return path


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("attend", [], 1),
        ("attend", ["--json"], 1),
        ("attend", ["--scaling", "1"], 0),
        ("endless", ["--limit", "3"], 1),  # stopped: the answer is the parent's own
        ("leaves", [], 1),
        ("missing", [], 2),
    ],
)
def test_the_parent_stays_light(name: str, options: list[str], expected: int, file: Path) -> None:
    assert outcome(f"{file}:{name}", *options) == (expected, set())


@pytest.mark.parametrize("arguments", [["--explain", "bos-doubled"], ["--explain", "nothing"], [], ["--help"]])
def test_help_and_explanations_are_light(arguments: list[str]) -> None:
    assert outcome(*arguments)[1] == set()


def test_these_can_fail(file: Path) -> None:
    assert outcome(f"{file}:attend", before="import torch")[1] == {"torch", "numpy"}
