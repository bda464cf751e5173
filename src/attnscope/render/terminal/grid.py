"""The head level in a terminal: queries × keys, a shade for each weight, a number for the strongest key of a query."""

from collections.abc import Iterator, Sequence

import torch
from rich.cells import cell_len
from rich.text import Text
from torch import Tensor

from attnscope.render.terminal.glyphs import FROM, MUTED, WEIGHT, Glyphs, fitted, label, letters, window
from attnscope.statistics.sink_tokens import leading_key, set_aside
from attnscope.text.format import percent
from attnscope.text.spelling import spelled
from attnscope.views.view import View

LABEL, CELL, ELSEWHERE, HEIGHT = 14, 3, 9, 6  # columns of a label, a cell and the last column; lines of the keys' names
ROWS = 32


def grid(view: View, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Line by line, at most `width` columns each."""
    site, state = view.trace.sites[view.site_index], view.own
    queries, keys = spelled(view.trace.query_tokens(site)), spelled(view.trace.key_tokens(site))
    first, row = site.query_offset, state.query - site.query_offset
    weights_of_query = site.weights(state.head, row)[0].cpu()
    aside = set_aside(view.trace, site)
    key = leading_key(weights_of_query, aside) if state.key is None else state.key
    offered = [k for k in range(site.keys) if state.special == "show" or not aside[k] or k == key]
    wide = min(LABEL, max(cell_len(token) for token in queries))
    room = max(3, (width - wide - 2) // CELL)
    if len(offered) > room or len(offered) < site.keys:
        room = max(3, (width - wide - 2 - ELSEWHERE) // CELL)
    near = [offered.index(k) for k in (key, state.query) if k in offered and (k == key or site.kind == "self")]
    columns = [offered[place] for place in window(len(offered), room, *near)]
    rows = window(site.queries, ROWS, row)
    cut = len(columns) < site.keys
    yield Text(f"{site.name}, head {state.head}: queries downwards, keys to the right", style="bold")
    yield from _names([keys[c] for c in columns], wide, columns.index(key) if key in columns else None, glyphs)
    weights = site.weights(state.head, list(rows)).cpu()
    allowed = None if site.mask.is_empty else site.mask.allowed(torch.tensor(list(rows)), site.keys, state.head).cpu()
    for number, r in enumerate(rows):
        selected = r == row
        line = Text()
        line.append(label(queries[r + first], wide, selected, glyphs) + " ", style="bold" if selected else "")
        seen = None if allowed is None else allowed[number]
        _cells(line, weights[number], seen, columns, offered, glyphs)
        if cut:
            missing = float(weights[number].sum() - weights[number][columns].sum())
            line.append(f"{percent(max(missing, 0.0)):>{ELSEWHERE}}", style=MUTED)
        yield line
    yield from _legend(glyphs, allowed)
    if cut:
        held = percent(max(0.0, float(weights_of_query.sum() - weights_of_query[columns].sum())))
        yield Text(
            f"{_drawn(columns, offered, site.keys)}; the last column is the weight of the other keys "
            f"({held} of “{queries[state.query]}”).",
            style=MUTED,
        )
    if len(rows) < site.queries:
        yield Text(
            f"Queries {rows.start + first} to {rows.stop - 1 + first} of {first} to {site.queries - 1 + first} are drawn.",
            style=MUTED,
        )


def _drawn(columns: list[int], offered: list[int], keys: int) -> str:
    """Which keys are drawn, in words."""
    without = " without special and sink tokens" if len(offered) < keys else ""
    if len(columns) == len(offered):
        return f"The keys{without} are drawn"
    return f"Keys {columns[0]} to {columns[-1]} of 0 to {keys - 1}{without} are drawn"


def _cells(
    line: Text, weights: Tensor, allowed: Tensor | None, columns: list[int], offered: list[int], glyphs: Glyphs
) -> None:
    if allowed is not None and not bool(allowed.any()):
        line.append("no key allowed"[: CELL * len(columns)].ljust(CELL * len(columns)), style=MUTED)
        return
    strongest = offered[int(weights[offered].nan_to_num(-1.0).argmax())]
    for c in columns:
        value = float(weights[c])
        if allowed is not None and not bool(allowed[c]):
            line.append(f" {glyphs.masked} ", style=MUTED)
        elif value != value:
            line.append("NaN", style="bold")
        elif c == strongest:
            line.append(f"{round(100 * value):>{CELL}}", style=f"bold {WEIGHT}")
        else:
            shade = glyphs.shades[sum(value >= edge for edge in FROM)]
            line.append(
                f" {shade} " if value < FROM[0] else f" {shade * 2}", style=MUTED if value < FROM[0] else WEIGHT
            )


def _names(tokens: Sequence[str], indent: int, marked: int | None, glyphs: Glyphs) -> Iterator[Text]:
    """The keys' names, written downwards, each ending at the top of its column."""
    written = []
    for token in tokens:
        name = letters(token)
        written.append(name if len(name) <= HEIGHT else [*name[: HEIGHT - 1], glyphs.more])
    height = max(map(len, written))
    for line in range(height):
        text = Text(" " * (indent + 2))
        for column, name in enumerate(written):
            letter = name[line - height + len(name)] if line - height + len(name) >= 0 else ""
            text.append(" " + fitted(letter, CELL - 1, glyphs, right=True), style="bold" if column == marked else "")
        text.rstrip()
        yield text


def _legend(glyphs: Glyphs, allowed: Tensor | None) -> Iterator[Text]:
    steps = ", ".join(f"{shade} {round(100 * edge)} %" for shade, edge in zip(glyphs.shades[1:], FROM, strict=True))
    masked = f"; {glyphs.masked} masked" if allowed is not None else ""
    yield Text(
        f"Shades begin at: {steps}; {glyphs.shades[0]} is less{masked}. Numbers: the weight of the strongest key of each query, in %.",
        style=MUTED,
    )
