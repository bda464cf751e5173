"""The matrix level: weights, scores or q · k of one head as a grid of cells."""

import math
from typing import Any

import numpy as np

from attnscope.errors import InputError
from attnscope.render.figures.colours import GROUND, INK, MUTED, TEXT, nice, nice_part
from attnscope.render.figures.field import Field, field_of
from attnscope.render.figures.names import cut, fitting
from attnscope.render.figures.parts import legend_end, shape_notes
from attnscope.render.figures.plan import Plan
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.sheet import POINT, WIDE, Sheet
from attnscope.text.format import count, number, percent_in_words
from attnscope.views.sentences.notes import note

MOST = 2048  # places on a side
CELL = 0.3  # inches, at most
LABEL = 0.092  # inches for a label
SUMS = 0.42
UNEVEN = 0.005  # half of what two decimals show
FLOOR = 1e-4  # where a logarithmic scale begins
ROW = "an average row"
NAMES = {"weights": "weight", "scores": "score", "dot": "q · k"}


class _Layout:
    """The place of the grid on paper of this width, in inches."""

    def __init__(self, scene: Scene, field: Field, width: float) -> None:
        self.size = 6 if width < 5 else 7
        self.most = fitting(0.4 * width, self.size)
        rows, columns = len(scene.queries.slots), len(scene.keys.slots)
        self.weights = _quantity(scene) == "weights"
        self.names = [[cut(slot.text, self.most) for slot in axis.slots] for axis in (scene.queries, scene.keys)]
        self.left, self.top = (0.06 + max(map(len, side)) * WIDE * self.size * POINT + 0.06 for side in self.names)
        self.left, self.top = max(self.left, 0.56), max(self.top, 0.34)
        self.below = self.weights and scene.sums
        self.beside = self.below and uneven(field)
        self.sums = SUMS if self.beside else 0.06
        self.cell = min(CELL, (width - self.left - self.sums - 0.1) / columns)
        if self.cell <= 0:
            raise InputError(
                f"a width of {width:g} inches leaves no room for the grid beside its labels: give a larger width."
            )
        spare = scene.room - self.top - (SUMS if self.below else 0) - 0.85  # title, legend and two lines of notes
        self.cell = min(self.cell, max(0.8, min(9.0, spare)) / rows)
        self.wide, self.high = self.cell * columns, self.cell * rows
        self.stride = max(1, math.ceil(LABEL * self.size / 7 / self.cell))
        self.height = self.top + self.high + (SUMS if self.below else 0.06) + 0.24


def _quantity(scene: Scene) -> str:
    return scene.state.quantity if scene.state.average == "none" else "weights"


def plan(scene: Scene, width: float) -> Plan:
    """Up to 2,048 places on a side. A mean over heads has only weights."""
    state, queries, keys = scene.state, scene.queries, scene.keys
    if not queries.slots or not keys.slots:
        raise InputError(f"the filter {state.filter!r} and special={state.special!r} leave nothing to draw.")
    if max(len(queries.slots), len(keys.slots)) > MOST:
        raise InputError(
            f"a grid of {len(queries.slots)} × {len(keys.slots)} cells is too fine for paper: expected up to {MOST:,} on a side. "
            "Give a shorter text, words=True or a filter; the head and neuron levels draw the strongest keys of long texts."
        )
    field = field_of(scene, state.head, queries, keys, state.quantity)
    layout = _Layout(scene, field, width)
    notes = list(shape_notes(scene, (queries, keys)))
    if state.average != "none" and state.quantity != "weights":
        notes.append("A mean over heads has no scores; this shows the weights.")
    if field.quantity == "weights":
        hidden, outside, sink = (
            percent_in_words(float(x.nanmean())) for x in (field.hidden, field.outside, field.sink)
        )
        if keys.hidden:
            notes.append(note("hidden_little", part=hidden, whose=ROW))
        if state.filter != "all":
            notes.append(note("outside", part=outside, whose=ROW))
        if float(field.sink.nan_to_num(0).max()) > 0:
            notes.append(note("sink", part=f"{sink} of {ROW}"))
    if bool(field.empty.any()):
        notes.append(f"No key allowed in {count(int(field.empty.sum()), 'row')}.")
    if layout.stride > 1:
        notes.append(f"Every {_th(layout.stride)} token is named.")
    return Plan(
        f"{NAMES[field.quantity]}s: {scene.place}" if field.quantity != "dot" else f"q · k: {scene.place}",
        layout.height,
        lambda sheet, y: _draw(sheet, y, scene, field, _Layout(scene, field, sheet.width)),
        tuple(notes),
    )


