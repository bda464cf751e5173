"""A role table as HTML: a piece for notebooks, and a page of its own. No scripts; all text escaped."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.sentence import offset_in_words, shares
from attnscope.text.format import percent

TITLES = ("head", "role", "direction", "right on the other half", "best fixed offset", "p (Holm)", "of all its links")
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
"""
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


def document(report: Report) -> str:
    """A whole page, which opens from disk."""
    title = html.escape(f"What the heads of {report.model} do")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>{fragment(report)}</body></html>\n"
    )


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
    offset = ""
    if row.baseline_accuracy is not None and row.baseline_offset is not None:
        offset = f"{percent(row.baseline_accuracy)} {offset_in_words(row.baseline_offset)}"
    right = shares(row)
    if row.task.by_weight and row.weight is not None:
        right = f"{percent(row.weight)} of its weight (n = {row.n})"
    share = row.weight if row.task.by_weight else row.accuracy
    bar = f"<span style='{_BAR};width:{4 * (share or 0):.2f}em'></span>"
    cells = [row.name or "none", row.relation, row.direction, right, offset]
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
