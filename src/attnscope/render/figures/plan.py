"""Plan: what a level draws."""

from collections.abc import Callable
from dataclasses import dataclass

from attnscope.render.figures.sheet import Sheet


@dataclass(frozen=True)
class Plan:
    """What a level draws: a title, a body of `height` inches, and notes below it. `draw` gets the sheet and where the body begins."""

    title: str
    height: float
    draw: Callable[[Sheet, float], None]
    notes: tuple[str, ...] = ()
