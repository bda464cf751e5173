"""Names cut to the room that there is."""

from attnscope.render.figures.sheet import POINT, WIDE


def cut(text: str, most: int) -> str:
    """At most so many characters, the last of them … where some were cut off."""
    return text if len(text) <= most else text[: max(1, most - 1)] + "…"


def fitting(room: float, size: float) -> int:
    """How many characters of a token fit into `room` inches, at a `size` in points; at least 7."""
    return max(7, int(room / (WIDE * size * POINT)))
