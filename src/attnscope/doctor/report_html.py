"""A Diagnosis as a piece of HTML for a notebook: no scripts, colours that follow a light or a dark page, all text escaped."""

import html
import math
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from attnscope.doctor.diagnosis import Diagnosis

CONTEXT = 3  # lines of source around the suspect one
MARK = "#d9480f"  # tells itself from a light and from a dark page
QUIET = "font-size:.92em;opacity:.85"


def as_html(diagnosis: "Diagnosis") -> str:
    """The findings, each with its suspect line among its neighbours; both matrices side by side; what was not examined."""
    parts = [f"<div style='font-weight:600;font-size:1.1em'>{html.escape(diagnosis.headline)}</div>"]
    drawn: set[int] = set()
    for found in diagnosis.findings:
        title, told = diagnosis.told(found)
        body = [f"<div style='font-weight:600;margin-bottom:3px'>{html.escape(title)}</div>"]
        if diagnosis.level == 3 and found.line is not None and found.line not in drawn:
            drawn.add(found.line)
            body.append(_source(diagnosis, found.line))
        parts.append(f"<div style='border-left:3px solid {MARK};padding:2px 0 2px 12px;margin:10px 0'>{''.join(body)}{_labelled(told)}</div>")  # fmt: skip
    m = diagnosis.matrices
    if m is not None and diagnosis.findings and diagnosis.level == 3:
        note = html.escape(m.note.replace("[ ]", "outlined"))
        sides = "".join(
            f"<div style='margin:0 28px 8px 0'><b style='font-weight:600'>{title}</b>{_grid(title, grid, m.cell)}</div>"
            for title, grid in (("theirs", m.theirs), ("reference", m.reference))
        )
        parts.append(f"<div style='{QUIET};margin-bottom:4px'>{note}</div><div style='display:flex;flex-wrap:wrap'>{sides}</div>")  # fmt: skip
    parts.append(f"<div style='{QUIET}'>{_labelled(diagnosis.around())}</div>")
    return f"<div style='color:inherit;font-family:inherit;line-height:1.45;max-width:60em'>{''.join(parts)}</div>"


def _labelled(said: list[tuple[str, str]]) -> str:
    """Sentences, each beside its label; a label that comes again is written once."""
    lines, last = [], None
    for label, text in said:
        name = "" if label == last else label
        last = label
        lines.append(f"<div style='display:flex'><span style='flex:none;width:7em;opacity:.7'>{html.escape(name)}</span><span>{html.escape(text)}</span></div>")  # fmt: skip
    return "".join(lines)


def _source(diagnosis: "Diagnosis", line: int) -> str:
    """The suspect line and its neighbours, with their numbers."""
    if diagnosis.source is None:
        return ""
    start, lines = diagnosis.source
    first, last = max(start, line - CONTEXT), min(start + len(lines) - 1, line + CONTEXT)
    rows = []
    for number in range(first, last + 1):
        text = html.escape(f"{number:4} {lines[number - start]}")
        rows.append(f"<mark style='background:rgba(217,72,15,.14);color:inherit;font-weight:bold'>{text}</mark>" if number == line else f"<span style='opacity:.75'>{text}</span>")  # fmt: skip
    return f"<pre style='background:none;color:inherit;margin:4px 0 6px;padding:0;overflow-x:auto'>{chr(10).join(rows)}</pre>"  # fmt: skip


def number(x: float) -> str:
    """A weight in a cell; what is no number is said."""
    return " NaN" if math.isnan(x) else f"{x:.2f}".replace("-", "−") if abs(x) < 1000 else f"{x:.0e}"


def _grid(title: str, grid: Tensor, cell: tuple[int, int] | None) -> str:
    """Cells with their number, ink by weight, the first that differs outlined."""
    rows = []
    for q, row in enumerate(grid.tolist()):
        cells = []
        for k, x in enumerate(row):
            ink = min(max(x, 0.0), 1.0) if math.isfinite(x) else 0.0
            outline = f"outline:2px solid {MARK};outline-offset:-2px;" if cell == (q, k) else ""
            said = " title='the first cell that differs'" if cell == (q, k) else ""
            cells.append(f"<td{said} style='{outline}background:rgba(90,130,200,{0.6 * ink:.2f});color:inherit;padding:2px 6px;text-align:right'>{number(x)}</td>")  # fmt: skip
        total = sum(row)
        cells.append(
            f"<td style='background:none;color:inherit;opacity:.7;padding:2px 0 2px 10px;white-space:nowrap'>Σ {number(total)}</td>"
        )
        rows.append(f"<tr style='background:none'><th scope='row' style='font-weight:normal;opacity:.7;padding:2px 6px 2px 0;text-align:right'>{q}</th>{''.join(cells)}</tr>")  # fmt: skip
    return f"<table aria-label='{html.escape(title)}: weights, rows are queries' style='border-collapse:collapse;font-variant-numeric:tabular-nums;margin:2px 0 0'>{''.join(rows)}</table>"  # fmt: skip
