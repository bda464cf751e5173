"""Real notebook servers on loopback (JupyterLab, Notebook 7, marimo), and notebooks with what their cells printed."""

from collections.abc import Iterator

import nbformat
import pytest
from nbclient import NotebookClient
from playwright.sync_api import Page

from notebook_servers import Server, jupyter
from patience import PATIENCE

SETUP = """import attnscope
model, tokenizer = attnscope.load("demo")
trace = attnscope.trace(model, tokenizer, "The kite climbs when a strong wind lifts it.")"""


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[Server]:
    with jupyter("lab", "lab/tree/", tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="session")
def notebook7(tmp_path_factory) -> Iterator[Server]:
    with jupyter(
        "notebook", "notebooks/", tmp_path_factory.mktemp("nb7"), tmp_path_factory.mktemp("jupyter")
    ) as server:
        yield server


@pytest.fixture(scope="session")
def executed() -> nbformat.NotebookNode:
    """A notebook with a live and a static view, run to its end, with widget state."""
    cells = [
        SETUP,
        "trace.show(level='neuron', layer=2, head=8)",
        "trace.show(level='neuron', layer=2, head=8, static=True)",
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    NotebookClient(notebook, timeout=PATIENCE, store_widget_state=True).execute()
    return notebook


@pytest.fixture(scope="module")
def page(browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    yield page
    page.close()