def shaded(field: Field, log: bool) -> tuple["np.ndarray", float]:
    """The value of every cell as a part of the scale (NaN: masked or not finite), and the scale's end."""
    values = np.where(field.masked.numpy(), np.nan, field.values.numpy())
    values = np.where(np.isfinite(values), values, np.nan)
    largest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0
    end = nice_part(largest) if field.quantity == "weights" else nice(largest)
    if not (log and field.quantity == "weights"):
        return values / end, end
    with np.errstate(divide="ignore"):
        parts = np.log(np.maximum(values, FLOOR) / FLOOR) / np.log(end / FLOOR)
    return parts, end


def _draw(sheet: Sheet, y: float, scene: Scene, field: Field, at: _Layout) -> None:
    state, signed = scene.state, field.quantity != "weights"
    rows, columns = field.values.shape
    parts, end = shaded(field, state.log)
    left, top = at.left, y + at.top
    axes = sheet.axes(left, top, at.wide, at.high, "cells")
    sheet.image(axes, parts, (-0.5, columns - 0.5, rows - 0.5, -0.5), signed=signed)
    masked = field.masked.numpy()
    sheet.hatch(axes, masked)
    broken = ~np.isfinite(field.values.numpy()) & ~masked
    sheet.hatch(axes, broken, "----", INK, "not a number")
    gaps = np.arange(1, max(rows, columns)) - 0.5
    if at.cell > 0.07:
        axes.hlines(gaps[: rows - 1], -0.5, columns - 0.5, color=GROUND, linewidth=0.4 * sheet.scale)
        axes.vlines(gaps[: columns - 1], -0.5, rows - 0.5, color=GROUND, linewidth=0.4 * sheet.scale)
    if signed and at.cell > 0.05:
        r, c = np.nonzero(parts < 0)
        dark = parts[r, c] < -0.5
        for which, colour in ((dark, GROUND), (~dark, INK)):
            axes.hlines(
                r[which], c[which] - 0.16, c[which] + 0.16, color=colour, linewidth=0.5 * sheet.scale, label="minus"
            )
    _labels(sheet, scene, at, left, top)
    _mark(axes, scene)
    bottom = top + at.high
    given, received = field.values.nan_to_num(0).sum(1).numpy(), field.values.nan_to_num(0).sum(0).numpy()
    ends = [nice(round(float(sums.max()), 4)) for sums in (given, received)]
    if at.beside:
        shown = np.where(np.abs(given - 1) < UNEVEN, 0, given)
        sheet.bars(left + at.wide + 0.05, top, SUMS - 0.08, at.cell, shown, "row sums", ends[0], thick=0.8)
        x = left + at.wide + 0.05
        sheet.say(x, top - 0.15, "row sum", 5.5, color=MUTED)
        sheet.say(x, top - 0.06, f"0 … {ends[0]:g}", 5.5, color=MUTED)
    if at.below:
        below = sheet.axes(left, bottom + 0.05, at.wide, SUMS - 0.08, "column sums")
        below.bar(range(columns), received, width=0.8, color=INK, linewidth=0)
        below.set(xlim=(-0.5, columns - 0.5), ylim=(ends[1], 0))
        sheet.say(left - 0.05, bottom + 0.13, "column sum", 5.5, color=MUTED, ha="right")
        sheet.say(left - 0.05, bottom + 0.22, f"0 … {ends[1]:g}", 5.5, color=MUTED, ha="right")
        bottom += SUMS
    _legend(sheet, bottom + 0.14, at, field, end, state.log, bool(masked.any()), bool(broken.any()))


