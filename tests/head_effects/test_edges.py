"""Edges cut in turn, beside `edit(...).cut`, one at a time."""

from pathlib import Path
from typing import Any

import pytest

import attnscope
from attnscope.errors import CaptureError, InputError
from attnscope.head_effects.table import EffectTable
from tiny_models import inputs, model, tokenizer


def alone(kind: str, layer: int, query: Any, key: Any, stack: str | None = None) -> float:
    with attnscope.edit(model(kind)) as edit:
        edit.layers(layer, stack=stack).cut(query=query, key=key)
        return edit.effect(inputs=inputs(kind), target=11, against=7).total


@pytest.mark.exactness
@pytest.mark.parametrize("kind", ["gemma2", "t5_generates"])
def test_each_edge_as_if_alone(kind: str) -> None:
    stack = "cross" if kind.startswith("t5") else None
    keys = [1, 4, 7] if stack else None
    table = attnscope.effects(
        model(kind), None, inputs(kind), 11, 7, each="edge", query=4 if stack else -1, key=keys, stack=stack, quiet=True
    )
    count = 3 if stack else 13
    assert [row.edge for row in table][:count] == [(4 if stack else -1, key) for key in keys or range(13)]
    assert len(table) == 2 * count
    for row in (table[1], table[count - 1], table[count]):
        assert row.edge is not None
        assert row.effect == pytest.approx(alone(kind, row.layer, *row.edge, stack), abs=2e-5)
    assert max(abs(row.effect) for row in table) > 0.01
    assert len({round(row.effect, 6) for row in table}) > count // 2, "each is another edge"


def test_edges_by_name_saved_and_drawn(tmp_path: Path) -> None:
    texts = [("the cat sat on the mat", "ran", "sat"), ("on the mat the cat sat", "ran", "sat")]
    table = attnscope.effects(
        model("gpt2"), tokenizer(), texts, each="edge", key=["cat", "mat"], layers=[1], quiet=True
    )
    assert [row.name for row in table] == ["L1 -1→cat", "L1 -1→mat"]
    assert table["L1 -1→cat"].n == 2
    assert "2 edges in turn, each with no weight in its place" in table.heading
    table.save(tmp_path / "edges.json")
    back = EffectTable.load(tmp_path / "edges.json")
    assert [(row.name, row.edge, row.effect) for row in back] == [(row.name, row.edge, row.effect) for row in table]
    assert (back.records()[0]["query"], back.records()[0]["key"]) == (-1, "cat")
    table.save(tmp_path / "edges.svg")
    assert "cat" in (tmp_path / "edges.svg").read_text()
    with pytest.raises(InputError, match="no thumbnail of a head can show"):
        attnscope.trace(model("gpt2"), tokenizer(), texts[0][0]).show("model", effects=table)


WRONG = {
    "are 10000 edges, and at most 4096": {"key": range(5000)},
    "an edge is cut, and nothing takes its place": {"how": "off"},
    "expected key of edges as a position": {"key": [2.5]},
    "key names nothing": {"key": []},
    'give each="edge" with them': {"each": "head", "key": 3},
    "leaves query 0": {"query": 0},
    "beyond the text": {"key": 99},
}


@pytest.mark.parametrize("words", WRONG)
def test_what_names_no_edge(words: str) -> None:
    with pytest.raises((InputError, CaptureError), match=words):
        attnscope.effects(model("gpt2"), None, inputs("gpt2"), 11, **{"each": "edge", "quiet": True, **WRONG[words]})


def test_names_are_needed_for_several_texts_and_a_stack_for_several() -> None:
    with pytest.raises(InputError, match="several texts have no positions in common"):
        attnscope.effects(model("gpt2"), tokenizer(), ["the cat", "the dog ran"], each="edge", quiet=True)
    with pytest.raises(InputError, match="so edges are of one: say stack="):
        attnscope.effects(model("t5_generates"), None, inputs("t5_generates"), 11, each="edge", key=1, quiet=True)
