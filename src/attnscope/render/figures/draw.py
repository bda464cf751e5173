"""A state of a trace as a figure, or within axes that you give."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError, MissingDependency
from attnscope.render.figures.colours import GROUND, MUTED
from attnscope.render.figures.fonts import warn_of_missing
from attnscope.render.figures.images import with_images
from attnscope.render.figures.plan import Plan
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.sheet import POINT, PROSE, Sheet
from attnscope.render.figures.sounds import with_sounds
from attnscope.text.status import status
from attnscope.tracing.trace import Trace
from attnscope.views.state import State
from attnscope.views.validate import check_place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NARROWEST, WIDEST, TALLEST, SMALLEST = 2.4, 40.0, 60.0, 0.45
MARGIN = 0.06
TITLE, NOTE = 8.5, 6.5  # points


def figure(
    trace: Trace,
    state: State,
    width: float = 7.2,
    *,
    title: Any = None,
    sums: Any = True,
    framed: bool = True,
) -> "Figure":
    """A matplotlib figure of this width in inches, as high as it needs. `title`, `sums`, `framed`: as in Scene. Raises InputError where it does not fit,
    MissingDependency without matplotlib, NotCaptured where the level needs q and k that the trace does not have."""
    needed()
    from matplotlib.figure import Figure

    _check_width(width)
    scene = _scene(trace, state, title, sums, framed)
    plan = _plan(scene, width)
    height = _height(plan, width)
    if height > TALLEST:
        raise InputError(
            f"this figure would be {height:.0f} inches high at a width of {width:g}, and {TALLEST:g} is the most: give a larger "
            "width, a shorter text, fewer layers or another level."
        )
    made = Figure(figsize=(width, height), facecolor=GROUND)
    _put(Sheet(made.add_axes((0, 0, 1, 1), label=state.level), width, height), plan)
    return made


def plot(
    trace: Trace,
    state: State,
    ax: Any = None,
    width: float = 7.2,
    *,
    title: Any = None,
    sums: Any = True,
    framed: bool = True,
) -> "Axes":
    """The same within `ax`, where text shrinks until all of it fits; without `ax`, in a new pyplot figure.

    Returns the axes; the parts of the picture are its `child_axes`. Raises InputError if `ax` is too small.
    """
    needed()
    scene = _scene(trace, state, title, sums, framed)
    if ax is None:
        from matplotlib import pyplot

        _check_width(width)
        height = min(_height(_plan(scene, width), width), TALLEST)
        ax = pyplot.figure(figsize=(width, height), facecolor=GROUND).add_axes((0, 0, 1, 1), label=state.level)
    elif not hasattr(ax, "inset_axes"):
        raise InputError(f"ax is {ax!r}; expected a matplotlib Axes, such as the second value of plt.subplots().")
    box = ax.get_window_extent().transformed(ax.get_figure().dpi_scale_trans.inverted())
    scale, plan, wanted = 1.0, _plan(scene, box.width), float("inf")
    for _ in range(12):
        scene = replace(scene, room=box.height / scale)
        plan = _plan(scene, box.width / scale)
        if (wanted := _height(plan, box.width / scale)) <= box.height / scale * 1.001:
            break
        scale *= max(0.5, (box.height / scale / wanted) ** 0.6)
    if scale < SMALLEST or wanted > box.height / scale * 1.001:
        wide = max(box.width, 4.0)
        high = _height(_plan(replace(scene, room=float("inf")), wide), wide)
        raise InputError(
            f"these axes are too small for this picture ({box.width:.1f} × {box.height:.1f} inches): it needs about "
            f"{high:.1f} inches of height at a width of {wide:.1f}. Make the figure larger, or leave ax out."
        )
    _put(Sheet(ax, box.width / scale, box.height / scale, scale), plan)
    return ax


def needed() -> None:
    """Import matplotlib, which lists the fonts of a machine once, for some seconds: a status line says so.

    Raises MissingDependency (also an ImportError) without matplotlib.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingDependency("figures need matplotlib", "plot") from None
    listed = any(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))
    with status("matplotlib lists the fonts of this machine, once …", quiet=listed):
        import matplotlib.font_manager


def _check_width(width: Any) -> None:
    if isinstance(width, bool) or not isinstance(width, int | float) or not NARROWEST <= width <= WIDEST:
        raise InputError(
            f"width is {width!r}; expected inches from {NARROWEST:g} to {WIDEST:g} (a column is about 3.4, a page 7.2)."
        )


def _scene(trace: Trace, state: State, title: Any, sums: Any, framed: bool) -> Scene:
    check_place(trace, state)
    if not isinstance(title, str | None):
        raise InputError(f'title is {title!r}; expected a line of text, "" for none, or None for the place shown.')
    if not isinstance(sums, bool):
        raise InputError(f"sums is {sums!r}; expected True or False.")
    return Scene(trace, state, title=title, sums=sums, framed=framed)


def _plan(scene: Scene, width: float) -> Plan:
    plan = import_module(f"attnscope.render.figures.{scene.state.level}").plan(scene, width)  # a module for each level
    plan = with_sounds(scene, with_images(scene, plan, width), width)
    return plan if scene.title is None else replace(plan, title=scene.title)


def _lines(text: str, size: float, width: float) -> list[str]:
    return wrap(text, max(20, int((width - 2 * MARGIN) / (PROSE * size * POINT)))) or [""]


def _notes(plan: Plan, width: float) -> list[str]:
    return _lines(" ".join(plan.notes), NOTE, width * 1.08) if plan.notes else []


def _title(plan: Plan, width: float) -> list[str]:
    return _lines(plan.title, TITLE * 1.1, width) if plan.title else []


def _height(plan: Plan, width: float) -> float:
    title = len(_title(plan, width)) * 1.35 * TITLE * POINT
    notes = len(_notes(plan, width)) * 1.35 * NOTE * POINT
    return 2 * MARGIN + title + 0.08 + plan.height + (0.06 + notes if notes else 0)


def _put(sheet: Sheet, plan: Plan) -> None:
    y = MARGIN
    for line in _title(plan, sheet.width):
        y += 1.35 * TITLE * POINT
        sheet.say(MARGIN, y - 0.6 * TITLE * POINT, line, TITLE, weight="bold")
    plan.draw(sheet, y + 0.08)
    y += 0.08 + plan.height + 0.06
    for line in _notes(plan, sheet.width):
        y += 1.35 * NOTE * POINT
        sheet.say(MARGIN, y - 0.6 * NOTE * POINT, line, NOTE, color=MUTED)
    warn_of_missing(sheet.tokens)
