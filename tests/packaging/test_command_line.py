"""The two ways in: the `attnscope` program and `python -m attnscope`."""

import subprocess
import sys
from pathlib import Path

import pytest

import attnscope
from patience import PATIENCE

pytestmark = pytest.mark.packaging

PROGRAM = [str(Path(sys.executable).with_name("attnscope"))]
MODULE = [sys.executable, "-m", "attnscope"]


@pytest.mark.parametrize("command", [PROGRAM, MODULE], ids=["attnscope", "python -m attnscope"])
def test_help_names_the_commands(command: list[str]) -> None:
    result = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert "show" in result.stdout


def test_version() -> None:
    result = subprocess.run([*MODULE, "--version"], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert attnscope.__version__ in result.stdout


def test_unknown_command_exits_2_without_a_traceback() -> None:
    result = subprocess.run([*MODULE, "no-such-command"], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
