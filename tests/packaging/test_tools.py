"""What the Makefile stands on says what to do when something is missing, and never goes on without it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.source]

TOOLS = Path(__file__).parents[2] / "tools"


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def find_browser(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "ATTNSCOPE_BROWSER"}
    command = [sys.executable, str(TOOLS / "find_browser.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=kept | environment)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """A machine without a browser: nothing on PATH, nothing downloaded."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "browsers")}


@pytest.mark.skipif(sys.platform == "darwin", reason="Chrome is looked up in /Applications too")
def test_no_browser_is_an_error_that_says_what_to_do(bare: dict[str, str]) -> None:
    result = find_browser(**bare)
    assert result.returncode == 1
    assert result.stdout == ""
    for way in ("apt-get install chromium", "playwright install", "ATTNSCOPE_BROWSER="):
        assert way in result.stderr


def test_browser_on_path_is_found(bare: dict[str, str]) -> None:
    chromium = program(Path(bare["PATH"], "chromium"), "echo Chromium 1.2.3")
    assert find_browser(**bare).stdout.strip() == str(chromium)


@pytest.mark.skipif(sys.platform == "darwin", reason="Chrome is looked up in /Applications too")
def test_browser_that_does_not_start_is_none(bare: dict[str, str]) -> None:
    program(Path(bare["PATH"], "chromium"), "exit 127")
    assert find_browser(**bare).returncode == 1


def test_named_browser_that_does_not_start_is_an_error(bare: dict[str, str]) -> None:
    result = find_browser("--install", ATTNSCOPE_BROWSER="/no/such/browser", **bare)
    assert result.returncode == 1
    assert "/no/such/browser does not start" in result.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="apt-get is asked only as root")
def test_apt_is_asked_where_playwright_cannot_download(bare: dict[str, str]) -> None:
    chromium = Path(bare["PATH"], "chromium")
    fetch = f"[ $1 = update ] || {{ printf '#!/bin/sh\\n' > {chromium}; /bin/chmod +x {chromium}; }}"
    program(Path(bare["PATH"], "apt-get"), fetch)
    result = find_browser("--install", PLAYWRIGHT_DOWNLOAD_HOST="http://127.0.0.1:9", **bare)
    assert result.stdout.strip() == str(chromium), result.stderr
    assert "trying Playwright" in result.stderr
    assert "trying apt-get" in result.stderr


@pytest.mark.parametrize("python", ["", "no-such-python", "old"])
def test_python_too_old_or_missing_is_an_error_that_names_the_way_out(python: str, tmp_path: Path) -> None:
    if python == "old":
        python = str(program(tmp_path / "python3", '[ "$1" = --version ] && echo Python 3.8.10 || exit 1'))
    result = subprocess.run(
        [TOOLS / "make-venv", tmp_path / "venv", python], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "PYTHON=/path/to/python" in result.stderr
    assert "3.11" in result.stderr
    assert not (tmp_path / "venv").exists()
