"""A diagnosis as a piece of HTML for a notebook: no scripts, colours that follow a light or a dark page, all text escaped."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from attnscope.doctor.format import number

if TYPE_CHECKING:
    from torch import Tensor

CONTEXT = 3  # lines of source around the suspect one
MARK = "#d9480f"  # readable on a light and on a dark page
QUIET = "font-size:.92em;opacity:.85"
FINDING = f"border-left:3px solid {MARK};padding:2px 0 2px 12px;margin:10px 0"
SUSPECT = "background:rgba(217,72,15,.14);color:inherit;font-weight:bold"
CODE = "background:none;color:inherit;margin:4px 0 6px;padding:0;overflow-x:auto"
TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;margin:2px 0 0"
CELL = "color:inherit;padding:2px 6px;text-align:right"
ROW_HEAD = "font-weight:normal;opacity:.7;padding:2px 6px 2px 0;text-align:right"
TOTAL = "background:none;color:inherit;opacity:.7;padding:2px 0 2px 10px;white-space:nowrap"
Labelled = Sequence[tuple[str, str]]  # sentences, each with its label


def page(parts: Iterable[str]) -> str:
    """All parts under each other."""
    return _box("color:inherit;font-family:inherit;line-height:1.45;max-width:60em", "".join(parts))


def heading(text: str) -> str:
    return _box("font-weight:600;font-size:1.1em", html.escape(text))


def finding(title: str, source: str, sentences: Labelled) -> str:
    """One finding; `source` is HTML from `source_lines`, or empty."""
    return _box(FINDING, _box("font-weight:600;margin-bottom:3px", html.escape(title)) + source + _labelled(sentences))


def source_lines(source: tuple[int, Sequence[str]], line: int) -> str:
    """The suspect line and its neighbours, with their numbers. `source`: the number of the first line, and all lines."""
    start, lines = source
    first, last = max(start, line - CONTEXT), min(start + len(lines) - 1, line + CONTEXT)
    rows = []
    for at in range(first, last + 1):
        text = html.escape(f"{at:4} {lines[at - start]}")
        tag, style = ("mark", SUSPECT) if at == line else ("span", "opacity:.75")
        rows.append(f"<{tag} style='{style}'>{text}</{tag}>")
    return f"<pre style='{CODE}'>{chr(10).join(rows)}</pre>"


def grids(note: str, sides: "dict[str, Tensor]", cell: tuple[int, int] | None) -> str:
    """Matrices [Q, K] side by side, each under its name; `cell` (query, key) is outlined."""
    tables = [
        _box("margin:0 28px 8px 0", f"<b style='font-weight:600'>{name}</b>{_grid(name, grid, cell)}")
        for name, grid in sides.items()
    ]
    caption = _box(f"{QUIET};margin-bottom:4px", html.escape(note.replace("[ ]", "outlined")))
    return caption + _box("display:flex;flex-wrap:wrap", "".join(tables))


def context(sentences: Labelled) -> str:
    return _box(QUIET, _labelled(sentences))


def _labelled(sentences: Labelled) -> str:
    """Sentences, each beside its label; a label is written once for all sentences in a row that share it."""
    lines, last = [], None
    for label, text in sentences:
        name = "" if label == last else html.escape(label)
        last = label
        label_box = f"<span style='flex:none;width:7em;opacity:.7'>{name}</span>"
        lines.append(_box("display:flex", f"{label_box}<span>{html.escape(text)}</span>"))
    return "".join(lines)


def _grid(name: str, grid: "Tensor", cell: tuple[int, int] | None) -> str:
    """Cells with their number, ink by weight, the first that differs outlined."""
    rows = []
    for q, row in enumerate(grid.tolist()):
        cells = []
        for k, x in enumerate(row):
            ink = min(max(x, 0.0), 1.0) if math.isfinite(x) else 0.0
            marked = cell == (q, k)
            outline = f"outline:2px solid {MARK};outline-offset:-2px;" if marked else ""
            title = " title='the first cell that differs'" if marked else ""
            style = f"{outline}background:rgba(90,130,200,{0.6 * ink:.2f});{CELL}"
            cells.append(f"<td{title} style='{style}'>{number(x)}</td>")
        cells.append(f"<td style='{TOTAL}'>Σ {number(sum(row))}</td>")
        head = f"<th scope='row' style='{ROW_HEAD}'>{q}</th>"
        rows.append(f"<tr style='background:none'>{head}{''.join(cells)}</tr>")
    label = f"{html.escape(name)}: weights, rows are queries"
    return f"<table aria-label='{label}' style='{TABLE}'>{''.join(rows)}</table>"


def _box(style: str, inside: str) -> str:
    return f"<div style='{style}'>{inside}</div>"
