"""The model level: every head of every layer as a small matrix (or its lines), by layer or by a statistic."""

from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np

from attnscope.errors import InputError
from attnscope.render.figures.colours import GROUND, INK, LINE, MUTED, TEXT, nice_part
from attnscope.render.figures.parts import legend_end
from attnscope.render.figures.plan import Plan
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.sheet import POINT, WIDE, Sheet
from attnscope.statistics.definitions import BADGES, EFFECT, EFFECTS, NAMING, PAIR, ROLE, STATISTICS, plain_name
from attnscope.statistics.query_row import pair_values, query_rows
from attnscope.statistics.sink_tokens import set_aside
from attnscope.statistics.thumbnails import MASKED, STEPS, Thumbnails, thumbnails_of
from attnscope.text.format import fixed, percent
from attnscope.tracing.badges import badges_at, kinds_of

SMALLEST, LARGEST = 0.13, 0.7  # inches of a thumbnail
NAMED = 0.42  # and from where a plain name has room in it
GAP, NAME = 0.05, 0.13
LINES = 160  # at most, in a thumbnail


@dataclass(frozen=True)
class _Cell:
    """A head, its row and column in the grid, and its value of the statistic."""

    site: int
    head: int
    row: int
    column: int
    value: float | None = None


def plan(scene: Scene, width: float) -> Plan:
    """Each pixel of a thumbnail is the largest weight of its patch. Raises InputError if thumbnails would be too small."""
    trace, state = scene.trace, scene.state
    thumbs = thumbnails_of(trace)
    statistic = next((s for s in (*STATISTICS, ROLE, EFFECT, *PAIR) if s.name == state.sort), None)
    values = _values(scene, thumbs)
    if statistic and all(value is None for one in values for value in one):
        raise InputError(
            f"no head of this trace has the statistic {state.sort!r}. Give sort='layer' for the order of the layers."
        )
    grid = _Grid(scene, thumbs, values, width)
    notes = ["Each patch of a thumbnail shows its largest weight; rows are queries, columns are keys."]
    if statistic:
        unit = f" in {statistic.unit}" if statistic.unit not in ("part", "") else ""
        notes.append(f"Sorted by “{statistic.title}”{unit}, largest first: {statistic.words}")
    if statistic in PAIR:
        pair = f"“{scene.query_names[state.query]}” → “{scene.key_names[scene.key]}”"
        notes.append(f"The pair is {pair}.")
    if "role" in (kinds := kinds_of(trace.badges)):
        notes += [BADGES, _roles(scene)]
    if "effect" in kinds:
        notes.append(EFFECTS)
    if grid.named:
        notes.append(NAMING)
    if any(one.shown is not None for one in thumbs):
        notes.append("Thumbnails and statistics are of the sound; the silence behind it asks nothing and is cut off.")
    if any((one.pixels == MASKED).any() for one in thumbs):
        notes.append("White is masked.")
    name = trace.model.name or trace.model.class_name or "attention"
    return Plan(f"{name}: {len(grid.cells)} heads of {len(trace.sites)} layers", grid.height, grid.draw, tuple(notes))


def _values(scene: Scene, thumbs: tuple[Thumbnails, ...]) -> list[list[float | None]]:
    """The number of each head of each site by which they are sorted."""
    sort, sites = scene.state.sort, scene.trace.sites
    if sort not in [statistic.name for statistic in PAIR]:
        return [list(one.statistics.get(sort, (None,) * s.heads)) for one, s in zip(thumbs, sites, strict=True)]
    found: list[list[float | None]] = []
    for site, row in zip(sites, query_rows(scene.trace, scene.site, scene.state.query), strict=True):
        same = scene.trace.key_tokens(site) is scene.trace.key_tokens(scene.site)
        if sort == "group":
            group = scene.group
            known = same and row is not None and group is not None
            found.append(
                row.weights[:, group.positions][:, ~set_aside(scene.trace, site)[group.positions]].sum(-1).tolist()
                if known and row is not None and group is not None
                else [None] * site.heads
            )
            continue
        weight, wrote = pair_values(row, scene.key) if same else (None, None)
        values = weight if sort == "pair" else wrote
        found.append([None] * site.heads if values is None else values.tolist())
    return found


