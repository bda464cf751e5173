"""The column of the level stream is the page's in every case: tests/cases/stream.json, which vitest reads too."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import attnscope
from attnscope.errors import InputError, NotCaptured
from attnscope.payload.stream import stream_from_json
from attnscope.views.sentences.labels import as_text
from attnscope.views.sentences.stream import receipt_of_stream, sentence_of_lens, sentence_of_stream
from attnscope.views.state import State
from attnscope.views.stream_column import column_at, column_of, folded, parts_of
from made_streams import streamed
from made_traces import made_trace

CASES = json.loads((Path(__file__).parents[1] / "cases" / "stream.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_column(case: dict[str, Any]) -> None:
    note, numbers = case["table"]["note"], case["table"]["numbers"]
    tensors = {f"stream.{name}": torch.tensor(values, dtype=torch.float32) for name, values in numbers.items()}
    tensors["stream.lens_ids"] = torch.zeros(1, note["layers"] + 1, dtype=torch.int32)
    table = stream_from_json({"stream": note}, tensors)
    assert table is not None
    column = column_at(table, 0, case["target"], case["against"])
    assert as_text(sentence_of_stream(column)) == case["said"]
    if case["lens"]:
        assert as_text(sentence_of_lens(column)) == case["lens"]
    assert column.passed == case["passed"]
    assert [line.name for line in folded(column)] == case["folded"]
    assert [line.name for line in column.lines] == [name for name, *_ in case["rows"]]
    for line, (_, value, running) in zip(column.lines, case["rows"], strict=True):
        assert line.value == (None if value is None else pytest.approx(value))
        assert line.running == (None if running is None else pytest.approx(running))


@pytest.mark.parametrize("pair", [(None, None), (12, 14), (13, 999)])
def test_the_rows_are_those_of_the_table(pair: tuple[int | None, int | None]) -> None:
    """Against the table read by hand: position 4 is row 1, its targets are 10 to 14."""
    trace = streamed()
    table = trace.stream_table
    assert table is not None
    assert table.contributions is not None
    column = column_of(trace, State(query=4, target=pair[0], against=pair[1]))
    ids = [target.id for target in table.targets[1]]
    target, against = (ids.index(one) if one in ids else None for one in pair)
    target = 0 if target is None else target
    against = next(c for c in range(5) if c != target) if against is None else against
    difference = table.contributions[1, :, target] - table.contributions[1, :, against]
    parts = {part.name: float(value) for part, value in zip(table.parts, difference, strict=True)}
    assert {part.name: part.value for part in parts_of(column.lines)} == pytest.approx(parts)
    heads = sum(parts[f"L1H{head}"] for head in range(3))
    assert column.lines[3].value == pytest.approx(heads, rel=1e-5)
    assert column.lines[-1].running == pytest.approx(
        float(table.logits[1, target] - table.logits[1, against]), abs=1e-5
    )
    assert column.difference == pytest.approx(column.lines[-1].running, abs=1e-5)
    sizes = [abs(part.value or 0) for part in column.lines[1].parts]
    assert sizes == sorted(sizes, reverse=True)


def test_a_table_that_does_not_hold_together_attributes_nothing() -> None:
    trace = streamed()
    table = trace.stream_table
    assert table is not None
    wrong = replace(table, logits=table.logits + 1)
    column = column_of(replace(trace, stream_table=wrong), State(query=4))
    assert not column.passed
    assert not column.attributed
    assert all(line.value is None and line.running is None for line in column.lines)
    assert receipt_of_stream(column).startswith("✕ Largest difference of a sum from its logit: 1. ")


def test_what_is_not_held_is_refused() -> None:
    with pytest.raises(NotCaptured, match=r'keep=\{"stream"\}'):
        made_trace().show("stream")
    with pytest.raises(InputError, match="held at positions 1, 4, 12, and not at query 5"):
        column_of(streamed(), State(query=5))
    with pytest.raises(InputError, match="not among the targets"):
        streamed().show("stream", target="nothing")
    stream = replace(streamed().stream_table, stack="decoder")  # type: ignore[type-var]
    encoder = made_trace(stack="encoder")
    both = replace(encoder, sites=(*encoder.sites, *(replace(site, stack="decoder") for site in encoder.sites)))
    assert column_of(replace(both, stream_table=stream), State(stack="decoder", query=4)).difference > 0


def test_a_view_opens_at_the_last_position_on_the_head_that_adds_most() -> None:
    trace = streamed()
    view = trace.show("stream")
    column = column_of(trace, view.state)
    heads = [part for part in parts_of(column.lines) if part.kind == "head"]
    best = max(heads, key=lambda part: abs(part.value or 0))
    assert (view.state.query, view.state.layer, view.state.head) == (12, best.layer, best.head)
    assert trace.show("stream", head=1, query=3).state.query == 3, "the page says what it holds"
    other = view.at(target="w23", against=" w21")
    assert (other.state.target, other.state.against) == (23, 21)
    assert trace.show("stream", target=" w23").state.target == 23
    assert "target=23" in other.code
    assert 'level="stream"' in other.code


def test_two_traces_have_no_stream_of_their_difference() -> None:
    pair = attnscope.compare(streamed(), streamed())
    with pytest.raises(InputError, match="no stream of B − A"):
        pair.show("stream")
    assert pair.show("stream", side="a").state.level == "stream"
