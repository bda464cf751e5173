"""Above the levels: the image that was read, and over it the weight of the query on each patch."""

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attnscope.render.figures.colours import GROUND, INK, MUTED, TEXT, nice_part
from attnscope.render.figures.plan import Plan
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.sheet import Sheet
from attnscope.tracing.grids import PatchGrid

LONG, GAP, CAPTION = 1.3, 0.12, 0.2  # inches
PALE = 0.3  # of the picture under the weights, as on the page
LEVELS = ("head", "neuron")


@dataclass(frozen=True)
class Pane:
    """One square of the row: the picture with the query in it, or with the weights over it."""

    grid: PatchGrid
    weighted: bool

    @property
    def size(self) -> tuple[float, float]:
        longest = max(self.grid.rows, self.grid.columns)
        return LONG * self.grid.columns / longest, LONG * self.grid.rows / longest


def with_images(scene: Scene, plan: Plan, width: float) -> Plan:
    """The plan, with the images among the keys above it; the plan itself where there are none."""
    site = scene.site
    queries, keys = scene.trace.query_tokens(site), scene.trace.key_tokens(site)
    if scene.state.level not in LEVELS or not keys.grids:
        return plan
    panes = [Pane(grid, weighted) for grid in keys.grids for weighted in (False, True)]
    if queries is not keys:
        panes = [one for one in panes if one.weighted]
    rows: list[list[Pane]] = [[]]
    for pane in panes:
        taken = sum(one.size[0] + GAP for one in rows[-1])
        if rows[-1] and taken + pane.size[0] + 0.12 > width:
            rows.append([])
        rows[-1].append(pane)
    weights = np.nan_to_num(weights_of(scene))
    end = nice_part(float(weights.max()))
    own = () if end == 1 else ("The weights on the picture have a scale of their own.",)
    heights = [max(one.size[1] for one in row) + CAPTION for row in rows]

    def draw(sheet: Sheet, y: float) -> None:
        below = y + sum(heights)
        _draw(sheet, y, scene.state.query, rows, heights, weights, end)
        plan.draw(sheet, below + 0.06)

    return replace(plan, height=sum(heights) + 0.06 + plan.height, draw=draw, notes=(*plan.notes, *own))


def weights_of(scene: Scene) -> "np.ndarray":
    """[K], of the query in the head of the state; at the head level the mean over heads, where the state has one."""
    members = scene.members(scene.state.head) if scene.state.level == "head" else ((scene.site, scene.state.head),)
    return np.mean([site.weights(head, scene.row)[0].float().cpu().numpy() for site, head in members], axis=0)


def _draw(
    sheet: Sheet,
    y: float,
    query: int,
    rows: list[list[Pane]],
    heights: list[float],
    weights: "np.ndarray",
    end: float,
) -> None:
    size = 6 if sheet.width < 5 else 7
    for row, height in zip(rows, heights, strict=True):
        x = 0.06
        for pane in row:
            wide, high = pane.size
            axes = sheet.axes(x, y, wide, high, "weights on the image" if pane.weighted else "image")
            _background(axes, pane)
            if pane.weighted:
                padded = np.append(weights, 0.0)  # a patch without a token, -1, has no weight
                _ink(axes, padded[list(pane.grid.tokens)].reshape(pane.grid.rows, pane.grid.columns) / end)
                caption = f"its weights, 0 … {100 * end:g} %"
            else:
                caption = "query"
                _outline(axes, pane.grid, query, sheet.scale)
            axes.set(xlim=(0, pane.grid.columns), ylim=(pane.grid.rows, 0))
            sheet.say(x, y + high + CAPTION / 2, caption, size - 0.5, color=MUTED)
            x += wide + GAP
        y += height


def _background(axes: Any, pane: Pane) -> None:
    """The picture; under weights in grey and pale."""
    axes.set_frame_on(True)
    for spine in axes.spines.values():
        spine.set(linewidth=0.4, color=MUTED)
    if not pane.grid.png:
        return
    from matplotlib.image import imread

    picture = imread(io.BytesIO(pane.grid.png), format="png")
    picture = np.repeat(picture[..., None], 3, -1) if picture.ndim == 2 else picture[..., :3]
    if pane.weighted:
        picture = np.repeat((picture @ np.array([0.2126, 0.7152, 0.0722]))[..., None], 3, -1)
    extent = (0, pane.grid.columns, pane.grid.rows, 0)
    axes.imshow(picture, extent=extent, aspect="auto", alpha=PALE if pane.weighted else 1, label="picture")


def _ink(axes: Any, parts: "np.ndarray") -> None:
    from matplotlib.colors import to_rgb

    ink = np.empty((*parts.shape, 4))
    ink[..., :3], ink[..., 3] = to_rgb(INK), parts.clip(0, 1)
    axes.imshow(
        ink, extent=(0, parts.shape[1], parts.shape[0], 0), aspect="auto", interpolation="nearest", label="weights"
    )


def _outline(axes: Any, grid: PatchGrid, query: int, scale: float) -> None:
    from matplotlib.patches import Rectangle

    if query not in grid.tokens:
        return
    row, column = divmod(grid.tokens.index(query), grid.columns)
    for colour, width in ((GROUND, 2.4), (TEXT, 1.2)):
        box = Rectangle((column, row), 1, 1, fill=False, edgecolor=colour, linewidth=width * scale, label="query")
        axes.add_patch(box)
