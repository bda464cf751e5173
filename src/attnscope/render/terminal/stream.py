"""The stream level in a terminal: a row a block with what it adds, the sum so far and the lens; then the prediction."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from attnscope.render.terminal.glyphs import MUTED, NEGATIVE, POSITIVE, WEIGHT, Glyphs, fitted
from attnscope.text.characters import printable
from attnscope.text.format import fixed, percent
from attnscope.views.sentences.labels import as_text
from attnscope.views.sentences.stream import receipt_of_stream, sentence_of_lens, sentence_of_stream, signed
from attnscope.views.stream_column import TASKS, Column, Line, column_of, folded, row_name
from attnscope.views.view import View

BESIDE, LENS = 34, 18  # columns of all that stands beside the bars; of the lens
HALF = 12  # columns of a bar on either side
TOKEN = 10
MOST = 10  # predictions


def stream(view: View, width: int, glyphs: Glyphs) -> Iterator[RenderableType]:
    """The column of the view's query. Raises NotCaptured without a stream, InputError for a query that it does not hold."""
    column = column_of(view.trace, view.own)
    yield Text(printable(as_text(sentence_of_stream(column))))
    if column.passed and column.table.lens_probabilities is not None:
        yield Text(printable(as_text(sentence_of_lens(column))), style=MUTED)
    if column.passed:
        yield Text()
        yield _rows(column, width, glyphs)
    if column.predictions:
        yield Text()
        yield _predictions(column, width, glyphs)
    if not column.attributed and column.passed and column.table.refused:
        yield Text(printable(f"Nothing is attributed to a logit: {column.table.refused}."), style=MUTED)
    yield Text(printable(receipt_of_stream(column)), style=MUTED)


def _rows(column: Column, width: int, glyphs: Glyphs) -> Table:
    attributed = column.attributed
    lens = width >= 60 and column.table.lens_probabilities is not None
    room = width - BESIDE - (LENS if lens else 0)
    half = min(HALF, max(2, room // (2 if attributed else 1)))
    table = Table(box=None, pad_edge=False, header_style="bold")
    titles = ("", "block", _cut(f"adds to {column.pair}" if attributed else "turns x by", max(5, 2 * half), glyphs), "")
    for title, justify in zip(
        (*titles, "sum" if attributed else "‖x‖"), ("right", "left", "left", "right", "right"), strict=True
    ):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    if lens:
        table.add_column("lens", no_wrap=True)
        table.add_column("", justify="right", no_wrap=True)
    rows = _opened(column)
    values = [abs((line.value if attributed else line.turn) or 0.0) for line, _ in rows]
    full = max(values, default=0.0) or 1.0
    seen: set[int | None] = set()
    for line, part in rows:
        first = line.layer is not None and not part and line.layer not in seen
        seen.add(line.layer)
        layer = (line.name.replace("L", "") if line.folded else str(line.layer)) if first else ""
        value, total = (line.value, line.running) if attributed else (line.turn, column.length(line))
        number = "" if value is None else signed(value, 2) if attributed else f"{fixed(value, 1)}°"
        running = "" if total is None else signed(total, 2) if attributed else fixed(total, 1)
        cells = [
            Text(layer, style=MUTED),
            Text(("  " if part else "") + printable(row_name(line, part))),
            _bar(value or 0.0, full, half, glyphs, attributed),
            Text(number, style=_colour(value) if attributed else ""),
            Text(running, style=MUTED),
        ]
        if lens:
            found = column.lens(line)
            cells += [
                Text("" if found is None else printable(fitted(found[0], TOKEN, glyphs)).rstrip()),
                Text("" if found is None else percent(found[1]), style=MUTED),
            ]
        table.add_row(*cells)
    return table


def _opened(column: Column) -> list[tuple[Line, bool]]:
    """The rows, with the parts of the block whose part adds most."""
    opened = column.strongest if column.attributed else None
    return [
        found
        for line in folded(column)
        for found in ((line, False), *((part, True) for part in (line.parts if line is opened else ())))
    ]


def _bar(value: float, full: float, half: int, glyphs: Glyphs, signed_bar: bool) -> Text:
    """To the left of the middle, or to the right of it; what has no sign begins at the left."""
    length = round(half * min(1.0, abs(value) / full)) if value == value else 0
    bar = glyphs.bars[-1] * length
    if not signed_bar:
        return Text(bar, style=WEIGHT)
    text = Text(" " * (half - length) if value < 0 else " " * half)
    text.append(bar, style=_colour(value))
    return text


def _colour(value: float | None) -> str:
    return NEGATIVE if (value or 0.0) < 0 else POSITIVE


def _predictions(column: Column, width: int, glyphs: Glyphs) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in (
        (f"prediction: {TASKS[column.table.task]}", "left"),
        ("", "right"),
        ("", "left"),
        ("", "left"),
    ):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    longest = min(20, max(1, width - 46))
    for one in column.predictions[:MOST]:
        mark = {column.target: "target", column.against: "against"}.get(one, "") if column.attributed else ""
        bar = glyphs.bars[-1] * round(longest * one.probability) if one.probability == one.probability else ""
        name = printable(_cut(one.text, 20, glyphs))
        table.add_row(
            Text(name, style="bold" if mark else ""),
            percent(one.probability),
            Text(bar, style=WEIGHT),
            Text(mark, style=MUTED),
        )
    return table


def _cut(text: str, width: int, glyphs: Glyphs) -> str:
    return fitted(text, width, glyphs).rstrip()
