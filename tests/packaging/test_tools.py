"""What the Makefile stands on says what to do when something is missing, and never goes on without it."""

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from patience import PATIENCE

pytestmark = [pytest.mark.packaging, pytest.mark.source]

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import coverage_report  # noqa: E402
import link_packages  # noqa: E402


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def find_browser(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "ATTNSCOPE_BROWSER"}
    command = [sys.executable, str(TOOLS / "find_browser.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=kept | environment)


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
@pytest.mark.parametrize(("there", "asked"), [("chromium-headless-shell", 1), ("chromium", 3)])
def test_apt_is_asked_first_and_once_more(there: str, asked: int, bare: dict[str, str]) -> None:
    """For the browser without windows; where a distribution has none, and Playwright cannot download, for the one with them."""
    browser = Path(bare["PATH"], there)
    fetch = f"for last; do :; done; [ $last != {there} ] || {{ printf '#!/bin/sh\\n' > {browser}; /bin/chmod +x {browser}; }}"
    program(Path(bare["PATH"], "apt-get"), fetch)
    result = find_browser("--install", PLAYWRIGHT_DOWNLOAD_HOST="http://127.0.0.1:9", **bare)
    assert result.stdout.strip() == str(browser), result.stderr
    tried = ["trying apt-get (", "trying Playwright", "trying apt-get once more"]
    assert [one in result.stderr for one in tried] == [True] * asked + [False] * (3 - asked)


@pytest.mark.parametrize("python", ["", "no-such-python", "old"])
def test_python_too_old_or_missing_is_an_error_that_names_the_way_out(python: str, tmp_path: Path) -> None:
    if python == "old":
        python = str(program(tmp_path / "python3", '[ "$1" = --version ] && echo Python 3.8.10 || exit 1'))
    result = subprocess.run(
        [TOOLS / "make-venv", tmp_path / "venv", python], capture_output=True, text=True, timeout=PATIENCE
    )
    assert result.returncode == 1
    assert "PYTHON=/path/to/python" in result.stderr
    assert "3.11" in result.stderr
    assert not (tmp_path / "venv").exists()


def wheel(path: Path, *requirements: str) -> Path:
    """A wheel that declares requirements."""
    with zipfile.ZipFile(path, "w") as archive:
        lines = ["Metadata-Version: 2.4", "Name: thing", "Version: 1.0", "Provides-Extra: more"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
        archive.writestr("thing-1.0.dist-info/METADATA", "\n".join(lines) + "\n\n")
    return path


def filled(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """An empty environment in tmp_path/venv, filled by link_packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=PATIENCE)
    command = [sys.executable, TOOLS / "link_packages.py", tmp_path / "venv", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


def importable(tmp_path: Path, name: str) -> bool:
    return not subprocess.run([tmp_path / "venv/bin/python", "-c", f"import {name}"], capture_output=True).returncode


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_an_environment_of_links_holds_what_is_declared_and_no_more(tmp_path: Path) -> None:
    path = wheel(
        tmp_path / "thing-1.0-py3-none-any.whl", "rich", "click>=8; extra == 'more'", "numpy; extra == 'other'"
    )
    result = filled(tmp_path, f"{path}[more]", "iniconfig")
    assert result.returncode == 0, result.stderr
    assert all(importable(tmp_path, name) for name in ("rich", "pygments", "click", "iniconfig"))  # rich needs pygments
    assert not any(importable(tmp_path, name) for name in ("numpy", "attnscope", "pytest"))


@pytest.mark.parametrize(
    ("requirement", "expected"), [("no-such-package", "is not installed"), ("click<1", "expected click<1, got 8")]
)
def test_what_cannot_be_linked_is_an_error(tmp_path: Path, requirement: str, expected: str) -> None:
    with pytest.raises(SystemExit, match=expected):
        link_packages.closure(link_packages.of_wheel(str(wheel(tmp_path / "thing-1.0-py3-none-any.whl", requirement))))


def test_modules_that_the_tests_reach_too_little_are_named() -> None:
    summary = {"a.py": (13, 13), "low.py": (3, 17), "b.py": (4, 5)}
    python = {
        f"/venv/site-packages/attnscope/text/{name}": {"summary": {"covered_lines": done, "num_statements": there}}
        for name, (done, there) in summary.items()
    }
    expected = ["57.1 % of 35 lines in 3 modules; below 80 %:", "   17.6 %  text/low.py"]
    assert coverage_report.lines({"files": python}) == expected
    v8 = {
        f"/x/frontend/src/{name}": {"lines": {"covered": done, "total": there}}
        for name, (done, there) in summary.items()
    }
    assert coverage_report.lines({"total": {}, **v8}) == [expected[0], "   17.6 %  src/low.py"]
    assert coverage_report.lines({"files": python}, 10) == [
        "57.1 % of 35 lines in 3 modules; every module has at least 10 %."
    ]
    with pytest.raises(SystemExit, match="got none"):
        coverage_report.lines({"files": {}})
