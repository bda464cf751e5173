"""A table of tokens against itself, before any of it is read: docs/payload.md as checks. Each raises ValueError."""

import base64
from typing import Any

from attnscope.payload.fields import entry, flag, one_of, real, several, text, whole
from attnscope.tracing.groups import KINDS as KINDS_OF_GROUPS
from attnscope.tracing.sounds import KINDS

PNG = b"\x89PNG\r\n\x1a\n"
SIDE = 4096  # of a small picture, at most
GRID = 1 << 16  # patches along a side of an image, at most


def check_tokens(table: Any, what: str) -> None:
    count = len(several(entry(table, "text", what), f"{what}, text"))
    for piece in table["text"]:
        text(piece, f"{what}, text")
    words = several(entry(table, "word_text", what), f"{what}, word_text")
    for word in words:
        text(word, f"{what}, word_text")
    kinds: dict[str, Any] = {
        "ids": whole,
        "special": flag,
        "segments": whole,
        "words": None,
        "offsets": None,
        "shown": text,
    }
    for name, kind in kinds.items():
        since = name in ("offsets", "shown")  # files of the first days have none
        values = several(table.get(name, []) if since else entry(table, name, what), f"{what}, {name}")
        if values:
            several(values, f"{what}, {name}", count)
        for value in values:
            if kind is not None:
                kind(value, f"{what}, {name}")
            elif name == "offsets":
                for end in several(value, f"{what}, offsets", 2):
                    whole(end, f"{what}, offsets", 0)
            elif value is not None:
                whole(value, f"{what}, words", 0, (len(words) or count) - 1)
    text(table.get("written", ""), f"{what}, written")
    _check_beside(table, count, what)
    for grid in several(table.get("grids", []), f"{what}, grids"):
        _check_grid(grid, count, f"{what}, grids")
    if table.get("sound") is not None:
        _check_sound(table["sound"], count, f"{what}, sound")
    _check_groups(several(table.get("groups", []), f"{what}, groups"), count, f"{what}, groups")
    if (border := entry(table, "border", what)) is not None:
        whole(border, f"{what}, border", 0, count)


def _check_beside(table: Any, count: int, what: str) -> None:
    """The turns of a chat, and what the model gave the tokens that it generated."""
    roles = several(table.get("roles", []), f"{what}, roles")
    for role in roles:
        text(role, f"{what}, roles")
    for name in ("turns", "probability", "runner_up", "rank"):
        values = several(table.get(name, []), f"{what}, {name}")
        for value in several(values, f"{what}, {name}", count) if values else ():
            if value is None:
                continue
            if name == "turns":
                whole(value, f"{what}, turns", 0, len(roles) - 1)
                continue
            if name == "rank":
                whole(value, f"{what}, rank", 1)
                continue
            if name == "runner_up":
                spelled, value = several(value, f"{what}, runner_up", 2)
                text(spelled, f"{what}, runner_up")
            if not 0 <= real(value, f"{what}, {name}") <= 1:
                raise ValueError(f"{what}, {name} is {value}, and should be from 0 to 1")


def _check_groups(groups: list[Any], count: int, what: str) -> None:
    """Each has a name of its own, and lies in its parent, which stands before it."""
    names = set()
    for number, group in enumerate(groups):
        name, kind, start, stop, parent = several(group, what, 5)
        names.add(text(name, what))
        one_of(kind, KINDS_OF_GROUPS, f"{what}, kind")
        whole(start, f"{what}, start", 0, count - 1)
        whole(stop, f"{what}, stop", start + 1, count)
        if parent is not None:
            _, _, first, end, _ = groups[whole(parent, f"{what}, parent", 0, number - 1)]
            if not first <= start < stop <= end:
                raise ValueError(f"{what}, {name} does not lie in its parent")
    if len(names) < len(groups):
        raise ValueError(f"{what} have a name twice")


def _check_grid(grid: Any, count: int, what: str) -> None:
    """The patches of an image, and the picture under them."""
    rows, columns = (whole(entry(grid, name, what), f"{what}, {name}", 1, GRID) for name in ("rows", "columns"))
    places = several(entry(grid, "tokens", what), f"{what}, tokens", rows * columns)
    for place in places:
        whole(place, f"{what}, tokens", -1, count - 1)
    named = [place for place in places if place >= 0]
    if len(set(named)) < len(named):
        raise ValueError(f"{what}, tokens name a token twice")
    png = base64.b64decode(text(grid.get("png", ""), f"{what}, png"), validate=True)
    if png and not png.startswith(PNG):
        raise ValueError(f"{what}, png is no PNG")


def _check_sound(sound: Any, count: int, what: str) -> None:
    """The positions of a sound, and its small picture."""
    whole(entry(sound, "positions", what), f"{what}, positions", 1, count)
    if not real(entry(sound, "each", what), f"{what}, each") > 0:
        raise ValueError(f"{what}, each should be above 0")
    one_of(entry(sound, "kind", what), KINDS, f"{what}, kind")
    rows, columns = (whole(entry(sound, name, what), f"{what}, {name}", 0, SIDE) for name in ("rows", "columns"))
    pixels = base64.b64decode(text(entry(sound, "pixels", what), f"{what}, pixels"), validate=True)
    if len(pixels) != rows * columns:
        raise ValueError(f"{what}, pixels are {len(pixels)} bytes for {rows} × {columns}")
    if set(sound) - {"positions", "each", "kind", "rows", "columns", "pixels"}:
        raise ValueError(f"{what} has entries that are not known")
