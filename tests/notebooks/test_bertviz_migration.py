"""A notebook written for BertViz runs after `bertviz` is replaced by `attnscope.bertviz`, and nothing else.

The notebook is the teaching notebook that attnscope grew from, which lies beside the repository where its authors work;
elsewhere a shorter one of the same calls stands in for it.
"""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from attnscope.models.loading import demo_folder
from patience import PATIENCE

pytestmark = pytest.mark.notebook

SEED = Path(os.environ.get("ATTNSCOPE_SHARED", Path(__file__).parents[3] / "shared")) / "seed"

STAND_IN = """
from bertviz.transformers_neuron_view import BertModel
from bertviz.neuron_view import show
from transformers import AutoTokenizer
model_ckpt = 'bert-base-uncased'
tokenizer = AutoTokenizer.from_pretrained(model_ckpt)
model = BertModel.from_pretrained(model_ckpt)
show(model, 'bert', tokenizer, "A kite climbs when the wind lifts it.", display_mode='light', layer=0, head=0)
"""


def code_cells(text: str) -> list[str]:
    """The code cells of the notebook's text form: each begins with "In [None]:"; prose follows a last blank line."""
    cells = [cell.strip() for cell in text.split("In [None]:")[1:]]
    return [re.split(r"\n\n(?=[A-Z#]{1,2}[^\n]*\b(?:practice|Combining)\b)", cell)[0] for cell in cells]


def seed_cells() -> list[str]:
    files = sorted(SEED.glob("*.txt")) if SEED.is_dir() else []
    return code_cells(files[0].read_text()) if files else [STAND_IN]


def migrated(cell: str) -> str:
    """The migration, whole: the install line names attnscope, and the word bertviz becomes attnscope.bertviz."""
    if cell.startswith("!pip install"):
        return ""  # `pip install attnscope`: installed here already
    return cell.replace("bertviz", "attnscope.bertviz").replace("bert-base-uncased", str(demo_folder()))


def test_the_notebook_runs_and_draws():
    cells = [nbformat.v4.new_code_cell(migrated(cell)) for cell in seed_cells()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=PATIENCE).execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    drawn = [output.data["text/html"] for output in outputs if "text/html" in getattr(output, "data", {})]
    assert len(drawn) == 1, "show() in the middle of a cell draws once"
    assert "<iframe" in drawn[0]
    assert "layer 0, head 0" in drawn[0]
    assert not [output for output in outputs if output.output_type == "error"]
