"""The level stream on paper and in a terminal: numbers read back from what was drawn are those of the table."""

import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import attnscope
from attnscope.errors import InputError
from attnscope.render.figures import figure
from attnscope.render.page.html import plain_table
from attnscope.render.terminal import draw
from attnscope.tracing.stream_table import StreamReceipt
from attnscope.views.sentences.labels import as_text
from attnscope.views.sentences.sentence import title
from attnscope.views.sentences.stream import sentence_of_stream
from attnscope.views.stream_column import column_of, parts_of
from made_streams import made_table, streamed

PLACE: dict[str, Any] = {"query": 4, "target": 11, "against": 13}


def parts(made: Any) -> dict[str, Any]:
    return {axes.get_label(): axes for axes in made.axes[0].child_axes}


def said(made: Any) -> str:
    return " ".join(text.get_text() for text in made.axes[0].texts)


def failing() -> attnscope.Trace:
    trace = streamed()
    return replace(trace, stream_table=replace(made_table(), receipt=StreamReceipt(0.3, 0.2, 0.0, 1e-4)))


def test_a_page_without_frames_and_a_screen_reader_get_the_stream() -> None:
    view = streamed().show("stream", static=True, **PLACE)
    column = column_of(view.trace, view.state)
    assert title(view).startswith("the stream at “")
    assert as_text(sentence_of_stream(column)) in title(view)
    plain = plain_table(view)
    assert f"adds to {column.pair}" in plain
    assert all(part.name in plain for part in parts_of(column.lines))
    assert "head" not in title(streamed(False).show("stream", query=4)).split(":")[0]
    bare = plain_table(streamed(False).show("stream", query=4))
    assert "turns x by" in bare
    assert "°" in bare
    assert title(streamed().show("stream", query=5)).startswith("layer")  # whose stream is not held


@pytest.mark.parametrize("width", [7.2, 3.4])
def test_bars_and_sums_are_those_of_the_column(width: float) -> None:
    trace = streamed()
    view = trace.show("stream", **PLACE)
    column = column_of(trace, view.state)
    made = figure(trace, view.state, width)
    rows = [row for line in column.lines for row in (line, *(line.parts if line is column.strongest else ()))]
    found = parts(made)
    bars = [bar.get_width() for bar in found["contributions"].patches]
    assert bars == pytest.approx([row.value for row in rows])
    assert min(found["contributions"].get_xlim()) == -max(found["contributions"].get_xlim())
    assert ("sum" in found) == (width > 5)
    if "sum" in found:
        path = np.array(found["sum"].lines[0].get_xydata())[2::2, 0]
        running = [row.running for row in rows if row.running is not None]
        assert path[[i for i, row in enumerate(rows) if row.running is not None]] == pytest.approx(running)
    chances = [bar.get_width() for bar in found["predictions"].patches]
    assert chances == pytest.approx([one.probability for one in column.predictions])
    assert "what adds to w11 − w13" in said(made)


def test_the_lens_grid_is_the_table_s() -> None:
    trace = streamed()
    made = figure(trace, trace.show("stream", lens=True, **PLACE).state, 7.2)
    image = parts(made)["lens"].images[0].get_array().filled(0)
    lens = made_table().lens_probabilities
    assert lens is not None
    assert image == pytest.approx(lens.T.numpy())
    assert "From L1 on the lens reads" in said(made)


def test_without_a_prediction_it_shows_turns_and_sizes() -> None:
    trace = streamed(predicts=False)
    made = figure(trace, trace.show("stream", query=4).state, 7.2)
    turns = [bar.get_width() for bar in parts(made)["turns"].patches]
    assert turns[1:] == pytest.approx(np.degrees(np.arccos(made_table(predicts=False).turns[1].numpy())), rel=1e-4)
    assert "Nothing is attributed to a logit: this model predicts nothing." in said(made)


def test_what_is_not_vouched_for_is_not_drawn() -> None:
    trace = failing()
    made = figure(trace, trace.show("stream", **PLACE).state, 7.2)
    assert not {"contributions", "sum", "lens", "turns"} & parts(made).keys()
    assert "do not match the model" in said(made)
    text = printed(trace.show("stream", **PLACE))
    assert "do not match the model" in text
    assert "L0 attention" not in text
    assert "w11" in text, "the predictions are the model's own"


def test_a_query_that_is_not_held(tmp_path: Any) -> None:
    view = streamed().show("stream", query=5)
    for kind in ("svg", "pdf", "png"):
        with pytest.raises(InputError, match="held at positions 1, 4, 12"):
            view.save(tmp_path / f"x.{kind}")
        assert streamed().show("stream").save(tmp_path / f"x.{kind}").stat().st_size > 1000


def printed(view: attnscope.View, width: int = 80, **options: Any) -> str:
    out = io.StringIO()
    draw(view, Console(file=out, width=width, force_terminal=False, **options), ("stream",))
    return out.getvalue()


@pytest.mark.parametrize("width", [100, 60, 44])
def test_a_terminal_shows_the_same_numbers(width: int) -> None:
    view = streamed().show("stream", **PLACE)
    column = column_of(view.trace, view.state)
    text = printed(view, width)
    assert max(map(len, text.splitlines())) <= width
    for line in column.lines:
        name = re.escape(line.name.split(" ", 1)[-1])
        numbers = f"{line.value:+.2f}", f"{line.running:+.2f}"
        wanted = [re.escape(number.replace("-", "−")) for number in numbers]
        assert re.search(rf"{name}.*{wanted[0]}\s+{wanted[1]}", text), (line.name, text)
    assert re.search(r"w11\s.*target", text)
    assert re.search(r"w13\s.*against", text)


def test_a_terminal_without_a_prediction_and_with_the_head_below() -> None:
    view = streamed(predicts=False).show("stream", query=4)
    assert "turns x by" in printed(view)
    out = io.StringIO()
    draw(view, Console(file=out, width=80), ("stream", "head"))
    assert "queries downwards" in out.getvalue()
