"""Importing attnscope is light, every package can come first, and no submodule hides a public function.

Each question is put to a fresh process: the one that runs the tests has long imported everything.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import attnscope
from patience import PATIENCE

pytestmark = pytest.mark.packaging

HEAVY = {
    "torch",
    "transformers",
    "anywidget",
    "numpy",
    "safetensors",
    "matplotlib",
    "IPython",
    "rich",
    "starlette",
    "ray",
}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)


def heavy_imports(code: str) -> set[str]:
    """The heavy packages that a fresh process has imported after running this code."""
    result = run(f"{code}\nimport json, sys\nprint(json.dumps([name for name in sys.modules if '.' not in name]))")
    assert result.returncode == 0, result.stderr
    return HEAVY & set(json.loads(result.stdout.splitlines()[-1]))


def test_import_is_light() -> None:
    assert heavy_imports("import attnscope; attnscope.__version__; dir(attnscope)") == set()


def test_import_is_light_can_fail() -> None:
    assert heavy_imports("import attnscope, numpy") == {"numpy"}
    assert "torch" in heavy_imports("import attnscope.attention")


def submodules() -> list[str]:
    package = Path(attnscope.__file__).parent
    files = {path.relative_to(package).with_suffix("") for path in package.rglob("*.py")}
    names = {".".join(("attnscope", *file.parts)).removesuffix(".__init__") for file in files}
    return sorted(names - {"attnscope", "attnscope.__main__"})


def packages() -> list[str]:
    """The folders, and one submodule of each. The import contract rules out circles between all files (pyproject.toml), so
    an order that fails would come from what a package does when it is imported."""
    folders = {name.rpartition(".")[0] for name in submodules()} - {"attnscope", ""}
    return sorted(folders | {min(name for name in submodules() if name.startswith(f"{folder}.")) for folder in folders})


# One process imports the third-party packages once; then each package gets a fork of it in which no part of attnscope
# is loaded yet, so that it is really the first.
EACH_FIRST = """
import importlib, os, sys, traceback
import torch, transformers, anywidget, rich, click, safetensors.torch
names = {names}
assert not any(name.split(".")[0] == "attnscope" for name in sys.modules)
for name in names:
    if (child := os.fork()) == 0:
        try:
            importlib.import_module(name)
            import attnscope
            for public in set(attnscope.__all__) & set(vars(attnscope)):  # what is not there yet, the door looks up
                value = vars(attnscope)[public]
                if not callable(value) and not public.startswith("__"):
                    raise TypeError("after `import %s`, attnscope.%s is %r" % (name, public, value))
        except BaseException:
            print("::", name, file=sys.stderr)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("failed:", name)
print("done", len(names))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_every_package_can_come_first_and_public_names_stay_callable() -> None:
    names = packages()
    assert {"attnscope.tracing", "attnscope.render.server", "attnscope.doctor.code_check.match"} <= set(names)
    result = run(EACH_FIRST.format(names=names))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"done {len(names)}"], result.stdout + result.stderr


def test_that_check_can_fail() -> None:
    result = run(EACH_FIRST.format(names=["attnscope.tracing.trace", "attnscope.no_such_module"]))
    assert "failed: attnscope.no_such_module" in result.stdout


def test_no_submodule_bears_the_name_of_a_public_function() -> None:
    assert {name.split(".")[1] for name in submodules()} & set(attnscope.__all__) <= {"bertviz"}


def test_public_names_are_complete_and_sorted() -> None:
    assert list(attnscope.__all__) == sorted(attnscope.__all__)
    assert set(attnscope.__all__) <= set(dir(attnscope))