def uneven(field: Field) -> bool:
    """True where the weights of a row do not add up to 1: some are hidden, outside the filter or at a sink."""
    given = field.values.nan_to_num(0).sum(1)[~field.empty]
    return bool(((given - 1).abs() >= UNEVEN).any())


def _labels(sheet: Sheet, scene: Scene, at: _Layout, left: float, top: float) -> None:
    chosen = (
        scene.queries.of.get(scene.state.query, -1),
        scene.keys.of.get(scene.state.key, -1) if scene.state.key is not None else -1,
    )
    for title, above in (("key →", 0.15), ("query ↓", 0.05)):
        sheet.say(left - 0.05, top - above, title, at.size - 0.5, ha="right", color=MUTED)
    for side, axis in enumerate((scene.queries, scene.keys)):
        for i, slot in enumerate(axis.slots):
            if i % at.stride and i != chosen[side]:
                continue
            near = i != chosen[side] and chosen[side] % at.stride and abs(i - chosen[side]) < at.stride
            if near and chosen[side] >= 0:
                continue
            look = {
                "weight": "bold" if i == chosen[side] else "normal",
                "color": MUTED if slot.special and i != chosen[side] else TEXT,
            }
            middle = (i + 0.5) * at.cell
            if side == 0:
                sheet.token(left - 0.05, top + middle, at.names[0][i], at.size, ha="right", **look)
            else:
                sheet.token(
                    left + middle, top - 0.05, at.names[1][i], at.size, ha="center", va="bottom", rotation=90, **look
                )


def _mark(axes: Any, scene: Scene) -> None:
    """An outline around the cell of the query and the pinned key."""
    from matplotlib.patches import Rectangle

    query = scene.queries.of.get(scene.state.query)
    key = scene.keys.of.get(scene.state.key) if scene.state.key is not None else None
    if query is not None and key is not None:
        axes.add_patch(
            Rectangle(
                (key - 0.5, query - 0.5), 1, 1, fill=False, edgecolor=TEXT, linewidth=1, label="selected", clip_on=False
            )
        )


def _legend(
    sheet: Sheet, y: float, at: _Layout, field: Field, end: float, log: bool, masked: bool, broken: bool
) -> None:
    signed, x = field.quantity != "weights", 0.06
    sheet.say(x, y, NAMES[field.quantity], 6.5)
    x += 0.4
    first, last = ("0", legend_end(end)) if not signed else (number(-end), number(end))
    if log and not signed:
        first = f"≤ {100 * FLOOR:g} %"
    sheet.say(x + (0.46 if signed or log else 0.1), y, first, 6.5, ha="right", color=MUTED)
    x += 0.5 if signed or log else 0.14
    sheet.ramp(x, y, 0.7, signed)
    sheet.say(x + 0.74, y, f"{last}{', logarithmic' if log and not signed else ''}", 6.5, color=MUTED)
    x += 0.74 + (0.4 if not (log and not signed) else 1.05)
    for there, pattern, colour, name in ((masked, "////", None, "masked"), (broken, "----", INK, "NaN")):
        if there:
            box = sheet.axes(x, y - 0.045, 0.14, 0.09, name)
            box.set(xlim=(-0.5, 0.5), ylim=(0.5, -0.5))
            sheet.hatch(box, np.ones((1, 1), dtype=bool), pattern, **({"colour": colour} if colour else {}))
            sheet.say(x + 0.18, y, name, 6.5, color=MUTED)
            x += 0.68
    if signed and at.cell > 0.05:
        sheet.say(x, y, "− marks negative cells", 6.5, color=MUTED)


def _th(count: int) -> str:
    return f"{count}{ {2: 'nd', 3: 'rd'}.get(count % 10 if count % 100 not in (12, 13) else 0, 'th') }".replace(" ", "")
