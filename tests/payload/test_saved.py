"""What earlier versions saved opens: traces, addresses of pages, and widgets of notebooks.

tests/payload/saved has a folder for each format, which tools/saved_examples.py wrote and nobody writes again.
"""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import attnscope
from attnscope.payload.codec import decode, encode, read as read_payload
from attnscope.render.page.html import plain_table
from attnscope.render.widget import Scope
from attnscope.views.levels import ALWAYS_THERE
from attnscope.views.state import State
from patience import PATIENCE

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path for path in (Path(__file__).parent / "saved").iterdir() if path.is_dir())
WHOLE = [folder for folder in FOLDERS if (folder / "addresses.json").exists()]  # others hold some traces more
TRACES = [path for folder in FOLDERS for path in sorted(folder.glob("*.safetensors"))]
WIDGETS = [path for folder in FOLDERS for path in sorted(folder.glob("widget*.json"))]


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_folders_hold_what_is_promised() -> None:
    assert FOLDERS[0].name == "v1"
    for folder in FOLDERS:
        assert {path.stem for path in folder.glob("*.safetensors")} == set(read(folder / "expected.json"))
        assert len(list(folder.glob("widget*.json"))) == 2 * (folder in WHOLE)
        assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000


@pytest.mark.parametrize("path", TRACES, ids=named)
def test_a_trace(path: Path) -> None:
    trace, expected = attnscope.load_trace(path), read(path.parent / "expected.json")[path.stem]
    assert list(trace.tokens.shown) == expected["tokens"]
    for site, receipt, known in zip(trace.sites, trace.verify().sites, expected["sites"], strict=True):
        assert (site.stack, site.layer, receipt.status) == (known["stack"], known["layer"], known["status"])
        weights = site.weights(site.heads - 1, site.queries - 1)[0]
        assert torch.allclose(weights, torch.tensor(known["weights"]), atol=2e-5)
    last = trace.site(-1, trace.sites[-1].stack)
    for level in ALWAYS_THERE:
        view = trace.show(level, stack=last.stack, layer=last.layer)
        assert view.html.endswith("</html>\n")
        assert plain_table(view)
    assert attnscope.compare(trace, trace).show().blocks
    if grids := expected.get("grids"):
        assert [[grid.rows, grid.columns, list(grid.tokens), len(grid.png)] for grid in trace.tokens.grids] == grids
    back = decode(encode(trace, projections=True))  # and it is saved as this version saves
    assert [site.name for site in back.sites] == [site.name for site in trace.sites]


@pytest.mark.parametrize("folder", WHOLE, ids=lambda folder: folder.name)
def test_a_block_of_a_page(folder: Path) -> None:
    """One layer in fp16, with the pictures of all."""
    data = (folder / "block-of-a-page.bin").read_bytes()
    trace, (meta, tensors) = decode(data), read_payload(data)
    assert [site.layer for site in trace.sites] == [1]
    assert trace.verify().sites[0].status == "exact"
    assert [tensors[f"t{i}"].shape for i in range(2)] == [(3, 8, 8)] * 2
    assert meta["sites"][0]["row"]["query"] == 3


@pytest.mark.parametrize("folder", WHOLE, ids=lambda folder: folder.name)
def test_addresses(folder: Path) -> None:
    for one in read(folder / "addresses.json"):
        state = {name: tuple(x) if isinstance(x, list) else x for name, x in one["state"].items()}
        assert State.from_url(one["address"]) == State(**state), one["address"]


@pytest.mark.parametrize("path", WIDGETS, ids=named)
def test_a_widget_of_a_notebook(path: Path) -> None:
    """Its numbers are read, and each of its fields is still one, with a value that the widget takes."""
    (model,) = [one for one in read(path)["state"].values() if one["model_name"] == "AnyModel"]
    buffers = {tuple(one["path"]): base64.b64decode(one["data"]) for one in model["buffers"]}
    blocks = [data for where, data in sorted(buffers.items(), key=str) if where[0] == "blocks"]
    assert decode(blocks[0]).verify()
    assert bool(buffers.get(("difference",))) == ("comparison" in path.stem)
    names = [
        name for name in model["state"] if not name.startswith("_") and name not in ("layout", "tabbable", "tooltip")
    ]
    assert set(names) - {"blocks", "other_blocks", "difference"} <= Scope.class_traits(sync=True).keys()
    given = {name: value for name, value in model["state"].items() if name in {row.name for row in State.table()}}
    assert State(**given).fragment
    assert len(given) > 15


def test_code_that_earlier_pages_wrote_runs(demo_trace: Any) -> None:
    from attnscope.views import with_state
    from attnscope.views.view import with_state as as_first_written

    assert as_first_written is with_state
    view = with_state(demo_trace.show(), layer=3, head=2, key=None)
    assert (view.state.layer, view.state.head, view.state.key) == (3, 2, None)


@pytest.mark.source
def test_what_is_written_is_never_written_again() -> None:
    before = {path: path.stat().st_mtime_ns for path in FOLDERS[0].iterdir()}
    tool = [sys.executable, str(ROOT / "tools" / "saved_examples.py")]
    ran = subprocess.run([*tool, "--name", FOLDERS[0].name], capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 1
    assert "is there" in ran.stderr
    assert {path: path.stat().st_mtime_ns for path in FOLDERS[0].iterdir()} == before
