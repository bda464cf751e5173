"""Effects as a figure for paper: a cell a head, layers from top to bottom, framed where the effect is outside of its band."""

import textwrap
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from attnscope._version import __version__
from attnscope.errors import InputError, MissingDependency
from attnscope.head_effects.rows import EffectRow
from attnscope.render.figures.colours import GROUND, INK, MUTED, TEXT, nice, sign_ramp
from attnscope.render.figures.export import to_bytes
from attnscope.render.figures.fonts import prose_fonts
from attnscope.text.format import MINUS, count

CELL, LEFT, TOP, FOOT, GAP, LEAST = 0.2, 0.55, 0.62, 0.62, 0.5, 4.2  # inches


def figure_bytes(rows: Sequence[EffectRow], told: Mapping[str, Any], texts: int, kind: str) -> bytes:
    """The figure of a table as svg, pdf or png. `told`: its other fields, as its JSON has them. `texts`: how many it is of. Raises InputError for a table without rows, MissingDependency without matplotlib."""
    if not rows:
        raise InputError("this table has no effects yet, so there is nothing to draw: go on with resume=table.")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependency("figures need matplotlib", "figures") from None
    panels = [(stack, [row for row in rows if row.stack == stack]) for stack in dict.fromkeys(r.stack for r in rows)]
    grids = [_grid(some) for _, some in panels]
    width = max(LEAST, LEFT * 2 + sum(grid[0].shape[1] * CELL + GAP for grid in grids))
    height = TOP + max(len(grid[0]) for grid in grids) * CELL + FOOT
    limit = nice(max(float(np.nanmax(np.abs(grid[0]))) for grid in grids))
    made = Figure(figsize=(width, height), facecolor=GROUND)
    x = LEFT
    for (stack, _), (values, framed, layers) in zip(panels, grids, strict=True):
        across, down = values.shape[1] * CELL, len(values) * CELL
        axes = made.add_axes(
            (x / width, (height - TOP - down) / height, across / width, down / height), label=stack or "effects"
        )
        keys = {row.place: str(row.edge[1]) for row in rows if row.edge and row.stack == stack}
        _panel(axes, values, framed, layers, limit, stack, keys)
        x += across + GAP
    _words(made, told, texts, width, height)
    _scale(made, width, height, limit)
    software = {"attnscope": __version__, "versions": {"matplotlib": version("matplotlib")}}
    written = {**told, "title": _title(told), **software, "effects": [row.as_json() for row in rows]}
    return to_bytes(made, kind, written)


def _grid(rows: Sequence[EffectRow]) -> tuple["np.ndarray", "np.ndarray", list[int]]:
    """Effects and frames by layer and place in it; NaN where there is nothing; and the layers."""
    layers = sorted({row.layer for row in rows})
    places = {layer: sorted((row.heads, row.place) for row in rows if row.layer == layer) for layer in layers}
    values = np.full((len(layers), max(map(len, places.values()))), np.nan)
    framed = np.zeros(values.shape, dtype=bool)
    for row in rows:
        at = layers.index(row.layer), places[row.layer].index((row.heads, row.place))
        values[at], framed[at] = row.effect, bool(row.outside_band)
    return values, framed, layers


def _panel(
    axes: Any,
    values: "np.ndarray",
    framed: "np.ndarray",
    layers: Sequence[int],
    limit: float,
    stack: str,
    keys: Mapping[int, str],
) -> None:
    """`keys`: of edges, the name of each column; else heads are numbered."""
    from matplotlib.patches import Rectangle

    font = prose_fonts()
    axes.set(xlim=(-0.5, values.shape[1] - 0.5), ylim=(len(values) - 0.5, -0.5), facecolor=GROUND)
    ramp = sign_ramp()
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        colour = ramp((value / limit + 1) / 2)
        axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, facecolor=colour, edgecolor="none"))
        if framed[row, column]:
            axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=0.9))
    few = max(1, len(layers) // 24)
    axes.set_yticks(
        range(0, len(layers), few), [f"L{layer}" for layer in layers[::few]], size=6, color=MUTED, family=font
    )
    step = 1 if keys else max(1, values.shape[1] // 16)
    axes.set_xticks(
        range(0, values.shape[1], step),
        [keys.get(i, str(i)) for i in range(0, values.shape[1], step)],
        rotation=90 if any(len(name) > 2 for name in keys.values()) else 0,
        size=6,
        color=MUTED,
        family=font,
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if stack:
        axes.set_xlabel(stack, size=7, color=TEXT, family=font)


def _title(told: Mapping[str, Any]) -> str:
    return f"{told['model'] or 'Heads'}: effect on {told['asked']}"


def _words(made: Any, told: Mapping[str, Any], texts: int, width: float, height: float) -> None:
    font = prose_fonts()
    title = textwrap.shorten(_title(told), int(width * 15), placeholder=" …")
    made.text(0.1 / width, 1 - 0.15 / height, title, size=8, weight="bold", color=TEXT, family=font, va="center")
    said = textwrap.shorten(
        f"clean {MINUS} edited, {told['measure']}, {count(texts, 'text')}; in its place: {told['reference']}",
        int(width * 20),
        placeholder=" …",
    )
    made.text(0.1 / width, 1 - 0.32 / height, said, size=6.5, color=MUTED, family=font, va="center")


def _scale(made: Any, width: float, height: float, limit: float) -> None:
    """The scale and what a frame means, at the foot."""
    font = prose_fonts()
    axes = made.add_axes((LEFT / width, 0.3 / height, 1.5 / width, 0.09 / height), label="scale")
    axes.imshow(np.linspace(-1, 1, 129)[None], cmap=sign_ramp(), aspect="auto", extent=(-limit, limit, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([-limit, 0, limit], [f"{MINUS}{limit:g}", "0", f"+{limit:g}"], size=6, color=MUTED, family=font)
    axes.tick_params(length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    made.text(
        (LEFT + 1.75) / width,
        0.345 / height,
        "framed: outside of the others near it",
        size=6.5,
        color=MUTED,
        family=font,
        va="center",
    )
