"""Shades, bars and colours for a terminal, visible on dark and on light backgrounds."""

import unicodedata
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from attnscope.render.figures.colours import ON_ANY

POSITIVE, NEGATIVE, WEIGHT = (ON_ANY[name] for name in ("positive", "negative", "weight"))
MUTED = "dim"
FROM = (0.01, 0.05, 0.2, 0.5)  # the weights at which the shades begin


@dataclass(frozen=True)
class Glyphs:
    """shades: for weights below FROM[0], then from each of FROM. bars: heights 1 to 8. masked, mark: one column each."""

    shades: str
    bars: str
    masked: str
    mark: str
    more: str


UNICODE = Glyphs("·░▒▓█", "▁▂▃▄▅▆▇█", "╱", "▸", "…")
ASCII = Glyphs(".-+%#", "12345678", "/", ">", "~")


def glyphs_of(console: Console) -> Glyphs:
    return ASCII if console.options.ascii_only else UNICODE


def fitted(token: str, width: int, glyphs: Glyphs, right: bool = False) -> str:
    """The token in exactly `width` columns: cut and marked, or padded (on its left where `right`)."""
    if cell_len(token) > width:
        return set_cell_size(token, width - 1) + glyphs.more
    padding = " " * (width - cell_len(token))
    return padding + token if right else token + padding


def label(token: str, width: int, marked: bool, glyphs: Glyphs) -> str:
    """The token at the right of `width` + 1 columns, the mark just before it."""
    name = fitted(token, min(width, cell_len(token)), glyphs)
    return " " * (width - cell_len(name)) + (glyphs.mark if marked else " ") + name


def letters(token: str) -> list[str]:
    """The letters of a token, each with its combining marks."""
    found: list[str] = []
    for character in token:
        if found and (unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Mc")):
            found[-1] += character
        else:
            found.append(character)
    return found


def window(count: int, room: int, *wanted: int) -> range:
    """`room` of `count` places around those wanted: around all of them if they fit, else around the first."""
    if count <= room:
        return range(count)
    near = wanted if max(wanted) - min(wanted) < room else wanted[:1]
    start = (min(near) + max(near) + 1) // 2 - room // 2
    start = max(0, min(start, count - room))
    return range(start, start + room)
