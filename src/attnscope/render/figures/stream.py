"""The stream level: the column of a position, from the embedding to the prediction; or the lens of every position as a grid."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnscope.render.figures.colours import INK, LINE, MUTED, NEGATIVE, POSITIVE, TEXT, nice
from attnscope.render.figures.lens_grid import plan_lens
from attnscope.render.figures.names import cut, fitting
from attnscope.render.figures.plan import Plan
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.sheet import Sheet
from attnscope.text.format import fixed, percent
from attnscope.views.sentences.labels import as_text
from attnscope.views.sentences.stream import receipt_of_stream, sentence_of_stream, signed
from attnscope.views.stream_column import TASKS, Column, Line, column_of, folded, row_name

STEP, HEAD = 0.145, 0.2
NARROW = 5.5  # inches: a narrower sheet has the prediction below, and no path of the sum
ABOVE = 6  # of letters over bars
SMALL, SIZE = 5.5, 6.5
FAILED = "✕ These numbers do not match the model, so nothing is attributed."


def plan(scene: Scene, width: float) -> Plan:
    """The column with the heads of the block whose head adds most; quiet layers stand together. With lens=True, the grid."""
    column = column_of(scene.trace, scene.state)
    if scene.state.lens and column.table.lens_probabilities is not None and column.passed:
        return plan_lens(scene, column, width)
    rows = _rows(column) if column.passed else []
    beside = width >= NARROW
    listed = len(column.predictions)
    below = 0 if beside or not listed else (listed + 2) * STEP
    height = HEAD + max(len(rows), listed if beside else 0, 1) * STEP + below
    notes = [as_text(sentence_of_stream(column)), receipt_of_stream(column)]
    if column.passed and not column.attributed and column.table.refused:
        notes.append(f"Nothing is attributed to a logit: {column.table.refused}.")
    if any(line.folded for line, _ in rows):
        notes.append("Layers of which every part is below a tenth of the largest stand together.")
    name = cut(scene.query_names[scene.state.query], 40)
    adds = f": what adds to {column.pair}" if column.attributed else ""
    return Plan(
        f"the stream at “{name}”{adds}",
        height,
        lambda sheet, y: _draw(sheet, y, column, rows, beside),
        (*notes, "Layers and heads count from 0."),
    )


def _rows(column: Column) -> list[tuple[Line, bool]]:
    """The rows from top to bottom, and whether each is a part of the one above it."""
    opened = column.strongest if column.attributed else None
    rows: list[tuple[Line, bool]] = []
    for line in folded(column):
        rows.append((line, False))
        if line is opened:
            rows += [(part, True) for part in line.parts]
    return rows


def _draw(sheet: Sheet, y: float, column: Column, rows: list[tuple[Line, bool]], beside: bool) -> None:
    top, left = y + HEAD, 0.06
    end = sheet.width - 0.06
    right = end - 1.75 if beside and column.predictions else end
    if rows:
        _column(sheet, y, left, right, column, rows)
    else:
        sheet.say(left, top + STEP / 2, FAILED, SIZE, weight="bold")
    if column.predictions:
        at = (right + 0.2, y) if beside else (left, top + max(len(rows), 1) * STEP + 0.5 * STEP)
        _predictions(sheet, *at, min(1.55, end - at[0]), column)


def _column(sheet: Sheet, y: float, left: float, right: float, column: Column, rows: list[tuple[Line, bool]]) -> None:
    top, count = y + HEAD, len(rows)
    names, number = left + 0.32, 0.38
    bars = names + 0.72
    lens = 0.95 if column.table.lens_probabilities is not None else 0.0
    free = right - bars - 2 * number - lens - 0.16
    narrow = sheet.width < NARROW
    wide, path = (free, 0.0) if narrow else (0.58 * free, 0.42 * free)
    track = bars + wide + number + 0.08
    seen: set[int | None] = set()
    edges: list[float] = []
    for row, (line, part) in enumerate(rows):
        middle = top + (row + 0.5) * STEP
        if line.layer is not None and not part and line.layer not in seen:
            seen.add(line.layer)
            edges.append(top + row * STEP)
            said = line.name.replace("L", "") if line.folded else str(line.layer)
            sheet.say(left + 0.26, middle, said, SMALL, ha="right", color=MUTED)
        sheet.say(names + (0.08 if part else 0), middle, row_name(line, part), SMALL if part else SIZE, color=TEXT)
    sheet.lines([[(left, at), (right, at)] for at in [*edges, top + count * STEP]], LINE, 0.3)
    lines = [line for line, _ in rows]
    if column.attributed:
        values, sums = [line.value for line in lines], [line.running for line in lines]
        ends = nice(_most(values)), nice(_most(sums))
        heading = ("adds", "sum") if narrow else (f"adds to {column.pair}", "sum so far")
        domains = f"±{ends[0]:g}", f"±{ends[1]:g}"
        texts = [signed(value, 2) for value in values if value is not None]
        _signed_bars(sheet, bars, top, wide, values, ends[0])
        if path:
            _path(sheet, track, top, path, sums, ends[1])
    else:
        values, sums = [line.turn for line in lines], [column.length(line) for line in lines]
        ends = nice(_most(values)), nice(_most(sums))
        heading = "turns x by", "‖x‖" if narrow else "‖x‖ after"
        domains = f"0 … {ends[0]:g}°", f"0 … {ends[1]:g}"
        texts = ["" if value is None else f"{fixed(value, 1)}°" for value in values]
        sheet.bars(bars, top, wide, STEP, _known(values), "turns", ends[0])
        if path:
            sheet.bars(track, top, path, STEP, _known(sums), "sizes", ends[1])
    for x, room, title, domain in ((bars, wide, heading[0], domains[0]), (track, path, heading[1], domains[1])):
        sheet.say(x, y + HEAD / 2, cut(title, fitting(room + number - 0.25, SIZE)), SIZE, weight="bold")
        if room:
            sheet.say(x + room + number - 0.02, y + HEAD / 2, domain, SMALL, ha="right", color=MUTED)
    for row, text in enumerate(texts):
        middle = top + (row + 0.5) * STEP
        sheet.say(bars + wide + number - 0.02, middle, text, SMALL, ha="right")
        if (value := sums[row]) is not None:
            shown = signed(value, 2) if column.attributed else fixed(value, 1)
            sheet.say(track + path + number - 0.02, middle, shown, SMALL, ha="right", color=MUTED)
    if lens:
        _lens(sheet, track + path + number + 0.06, y, lens - 0.06, column, lines)


def _signed_bars(sheet: Sheet, x: float, y: float, width: float, values: Sequence[float | None], end: float) -> None:
    axes = sheet.axes(x, y, width, len(values) * STEP, "contributions")
    known = _known(values)
    axes.barh(range(len(known)), known, height=0.6, color=np.where(known < 0, NEGATIVE, POSITIVE), linewidth=0)
    axes.axvline(0, color=LINE, linewidth=0.4 * sheet.scale, zorder=0)
    axes.set(xlim=(-end, end), ylim=(len(known) - 0.5, -0.5), xticks=[], yticks=[])


def _path(sheet: Sheet, x: float, y: float, width: float, sums: Sequence[float | None], end: float) -> None:
    """The sum so far, from row to row; parts of a row leave it where it is."""
    axes = sheet.axes(x, y, width, len(sums) * STEP, "sum")
    held, line = 0.0, [(0.0, -0.5)]
    for row, value in enumerate(sums):
        held = held if value is None else value
        line += [(held, row - 0.5), (held, row + 0.5)]
    along, down = np.array(line).T
    axes.fill_betweenx(down, 0, along, color=INK, alpha=0.1, linewidth=0)
    axes.plot(along, down, color=INK, linewidth=0.8 * sheet.scale, label="sum")
    axes.axvline(0, color=LINE, linewidth=0.4 * sheet.scale, zorder=0)
    axes.set(xlim=(-end, end), ylim=(len(sums) - 0.5, -0.5), xticks=[], yticks=[])


def _lens(sheet: Sheet, x: float, y: float, width: float, column: Column, lines: Sequence[Line]) -> None:
    sheet.say(x, y + HEAD / 2, "lens", SIZE, weight="bold")
    there = [(row, found) for row, line in enumerate(lines) if (found := column.lens(line))]
    _shares(sheet, x, y + HEAD, width, len(lines), [(row, chance) for row, (_, chance) in there], "lens")
    for row, (text, chance) in there:
        middle = y + HEAD + (row + 0.5) * STEP
        sheet.token(x + 0.03, middle, cut(text, fitting(width - 0.42, SMALL)), SMALL, zorder=ABOVE)
        sheet.say(x + width, middle, percent(chance), SMALL - 0.5, ha="right", color=MUTED, zorder=ABOVE)


def _predictions(sheet: Sheet, x: float, y: float, width: float, column: Column) -> None:
    sheet.say(x, y + HEAD / 2, f"prediction: {TASKS[column.table.task]}", SIZE, weight="bold")
    found = column.predictions
    _shares(
        sheet, x, y + HEAD, width, len(found), [(row, one.probability) for row, one in enumerate(found)], "predictions"
    )
    for row, one in enumerate(found):
        middle = y + HEAD + (row + 0.5) * STEP
        mark = {column.target: POSITIVE, column.against: NEGATIVE}.get(one) if column.attributed else None
        if mark:
            sheet.lines([[(x - 0.03, middle - 0.055), (x - 0.03, middle + 0.055)]], mark, 1.6)
        how = {"weight": "bold" if mark else "normal", "zorder": ABOVE}
        sheet.token(x + 0.03, middle, cut(one.text, fitting(width - 0.5, SIZE)), SIZE, **how)
        sheet.say(x + width, middle, percent(one.probability), SMALL, ha="right", zorder=ABOVE)


def _shares(
    sheet: Sheet, x: float, y: float, width: float, rows: int, parts: list[tuple[int, float]], label: str
) -> Any:
    """Probabilities as pale bars behind their tokens, 0 … 1."""
    axes = sheet.axes(x, y, width, rows * STEP, label)
    axes.barh([row for row, _ in parts], [part for _, part in parts], height=0.8, color=INK, alpha=0.16, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(rows - 0.5, -0.5), xticks=[], yticks=[])
    return axes


def _known(values: Sequence[float | None]) -> np.ndarray:
    return np.nan_to_num(np.array([0.0 if value is None else value for value in values]))


def _most(values: Sequence[float | None]) -> float:
    return float(np.abs(_known(values)).max(initial=0.0))
