"""The head level: queries on the left, keys on the right, a line for each weight."""

import numpy as np
import torch

from attnscope.errors import InputError
from attnscope.render.figures.colours import HEADS, MUTED, TEXT, nice, nice_part
from attnscope.render.figures.names import cut, fitting
from attnscope.render.figures.parts import legend_end, quoted
from attnscope.render.figures.picture import Picture, picture_of
from attnscope.render.figures.plan import Plan
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.sheet import POINT, WIDE, Sheet
from attnscope.text.format import percent

FAINT, FAINT_FROM = 1500, 0.03  # lines of the other queries: how many, and from which weight
STEP, HEAD = 0.165, 0.2
LINES = 0.5  # inches between the tokens, at least
HAIR, THICK = 0.5, 4.5  # points: a line is HAIR + weight · THICK wide


def opacity(weight: "np.ndarray") -> "np.ndarray":
    """Weak lines are pale, so that many of them do not hide the others."""
    return np.minimum(1, 0.08 + 1.5 * np.sqrt(np.maximum(0, weight)))


def thickness(weight: "np.ndarray") -> "np.ndarray":
    return HAIR + np.minimum(1, weight) * THICK


def plan(scene: Scene, width: float) -> Plan:
    """With more than 60 places on a side: 40 queries around the chosen one, and its 40 strongest keys."""
    state = scene.state
    over = [head for head in state.heads if head != state.head] if state.average == "none" else []
    if len(over) >= len(HEADS):
        raise InputError(
            f"expected up to {len(HEADS)} heads over each other, got {len(over) + 1}: more colours than that look alike."
        )
    picture, notes = picture_of(scene, (state.head, *over))
    names = [picture.queries.slots[i].text for i in picture.chosen]
    if len(names) > 1:
        how = "mean" if state.combine == "mean" else "sum"
        what = f"{how} of the queries {quoted([cut(n, 16) for n in names[:4]])}{' …' if len(names) > 4 else ''}"
    else:
        what = f"query “{cut(names[0], 40)}”"
    place = scene.place if not over else f"{scene.site.name}, heads {', '.join(map(str, picture.heads))}"
    places = max(len(picture.queries.slots), len(picture.keys.slots))
    if (shown := _numbered(len(picture.heads), width)) < len(picture.heads):
        notes.append(f"The numbers are of heads {', '.join(map(str, picture.heads[:shown]))}.")
    if len(picture.queries.slots) > len(picture.chosen):
        notes.append(f"Faint lines: the other queries, weights from {100 * max(FAINT_FROM, state.threshold):g} %.")
    legend = HEAD * -(-len(picture.heads) // max(1, int(width / 0.95))) if over else 0
    return Plan(
        f"{place}, {what}",
        HEAD + legend + places * STEP + 0.04,
        lambda sheet, y: _draw(sheet, y, picture, legend),
        tuple(notes),
    )


def _numbered(heads: int, width: float) -> int:
    """How many heads have their weights as numbers."""
    return min(heads, 2 if width < 5 else 3)


def _draw(sheet: Sheet, y: float, picture: Picture, legend: float) -> None:
    state, small = picture.scene.state, sheet.width < 5
    size = 6 if small else 7
    if legend:
        _legend(sheet, y, picture, size)
    y += legend
    looked, several = picture.looked, len(picture.heads)
    top = max(float(row.values.nan_to_num(0).max()) for row in looked)
    end = nice_part(top) if top <= 1 else nice(top)
    shown = _numbered(several, sheet.width)
    column = (0.42 if small else 0.45) * shown
    bars = 0 if several > 1 or small else 0.9
    pinned = picture.keys.of.get(state.key, -1) if state.key is not None else -1
    taken = 0.28 + bars + column * (2 if pinned >= 0 else 1)
    most = fitting((sheet.width - taken - LINES) / 2, size)
    texts = [[cut(slot.text, most) for slot in axis.slots] for axis in (picture.queries, picture.keys)]
    wide = [max(5, *map(len, side)) * WIDE * size * POINT for side in texts]
    given = [field.values[:, pinned] for field in picture.fields] if pinned >= 0 else []
    left = 0.06 + (column + 0.04 if given else 0) + wide[0] + 0.06
    right = sheet.width - 0.06 - bars - column - wide[1] - 0.1
    if right - left < LINES - 1e-6:
        raise InputError(
            f"a width of {sheet.width:g} inches leaves no room for lines between the tokens: give a larger width, or fewer heads."
        )
    first = y + HEAD
    sheet.say(left - 0.06, y + HEAD / 2, "query", size, ha="right", color=MUTED)
    if given:
        room = fitting(left - 0.12 - 5 * WIDE * size * POINT, size - 0.5) - 3  # up to "query"
        sheet.say(0.06, y + HEAD / 2, f"on {cut(texts[1][pinned], room)}", size - 0.5, color=MUTED)
    sheet.say(right + 0.06, y + HEAD / 2, "key", size, color=MUTED)
    over = "Σ weight" if state.combine == "sum" and len(picture.chosen) > 1 else "weight"
    sheet.say(
        sheet.width - 0.06,
        y + HEAD / 2,
        over if not bars else f"{over}, bars 0 … {legend_end(end)}",
        size,
        ha="right",
        color=MUTED,
    )
    marks = (set(picture.chosen), {pinned})
    for side, (axis, x, align) in enumerate(
        ((picture.queries, left - 0.06, "right"), (picture.keys, right + 0.06, "left"))
    ):
        for i, slot in enumerate(axis.slots):
            chosen = i in marks[side]
            sheet.token(
                x,
                first + (i + 0.5) * STEP,
                texts[side][i],
                size,
                ha=align,
                weight="bold" if chosen else "normal",
                color=MUTED if slot.special and not chosen else TEXT,
            )
    _lines(sheet, picture, left, first, right - left)
    for h in range(shown):
        colour = TEXT if several == 1 else HEADS[h]
        x = right + 0.1 + wide[1] + bars + (h + 1) * column / shown
        for i, value in enumerate(looked[h].values[0].tolist()):
            masked = bool(looked[h].masked[0, i])
            sheet.say(
                x,
                first + (i + 0.5) * STEP,
                "masked" if masked else percent(value),
                size - 0.5,
                ha="right",
                color=colour,
            )
        for i, value in enumerate(given[h].tolist() if given else []):
            masked = bool(picture.fields[h].masked[i, pinned])
            sheet.say(
                0.06 + (h + 1) * column / shown - 0.06,
                first + (i + 0.5) * STEP,
                "masked" if masked else percent(value),
                size - 0.5,
                ha="right",
                color=colour,
            )
    if bars:
        sheet.bars(right + 0.1 + wide[1] + 0.05, first, bars - 0.1, STEP, looked[0].values[0].numpy(), "weight", end)


def _lines(sheet: Sheet, picture: Picture, x: float, y: float, width: float) -> None:
    """Curves from queries to keys: strong ones of the chosen queries, faint ones of the others."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    state = picture.scene.state
    places = max(len(picture.queries.slots), len(picture.keys.slots))
    axes = sheet.axes(x, y, width, places * STEP, "lines")
    axes.set(xlim=(0, 1), ylim=(places - 0.5, -0.5))
    for h, (field, (colour, dash)) in enumerate(zip(picture.fields, picture.pens, strict=True)):
        beside = (h - (len(picture.heads) - 1) / 2) * min(0.12, 0.6 / len(picture.heads))
        chosen = torch.zeros(len(field.values), dtype=torch.bool)
        chosen[list(picture.chosen)] = True
        for name, rows, start, budget in (
            ("faint", ~chosen, max(FAINT_FROM, state.threshold), FAINT // len(picture.heads)),
            ("strong", chosen, state.threshold, None),
        ):
            weights = torch.where(rows[:, None], field.parts, 0.0).nan_to_num(0)
            q, k = torch.nonzero((weights > 0) & (weights >= start), as_tuple=True)
            order = weights[q, k].argsort(descending=True, stable=True)[:budget].flip(0)
            q, k = q[order], k[order]
            w = weights[q, k].numpy()
            curves = [
                Path([(0, a), (0.42, a), (0.58, b), (1, b)], [1, 4, 4, 4])
                for a, b in zip((q + beside).tolist(), (k + beside).tolist(), strict=True)
            ]
            if not curves:
                continue
            faint = name == "faint"
            lines = PathCollection(
                curves,
                facecolors="none",
                edgecolors=colour,
                linestyles=[dash],
                label=f"{name} lines of head {picture.heads[h]}",
                linewidths=(0.4 + 1.1 * np.minimum(1, w) if faint else thickness(w)) * sheet.scale,
                alpha=0.05 + 0.3 * np.minimum(1, w) if faint else opacity(w),
                zorder=1 if faint else 2,
                capstyle="butt",
            )
            axes.add_collection(lines, autolim=False)


def _legend(sheet: Sheet, y: float, picture: Picture, size: float) -> None:
    """Each head by colour, dashes and number."""
    a_row = max(1, int(sheet.width / 0.95))
    for i, (head, (colour, dash)) in enumerate(zip(picture.heads, picture.pens, strict=True)):
        x, middle = 0.06 + (i % a_row) * 0.95, y + HEAD * (i // a_row + 0.5)
        sheet.lines([[(x, middle), (x + 0.34, middle)]], colour, 1.1, linestyles=[dash])
        sheet.say(x + 0.4, middle, f"head {head}", size)
