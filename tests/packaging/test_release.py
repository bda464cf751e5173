"""Workflows and hooks are valid, name what exists, and release only what was tested."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from patience import PATIENCE

pytestmark = [pytest.mark.packaging, pytest.mark.source]

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import check_release  # noqa: E402

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
HOOKS = ROOT / ".pre-commit-config.yaml"


def read(path: Path) -> dict:
    """As GitHub reads it: `on` is a word there, not a truth value."""
    text = path.read_text(encoding="utf-8")
    return yaml.safe_load(re.sub(r"^on:", '"on":', text, flags=re.M))


def targets(text: str) -> set[str]:
    """The Makefile's targets that a script calls."""
    return set(re.findall(r"^\s*make ([a-z]+)", text, re.M))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_is_here_with_pinned_actions(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 45
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+(\.\d+)*", step["uses"])
            for program in re.findall(r"(?:^|\s)((?:\.ci|tools)/[\w.]+)", step.get("run", "")):
                assert (ROOT / program).is_file()


def test_ci_calls_commands_that_people_have_and_all_of_them() -> None:
    known = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    script = (ROOT / ".ci/run").read_text()
    assert {"lint", "build", "test", "oldest"} == targets(script) <= known
    assert any(step.get("run") == ".ci/run" for step in read(ROOT / ".github/workflows/ci.yml")["jobs"]["ci"]["steps"])


def test_a_release_publishes_the_files_that_were_tested() -> None:
    workflow = read(ROOT / ".github/workflows/release.yml")
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    runs = [step["run"] for step in build["steps"] if "run" in step]
    assert runs == ['python tools/check_release.py "$GITHUB_REF_NAME"', ".ci/run"]
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"]["name"] == "pypi"
    uploaded, downloaded = build["steps"][-1], publish["steps"][0]
    assert [step["uses"].split("@")[0] for step in (uploaded, downloaded)] == [
        "actions/upload-artifact",
        "actions/download-artifact",
    ]
    assert (uploaded["with"]["name"], uploaded["with"]["path"]) == (downloaded["with"]["name"], "dist/")
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert publish["steps"][-1]["with"] == {"attestations": True}
    assert not [step for step in publish["steps"] if "run" in step], "what may publish runs no code of ours"


def test_hooks_are_valid_and_download_nothing() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(HOOKS)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stdout + result.stderr
    (repository,) = read(HOOKS)["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The files of a version that may be released."""
    (tmp_path / "src/attnscope").mkdir(parents=True)
    (tmp_path / "src/attnscope/_version.py").write_text('__version__ = "2.3.5"\n')
    (tmp_path / "CITATION.cff").write_text("title: x\nversion: 2.3.5\n")
    changes = "# Changelog\n\n## 2.3.5 (2031-07-11)\n\n### Added\n- A thing.\n\n## 2.3.3 (2031-05-02)\n\n- Older.\n"
    (tmp_path / "CHANGELOG.md").write_text(changes)
    return tmp_path


def test_a_tag_that_agrees_may_be_released(release: Path) -> None:
    assert check_release.faults("v2.3.5", release) == []
    text = (release / "CHANGELOG.md").read_text()
    assert check_release.section(text) == ("2.3.5 (2031-07-11)", "### Added\n- A thing.")


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("src/attnscope/_version.py", "2.3.5", "2.3.7", "expected the tag v2.3.7"),
        ("CHANGELOG.md", "2031-07-11", "unreleased", "expected CHANGELOG.md to begin with “## 2.3.5 (YYYY-MM-DD)”"),
        ("CHANGELOG.md", "## 2.3.5", "## 2.3.4", "got “## 2.3.4 (2031-07-11)”"),
        ("CHANGELOG.md", "- A thing.\n", "", "expected at least one entry"),
        ("CITATION.cff", "2.3.5", "2.3.3", "expected “version: 2.3.5” in CITATION.cff, got 2.3.3"),
    ],
)
def test_a_tag_that_does_not_agree_is_refused(release: Path, file: str, old: str, new: str, expected: str) -> None:
    path = release / file
    path.write_text(path.read_text().replace(old, new, 1))
    assert any(expected in fault for fault in check_release.faults("v2.3.5", release))