class _Grid:
    """All thumbnails on paper of this width."""

    def __init__(
        self, scene: Scene, thumbs: tuple[Thumbnails, ...], values: list[list[float | None]], width: float
    ) -> None:
        self.scene, self.thumbs = scene, thumbs
        self.sorted = scene.state.sort != "layer"
        sites = scene.trace.sites
        if self.sorted:
            ranked = [(values[i][h], i, h) for i, site in enumerate(sites) for h in range(site.heads)]
            ranked.sort(key=lambda found: (found[0] is None, -(found[0] or 0), found[1], found[2]))
            columns = min(len(ranked), max(1, int((width - 0.1) / 0.62)))
            self.cells = [_Cell(i, h, n // columns, n % columns, value) for n, (value, i, h) in enumerate(ranked)]
            self.left = 0.06
        else:
            columns = max(site.heads for site in sites)
            self.cells = [_Cell(i, h, i, h) for i, site in enumerate(sites) for h in range(site.heads)]
            self.left = 0.06 + 0.075 * max(len(_short(site)) for site in sites) + 0.04
        self.columns, self.rows = columns, max(cell.row for cell in self.cells) + 1
        self.side = min(LARGEST, (width - self.left - 0.06) / columns - GAP)
        spare = (scene.room - 0.9) / self.rows - GAP - (2 * NAME if self.sorted else 0)
        self.side = min(self.side, max(SMALLEST, spare))
        if self.side < SMALLEST:
            raise InputError(
                f"{columns} heads side by side do not fit into {width:g} inches: give "
                f"width={self.left + 0.1 + columns * (SMALLEST + GAP):.1f} or more, or sort by a statistic, which makes rows."
            )
        self.named = self.side >= NAMED and any(self._plain(cell) for cell in self.cells)
        self.step = self.side + GAP + (2 * NAME if self.sorted else 0)
        self.top = 0.0 if self.sorted else NAME
        self.height = self.top + self.rows * self.step + 0.24

    def draw(self, sheet: Sheet, y: float) -> None:
        state, sites = self.scene.state, self.scene.trace.sites
        here = next(i for i, site in enumerate(sites) if site is self.scene.site)
        axes = sheet.axes(
            self.left, y + self.top, self.columns * (self.side + GAP), self.rows * self.step, "thumbnails"
        )
        end = nice_part(max(float(one.weights.nan_to_num(0).max()) for one in self.thumbs))
        small = 5.5 if self.side < 0.3 else 6.5
        for cell in self.cells:
            x, top = cell.column * (self.side + GAP), cell.row * self.step + (NAME if self.sorted else 0)
            chosen = self.scene.framed and cell.site == here and cell.head == state.head
            self._thumbnail(sheet, axes, cell, x, top, end, chosen)
            self._badge(sheet, axes, cell, self.left + x, y + self.top + top)
            if self.named:
                self._names(sheet, cell, self.left + x, y + self.top + top)
            if self.sorted:
                middle = self.left + x + self.side / 2
                sheet.say(
                    middle,
                    y + self.top + top - NAME / 2,
                    _label(sites[cell.site], cell.head),
                    5.5,
                    ha="center",
                    weight="bold" if chosen else "normal",
                )
                sheet.say(
                    middle,
                    y + self.top + top + self.side + NAME / 2 - 0.01,
                    self._number(cell.value),
                    5.5,
                    ha="center",
                    color=MUTED,
                )
        axes.set(xlim=(0, self.columns * (self.side + GAP)), ylim=(self.rows * self.step, 0))
        if not self.sorted:
            every = 1 if self.side > 0.16 else 4
            for head in range(0, self.columns, every):
                name = f"head {head}" if head == 0 and self.side > 0.42 else str(head)
                sheet.say(
                    self.left + head * (self.side + GAP) + self.side / 2,
                    y + NAME / 2,
                    name,
                    small,
                    ha="center",
                    weight="bold" if self.scene.framed and head == state.head else "normal",
                    color=TEXT,
                )
            for i, site in enumerate(sites):
                sheet.say(
                    self.left - 0.06,
                    y + self.top + i * self.step + self.side / 2,
                    _short(site),
                    small,
                    ha="right",
                    weight="bold" if self.scene.framed and i == here else "normal",
                )
        foot = y + self.top + self.rows * self.step + 0.12
        sheet.say(0.06, foot, "weight", 6.5)
        sheet.say(0.56, foot, "0", 6.5, ha="right", color=MUTED)
        sheet.ramp(0.6, foot, 0.7)
        sheet.say(1.34, foot, legend_end(end), 6.5, color=MUTED)

    def _thumbnail(self, sheet: Sheet, axes: Any, cell: _Cell, x: float, top: float, end: float, chosen: bool) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.patches import Rectangle

        pixels = self.thumbs[cell.site].pixels[cell.head].numpy().astype(float)
        parts = np.where(pixels > STEPS, np.nan, pixels / STEPS / end)
        if self.scene.state.thumbs == "lines":
            rows, columns = parts.shape
            q, k = np.nonzero(np.nan_to_num(parts) * end >= 0.02)
            order = np.argsort(-parts[q, k], kind="stable")[:LINES][::-1]
            q, k = q[order], k[order]
            ends = [
                [(x, top + (a + 0.5) / rows * self.side), (x + self.side, top + (b + 0.5) / columns * self.side)]
                for a, b in zip(q, k, strict=True)
            ]
            alpha = np.clip(parts[q, k], 0, 1) ** 0.75
            lines = LineCollection(
                ends,
                colors=INK,
                linewidths=(0.2 + 0.8 * np.clip(parts[q, k], 0, 1)) * sheet.scale,
                alpha=alpha,
                label=f"{cell.site}.{cell.head}",
            )
            axes.add_collection(lines, autolim=False)
        else:
            image = sheet.image(axes, parts, (x, x + self.side, top + self.side, top))
            image.set_label(f"{cell.site}.{cell.head}")
        if (pixels > MASKED).any():
            sheet.root.annotate(
                "NaN",
                (x + self.side / 2, top + self.side / 2),
                xycoords=axes.transData,
                ha="center",
                va="center",
                size=6 * sheet.scale,
                color=INK,
            )
        edge = {"edgecolor": TEXT, "linewidth": 1.2} if chosen else {"edgecolor": LINE, "linewidth": 0.3}
        axes.add_patch(Rectangle((x, top), self.side, self.side, fill=False, clip_on=False, **edge))

    def _plain(self, cell: _Cell) -> str:
        """Where most of the head's weight goes, in plain words; empty where no statistic is clear."""
        statistics = self.thumbs[cell.site].statistics
        return plain_name({name: values[cell.head] for name, values in statistics.items()})

    def _names(self, sheet: Sheet, cell: _Cell, x: float, y: float) -> None:
        """The plain name at the foot of the thumbnail whose top left corner is at (x, y)."""
        size, line = 4.5, 0.075
        lines = wrap(self._plain(cell), max(5, int(self.side / (WIDE * size * POINT))))
        for i, words in enumerate(lines):
            box = {"facecolor": GROUND, "alpha": 0.85, "linewidth": 0, "pad": 0.4}
            sheet.say(x + 0.015, y + self.side - line * (len(lines) - i - 0.4), words, size, bbox=box, zorder=9)

    def _badge(self, sheet: Sheet, axes: Any, cell: _Cell, x: float, y: float) -> None:
        """The best of what the head finds at the top of its thumbnail; a mark where there is no room for a name."""
        trace = self.scene.trace
        badges = [b for b in badges_at(trace.badges, trace.sites[cell.site])[cell.head] if not b.rests]
        if not badges:
            return
        size, more = 4.5, f" +{len(badges) - 1}" if len(badges) > 1 else ""
        words = badges[0].name if self.side >= NAMED else "●"
        room = max(3, int(self.side / (WIDE * size * POINT)) - len(more))
        words = words if len(words) <= room else f"{words[: room - 1]}…"
        box = {"facecolor": TEXT, "linewidth": 0, "pad": 0.9}
        if self.side < NAMED:
            sheet.say(x + 0.02, y + 0.03, words, 4, color=TEXT, zorder=9)
        else:
            sheet.say(x + 0.025, y + 0.055, words + more, size, color=GROUND, bbox=box, zorder=9)

    def _number(self, value: float | None) -> str:
        if value is None:
            return "–"
        unit = next(s.unit for s in (*STATISTICS, ROLE, EFFECT, *PAIR) if s.name == self.scene.state.sort)
        return percent(value) if unit == "part" else fixed(value, 2)


def _roles(scene: Scene) -> str:
    """What heads find, in a line: the figure has no panel."""
    return (
        "Roles: "
        + "; ".join(
            f"{_label(scene.trace.site(badge.layer, badge.stack), badge.head)} {badge.name} {percent(badge.value)}"
            for badge in scene.trace.badges
            if badge.kind == "role" and not badge.rests
        )
        + "."
    )


def _short(site: Any) -> str:
    """ "layer 2", or "encoder 2" where there are several stacks."""
    return f"{site.stack or 'layer'} {site.layer}"


def _label(site: Any, head: int) -> str:
    stack = site.stack
    return f"{stack[:3] + ' ' if stack else ''}L{site.layer}H{head}"
