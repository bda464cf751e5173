"""A role table as a piece of HTML for notebooks. No scripts; all text escaped. report_page.py makes a page of its own."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.sentence import baseline, shares, word_baseline
from attnscope.text.format import percent

TITLES = (
    "head", "role", "direction", "right on the other half", "best fixed offset", "best fixed word", "p (Holm)", "of all its links",
)  # fmt: skip
_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92em"
_CELL = "padding:3px 14px 3px 0;text-align:left;vertical-align:top;background:none;color:inherit"
_BAR = "display:inline-block;height:.6em;background:currentColor;opacity:.45;vertical-align:baseline;margin-right:.5em"


@dataclass(frozen=True)
class Report:
    """What the page says: of which model, what was looked at, the claims, all rows, and what a reader must know."""

    model: str
    heading: str
    sentences: Sequence[str]
    rows: Sequence[RoleRow]
    notes: Sequence[str]


def fragment(report: Report) -> str:
    """The heading, the sentences, all rows, and the notes."""
    said = "".join(f"<li>{html.escape(text)}</li>" for text in report.sentences)
    rows = "".join(_row(row) for row in report.rows)
    notes = "".join(f"<p style='opacity:.8'>{html.escape(note)}</p>" for note in report.notes)
    return (
        f"<p>{html.escape(report.heading)}</p><ul>{said}</ul><div style='overflow-x:auto'><table style='{_TABLE}'>"
        f"<thead><tr>{_cells(TITLES, 'th')}</tr></thead><tbody>{rows}</tbody></table></div>{notes}"
    )


def _row(row: RoleRow) -> str:
    right = shares(row)
    if row.task.by_weight and row.weight is not None:
        right = f"{percent(row.weight)} of its weight (n = {row.n})"
    share = row.weight if row.task.by_weight else row.accuracy
    bar = f"<span style='{_BAR};width:{4 * (share or 0):.2f}em'></span>"
    cells = [row.name or "none", row.relation, row.direction, right, baseline(row), word_baseline(row)]
    cells += [
        "" if row.p_adjusted is None else f"{row.p_adjusted:.2g}",
        "" if row.fits_all is None else percent(row.fits_all),
    ]
    weight = "font-weight:600" if row.claimed else "opacity:.75"
    first, *others = [html.escape(cell) for cell in cells]
    return f"<tr style='{weight}'>{_raw([first, *others[:2], bar + others[2], *others[3:]])}</tr>"


def _cells(texts: Iterable[str], tag: str) -> str:
    return "".join(f"<{tag} style='{_CELL}'>{html.escape(text)}</{tag}>" for text in texts)


def _raw(cells: Iterable[str]) -> str:
    return "".join(f"<td style='{_CELL}'>{cell}</td>" for cell in cells)
