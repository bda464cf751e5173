"""Sheet: the paper on which the levels draw, in inches from its upper left corner."""

import re
from typing import Any

import numpy as np

from attnscope.render.figures.colours import (
    GROUND,
    HATCH,
    INK,
    LINE,
    MUTED,
    NEGATIVE,
    POSITIVE,
    TEXT,
    sign_ramp,
    weight_ramp,
)
from attnscope.render.figures.fonts import prose_fonts, token_fonts

POINT = 1 / 72
WIDE = 0.605  # width of a character in the fixed-width font, as a part of its size
PROSE = 0.6  # the same for running text, a little more than its average


class Sheet:
    """`root` is an axes that holds everything on the sheet, each part in its own axes. `scale` shrinks text and lines."""

    def __init__(self, root: Any, width: float, height: float, scale: float = 1.0) -> None:
        self.root, self.width, self.height, self.scale = root, width, height, scale
        self.tokens: dict[str, None] = {}
        root.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[], aspect="auto")
        root.set_axis_off()

    def axes(self, x: float, y: float, width: float, height: float, label: str) -> Any:
        """Axes at this place of the sheet, without a frame; `label` is how to find them."""
        axes = self.root.inset_axes((x, self.height - y - height, width, height), transform=self.root.transData)
        axes.set(xticks=[], yticks=[], label=label)
        axes.set_frame_on(False)
        axes.patch.set_visible(False)
        return axes

    def formula(self, x: float, y: float, text: str, size: float, **how: Any) -> Any:
        """Running text, with W_Q, b_K and so on typeset."""
        style = "mathbf" if how.get("weight") == "bold" else "mathrm"
        typeset = re.sub(r"\b([Wb])_([QKVO])\b", rf"$\\{style}{{\1}}_{{\\{style}{{\2}}}}$", text.replace("$", r"\$"))
        if style not in typeset:
            return self.say(x, y, text, size, **how)
        return self.root.text(
            x,
            self.height - y,
            typeset,
            size=size * self.scale,
            ha="left",
            va="center_baseline",
            family=prose_fonts(),
            math_fontfamily="dejavusans",
            **how,
        )

    def say(self, x: float, y: float, text: str, size: float = 7, **how: Any) -> Any:
        """Running text; y is the middle of the line."""
        options = {"color": TEXT, "ha": "left", "va": "center_baseline", "family": prose_fonts(), **how}
        return self.root.text(x, self.height - y, text, size=size * self.scale, parse_math=False, **options)

    def token(self, x: float, y: float, name: str, size: float = 7, **how: Any) -> Any:
        """A token, in fixed width. The sheet remembers it, so that a warning can name missing characters."""
        self.tokens[name] = None
        return self.say(x, y, name, size, **{"family": token_fonts(), **how})

    def lines(self, segments: Any, color: str = LINE, width: float = 0.5, **how: Any) -> Any:
        """Straight lines, [n, 2, 2] in inches of the sheet."""
        from matplotlib.collections import LineCollection

        flipped = [[(x, self.height - y) for x, y in segment] for segment in segments]
        return self.root.add_collection(
            LineCollection(flipped, colors=color, linewidths=width * self.scale, **how), autolim=False
        )

    def strips(self, x: float, y: float, width: float, step: float, vectors: Any, label: str, end: float) -> Any:
        """A row of bars for each vector, on baselines `step` apart; bars end at ±`end`. NaN and ∞ are hatched."""
        from matplotlib.collections import LineCollection, PolyCollection

        values = np.asarray(vectors, dtype=float)
        rows, dims = values.shape
        axes = self.axes(x, y, width, rows * step, label)
        axes.set(xlim=(-0.5, dims - 0.5), ylim=(rows - 0.5, -0.5))
        height = np.where(np.isfinite(values), values, 0.0).clip(-end, end) / end * 0.46
        row, dim = np.indices(values.shape)
        thick = 0.42 if dims <= 128 else 0.5
        corners = np.stack(
            [
                np.stack([dim + dx, row - height * up], -1)
                for dx, up in ((-thick, 0), (-thick, 1), (thick, 1), (thick, 0))
            ],
            axis=2,
        )
        colours = np.where(values.reshape(-1) < 0, NEGATIVE, POSITIVE)
        axes.add_collection(
            PolyCollection(list(corners.reshape(-1, 4, 2)), facecolors=colours, linewidths=0, label="bars"),
            autolim=False,
        )
        beyond = np.argwhere(np.isfinite(values) & (np.abs(values) > end * (1 + 1e-6)))
        if len(beyond):  # a gap near the tip, as of a broken bar
            tips = [
                [(d - thick, r - 0.36 * np.sign(values[r, d])), (d + thick, r - 0.36 * np.sign(values[r, d]))]
                for r, d in beyond
            ]
            axes.add_collection(
                LineCollection(tips, colors=GROUND, linewidths=0.6 * self.scale, label="beyond"), autolim=False
            )
        if not np.isfinite(values).all():
            broken = np.argwhere(~np.isfinite(values))
            boxes = [
                [(d - thick, r - 0.46), (d + thick, r - 0.46), (d + thick, r + 0.46), (d - thick, r + 0.46)]
                for r, d in broken
            ]
            axes.add_collection(
                PolyCollection(boxes, facecolors="none", edgecolors=INK, linewidths=0.3, hatch="----"), autolim=False
            )
        base = [[(-0.5, r), (dims - 0.5, r)] for r in range(rows)]
        axes.add_collection(LineCollection(base, colors=MUTED, linewidths=0.25 * self.scale), autolim=False)
        return axes

    def bars(
        self, x: float, y: float, width: float, step: float, values: Any, label: str, end: float, thick: float = 0.6
    ) -> Any:
        """A horizontal bar for each number, on a scale from zero to `end`."""
        axes = self.axes(x, y, width, len(values) * step, label)
        known = np.nan_to_num(np.asarray(values, dtype=float))
        axes.barh(range(len(known)), known, height=thick, color=INK, linewidth=0)
        axes.set(xlim=(0, end), ylim=(len(known) - 0.5, -0.5), xticks=[], yticks=[])
        return axes

    def image(self, axes: Any, values: Any, extent: Any, *, signed: bool = False) -> Any:
        """Cells in colour: 0 … 1 in ink, or -1 … 1 in the colours of signs; NaN has the background."""
        return axes.imshow(
            np.ma.masked_invalid(np.asarray(values, dtype=float)),
            extent=extent,
            interpolation="nearest",
            aspect="auto",
            cmap=sign_ramp() if signed else weight_ramp(),
            vmin=-1 if signed else 0,
            vmax=1,
            origin="upper",
        )

    def hatch(self, axes: Any, cells: Any, pattern: str = "////", colour: str = HATCH, label: str = "masked") -> None:
        """Hatch the cells [R, C] that are True; neighbours in a row as one shape."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
        boxes = [corners * (stop - start, 1) + (start - 0.5, row - 0.5) for row, start, stop in _runs(cells)]
        if boxes:
            path = Path(np.concatenate(boxes), np.tile(np.array([1, 2, 2, 2, 79], np.uint8), len(boxes)))
            axes.add_patch(PathPatch(path, facecolor=GROUND, edgecolor=colour, hatch=pattern, linewidth=0, label=label))

    def ramp(self, x: float, y: float, width: float, signed: bool = False) -> None:
        """A colour bar, 0.09 inches high, whose middle is at y."""
        axes = self.axes(x, y - 0.045, width, 0.09, "scale")
        self.image(axes, np.linspace(-1 if signed else 0, 1, 129)[None], (0, 1, 1, 0), signed=signed)


def _runs(cells: Any) -> list[tuple[int, int, int]]:
    """(row, first, last + 1) of every run of True."""
    found = []
    for row, line in enumerate(np.asarray(cells, dtype=bool)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.view(np.int8), [0]])))
        found += [(row, int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return found
