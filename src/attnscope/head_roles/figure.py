"""The claims of a table as a figure for paper: dots with intervals, and their baselines."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from attnscope._version import __version__
from attnscope.errors import InputError, MissingDependency
from attnscope.head_roles.names import short_name
from attnscope.head_roles.rows import RoleRow
from attnscope.render.figures.colours import GROUND, INK, LINE, MUTED, TEXT
from attnscope.render.figures.export import to_bytes
from attnscope.render.figures.fonts import prose_fonts
from attnscope.text.format import percent

WIDTH, STEP, TOP, FOOT = 7.2, 0.21, 0.5, 0.62  # inches
LEFT, RIGHT = 1.8, 1.2


def figure_bytes(rows: Sequence[RoleRow], model: str, kind: str) -> bytes:
    """The rows that carry a claim, those that find something first, each group the best first. Raises InputError where there
    is none, MissingDependency without matplotlib."""
    claimed = sorted((row for row in rows if row.claimed), key=lambda row: (row.task.by_weight, -_value(row)))
    if not claimed:
        raise InputError(
            "no row of this table carries a claim, so there is nothing to draw: save it as .html, .csv or .json."
        )
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependency("figures need matplotlib", "figures") from None
    height = TOP + STEP * len(claimed) + FOOT
    made = Figure(figsize=(WIDTH, height), facecolor=GROUND)
    made.text(
        0.06 / WIDTH,
        1 - 0.16 / height,
        _title(claimed, model),
        size=8.5,
        weight="bold",
        color=TEXT,
        family=prose_fonts(),
        va="center",
    )
    box = (LEFT / WIDTH, FOOT / height, 1 - (LEFT + RIGHT) / WIDTH, STEP * len(claimed) / height)
    axes = made.add_axes(box, label="roles")
    axes.set(xlim=(0, 1), ylim=(len(claimed) - 0.5, -0.5), facecolor=GROUND)
    axes.set_xticks(
        [0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"], size=7, color=MUTED, family=prose_fonts()
    )
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.grid(axis="x", color=LINE, linewidth=0.4, alpha=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for place, row in enumerate(claimed):
        _row(axes, place, row)
    _legend(made, height)
    software = {"attnscope": __version__, "versions": {"matplotlib": version("matplotlib")}}
    told = {"title": _title(claimed, model), **software, "model": model, "roles": [row.as_json() for row in claimed]}
    return to_bytes(made, kind, told)


def _value(row: RoleRow) -> float:
    return (row.weight if row.task.by_weight else row.accuracy) or 0.0


def _title(claimed: Sequence[RoleRow], model: str) -> str:
    return f"{model or 'Heads'}: {len(claimed)} roles that the evidence carries"


def _row(axes: Any, place: int, row: RoleRow) -> None:
    draw, font = axes, prose_fonts()
    value = _value(row)
    name = f"{short_name(row)}{' (weight)' if row.task.by_weight else ''}"
    for x, words, side in ((-0.02, name, "right"), (-0.02 - (LEFT - 0.2) / (WIDTH - LEFT - RIGHT), row.name, "left")):
        draw.text(
            x,
            place,
            words,
            size=7.5,
            color=TEXT,
            ha=side,
            va="center",
            family=font,
            weight="bold" if side == "left" else "normal",
        )
    n = f"{percent(value)}  n = {row.n:,}"
    draw.text(
        1.0 + RIGHT / (WIDTH - LEFT - RIGHT) - 0.01,
        place,
        n,
        size=6.5,
        color=MUTED,
        ha="right",
        va="center",
        family=font,
    )
    if not row.task.by_weight:
        draw.plot(
            [row.low, row.high],
            [place, place],
            color=INK,
            alpha=0.45,
            linewidth=3,
            solid_capstyle="round",
            clip_on=False,
            gid=f"interval {row.name}",
        )
    if row.baseline_accuracy is not None:
        draw.plot(
            [row.baseline_accuracy] * 2,
            [place - 0.32, place + 0.32],
            color=MUTED,
            linewidth=1.2,
            clip_on=False,
            gid=f"offset {row.name}",
        )
    if row.baseline_word_accuracy is not None:
        draw.plot(
            row.baseline_word_accuracy,
            place,
            "o",
            ms=3.6,
            mfc=GROUND,
            mec=MUTED,
            mew=0.9,
            clip_on=False,
            gid=f"word {row.name}",
        )
    draw.plot(value, place, "o", ms=4.4, color=INK, clip_on=False, gid=f"share {row.name}")


def _legend(made: Any, height: float) -> None:
    """What the marks are, at the foot."""
    y = 0.14 / height
    text: Any = {"size": 6.5, "color": MUTED, "va": "center", "family": prose_fonts()}
    axes = made.add_axes((0, 0, 1, 0.28 / height), label="legend")
    axes.set(xlim=(0, WIDTH), ylim=(0, 0.28))
    axes.axis("off")
    x, middle = LEFT, 0.14
    axes.plot([x - 0.09, x + 0.09], [middle] * 2, color=INK, alpha=0.45, linewidth=3, solid_capstyle="round")
    axes.plot(x, middle, "o", ms=4.4, color=INK)
    made.text((x + 0.16) / WIDTH, y, "on held-out documents, with 95 % interval", **text)
    axes.plot([x + 2.4] * 2, [0.07, 0.21], color=MUTED, linewidth=1.2)
    made.text((x + 2.48) / WIDTH, y, "best fixed offset", **text)
    axes.plot(x + 3.48, middle, "o", ms=3.6, mfc=GROUND, mec=MUTED, mew=0.9)
    made.text((x + 3.56) / WIDTH, y, "nearest fixed word", **text)
