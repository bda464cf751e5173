"""What the wheel and the sdist hold. `make build` names the folder with both in ATTNSCOPE_DIST; else they are built here."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import attnscope
from patience import PATIENCE

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]
ASSETS = {f"attnscope/static/{name}.js" for name in ("page", "widget", "serve", "edits")}
IGNORE = shutil.ignore_patterns(".git", ".venv*", "node_modules", "dist", "__pycache__", ".*_cache", ".hypothesis")


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """The sdist from the source, then the wheel from the sdist, with nothing but Python in reach."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    environment = {**os.environ, "PATH": str(Path(sys.executable).parent)}
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if built := os.environ.get("ATTNSCOPE_DIST"):
        return Path(built)
    out = tmp_path_factory.mktemp("dist")
    result = build(ROOT, out)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    (path,) = dist.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def in_sdist(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}


def test_wheel_holds_the_built_assets(in_wheel: set[str], wheel: Path) -> None:
    assert in_wheel >= ASSETS
    with zipfile.ZipFile(wheel) as archive:
        assert all(archive.getinfo(name).file_size > 1000 for name in ASSETS)


def test_wheel_holds_every_module_and_nothing_else(in_wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in in_wheel}
    assert tops == {"attnscope", f"attnscope-{attnscope.__version__}.dist-info"}
    package = Path(attnscope.__file__).parent
    modules = {f"attnscope/{path.relative_to(package).as_posix()}" for path in package.rglob("*.py")}
    assert {name for name in in_wheel if name.endswith(".py")} == modules
    assert "attnscope/py.typed" in in_wheel


def test_sdist_holds_the_built_assets_and_their_sources(in_sdist: set[str]) -> None:
    assert in_sdist >= {f"src/{name}" for name in ASSETS}
    assert in_sdist >= {"pyproject.toml", "constraints.txt", "LICENSE", "README.md", "CHANGELOG.md", "Makefile"}
    assert in_sdist >= {"frontend/package.json", "frontend/package-lock.json", "tools/require_assets.py"}


def test_sdist_holds_nothing_installed_or_cached(in_sdist: set[str]) -> None:
    unwanted = ("node_modules", "__pycache__", ".venv", ".ipynb_checkpoints", ".hypothesis")
    assert not [name for name in in_sdist if any(part in unwanted for part in name.split("/"))]


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"attnscope-{attnscope.__version__}.dist-info/METADATA").decode())
    assert metadata["Version"] == attnscope.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    extras = set(metadata.get_all("Provides-Extra"))
    assert extras >= {"demo", "fast", "images", "smollm2", "plot", "serve", "ray", "docs", "dev"}
    core = {line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    names = {"anywidget", "click", "jaxtyping", "lazy-loader", "numpy", "rich", "safetensors", "torch", "transformers"}
    assert {line.split(">")[0].split("<")[0] for line in core} == names


@pytest.mark.source
def test_without_the_assets_nothing_is_built(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=IGNORE)
    (source / "src/attnscope/static/widget.js").unlink()
    result = build(source, tmp_path / "dist")
    assert result.returncode != 0
    assert "lacks widget.js" in result.stdout + result.stderr
    assert not list(tmp_path.glob("dist/*"))
