"""The lens of every position as a grid: what the model would predict after each layer."""

from itertools import pairwise

import torch

from attnscope.render.figures.colours import GROUND, INK, MUTED, TEXT
from attnscope.render.figures.names import cut, fitting
from attnscope.render.figures.plan import Plan
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.sheet import Sheet
from attnscope.views.sentences.labels import as_text
from attnscope.views.sentences.stream import sentence_of_lens, stage_name
from attnscope.views.stream_column import Column, shown

LEFT, CELL, STEP, HEAD = 0.5, 0.48, 0.15, 0.2
SIZE = 5.5
LIGHT = 0.5  # from this probability on, letters are light on their ink


def plan_lens(scene: Scene, column: Column, width: float) -> Plan:
    """Positions to the right, layers downwards; where they do not fit, those around the query."""
    table = column.table
    fit = max(1, int((width - LEFT - 0.12) / CELL))
    first = max(0, min(column.row - fit // 2, len(table.positions) - fit))
    rows = range(first, min(len(table.positions), first + fit))
    notes = [as_text(sentence_of_lens(column)), "Ink: the probability of the token, 0 … 100 %. Layers count from 0."]
    if len(rows) < len(table.positions):
        notes.append(f"{len(rows)} of {len(table.positions)} positions, around the query.")
    return Plan(
        "lens: the most probable token after each layer",
        HEAD + (table.layers + 1) * STEP,
        lambda sheet, y: _draw(sheet, y, scene, column, rows),
        tuple(notes),
    )


def _draw(sheet: Sheet, y: float, scene: Scene, column: Column, rows: range) -> None:
    table, left, top = column.table, 0.06 + LEFT, y + HEAD
    assert table.lens_probabilities is not None
    stages = table.layers + 1
    wide = min(0.8, (sheet.width - left - 0.06) / len(rows))
    most = fitting(wide - 0.04, SIZE)
    values = table.lens_probabilities[rows.start : rows.stop].T.float()
    axes = sheet.axes(left, top, wide * len(rows), stages * STEP, "lens")
    sheet.image(axes, torch.nan_to_num(values).numpy(), (0, len(rows), stages, 0))
    for stage in range(stages):
        middle = top + (stage + 0.5) * STEP
        sheet.say(left - 0.05, middle, stage_name(stage).removeprefix("the "), SIZE, ha="right", color=MUTED)
        for i, row in enumerate(rows):
            dark = float(values[stage, i]) >= LIGHT
            text = cut(shown(table.lens_text[row][stage]), most)
            sheet.token(left + i * wide + 0.03, middle, text, SIZE, color=GROUND if dark else TEXT, zorder=6)
    for i, row in enumerate(rows):
        chosen = row == column.row
        name = cut(scene.query_names[table.positions[row]], most)
        sheet.token(left + i * wide + 0.03, y + HEAD / 2, name, SIZE, weight="bold" if chosen else "normal")
        if chosen:
            x = left + i * wide
            box = [(x, top), (x + wide, top), (x + wide, top + stages * STEP), (x, top + stages * STEP), (x, top)]
            sheet.lines([[a, b] for a, b in pairwise(box)], INK, 0.8)
