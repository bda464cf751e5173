"""A Diagnosis as a piece of HTML for a notebook: no scripts, colours that follow a light or a dark page, all text escaped."""

import html
import math
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from attnscope.doctor.diagnosis import Diagnosis

CONTEXT = 3  # lines of source around the suspect one
MARK = "#d9480f"  # tells itself from a light and from a dark page


def as_html(diagnosis: "Diagnosis") -> str:
    """The report, the suspect line among its neighbours, and both matrices side by side."""
    said = "".join(f"<div style='white-space:pre-wrap'>{html.escape(line)}</div>" for line in diagnosis.lines())
    parts = [said]
    if diagnosis.level == 3:
        parts += [_source(diagnosis, line) for line in dict.fromkeys(f.line for f in diagnosis.findings) if line is not None]  # fmt: skip
        m = diagnosis.matrices
        if m is not None and diagnosis.findings:
            sides = "".join(
                f"<td style='vertical-align:top;text-align:left;padding-right:24px'><b>{title}</b>{_grid(title, grid, m.cell)}</td>"
                for title, grid in (("theirs", m.theirs), ("reference", m.reference))
            )
            parts.append(f"<div>{html.escape(m.note)}</div><table style='border:0'><tr style='background:none'>{sides}</tr></table>")  # fmt: skip
    return f"<div style='color:inherit;font-family:inherit'>{''.join(parts)}</div>"


def _source(diagnosis: "Diagnosis", line: int) -> str:
    """The suspect line and its neighbours, with their numbers."""
    if diagnosis.source is None:
        return ""
    start, lines = diagnosis.source
    first, last = max(start, line - CONTEXT), min(start + len(lines) - 1, line + CONTEXT)
    rows = []
    for number in range(first, last + 1):
        text = html.escape(f"{number:4} {lines[number - start]}")
        rows.append(f"<mark style='background:none;color:inherit;font-weight:bold;border-left:3px solid {MARK}'>{text}</mark>" if number == line else f"<span style='border-left:3px solid transparent'>{text}</span>")  # fmt: skip
    return f"<pre style='background:none;color:inherit;margin:6px 0'>{chr(10).join(rows)}</pre>"


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
            cells.append(f"<td{said} style='{outline}background:rgba(90,130,200,{0.6 * ink:.2f});color:inherit;padding:1px 4px;font-variant-numeric:tabular-nums'>{number(x)}</td>")  # fmt: skip
        total = sum(row)
        cells.append(f"<td style='background:none;color:inherit;opacity:.65;padding:1px 6px'>Σ {number(total)}</td>")
        rows.append(f"<tr style='background:none'><th scope='row' style='font-weight:normal;opacity:.65'>{q}</th>{''.join(cells)}</tr>")  # fmt: skip
    return f"<table aria-label='{html.escape(title)}: weights, rows are queries' style='border-collapse:collapse'>{''.join(rows)}</table>"  # fmt: skip
