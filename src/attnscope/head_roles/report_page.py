"""The report of a role table: one page, sentences first, then the table. It needs no network; its policy allows one style and
one script by their hashes. Words of sentences are text, never markup."""

import html
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from attnscope.head_roles.examples import MISSED, Example
from attnscope.head_roles.names import short_name
from attnscope.head_roles.report_html import Report
from attnscope.head_roles.report_style import SCRIPT, STYLE
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.sentence import baseline, sentence, shares, word_baseline
from attnscope.head_roles.strip import strip
from attnscope.render.page.html import sha256
from attnscope.statistics.from_weights.scores import SCORES
from attnscope.text.format import percent

NEAR = 7  # places around the query, its key and the right ones that are shown of a long text
LONG = 45  # places: a longer text is cut
_LEGEND = (
    ("dot", "right on the other half, with its 95 % interval"),
    ("offset", "best fixed offset"),
    ("word", "nearest place of the best fixed word"),
)
# title, class, what a first click does: "down" the largest first, "up" the smallest
BY_WEIGHTS = {one.name for one in SCORES}
Column = tuple[str, str, str]
COLUMNS: tuple[Column, ...] = (
    ("head", "", "up"),
    ("role", "", "up"),
    ("0 to 100 %", "strip-cell", ""),
    ("right", "share number", "down"),
    ("best fixed offset", "offset-cell", "down"),
    ("best fixed word", "word-cell", "down"),
    ("p (Holm)", "p number", "up"),
    ("of all its links", "all number", "down"),
)
CLAIM: Column = ("claim", "mark", "down")
# The measures that have a column, as far as the rows have them: of each line the first that there is.
MEASURES = (
    (("copying_tokens", "copying of tokens"), ("copying", "copying")),
    (("query_key_tokens", "q · k, same token"), ("query_key", "q · k, its like")),
    (("patch_distance", "distance, in patches"),),
    (("in_order", "order τ"),),
    (("time_spread", "spread, in s"),),
)


def document(report: Report, links: Mapping[int, str] | None = None) -> str:
    """The page. `links`: of an example, by its id(), the address of its own page."""
    title = html.escape(f"What the heads of {report.model or 'this model'} do")
    policy = f"default-src 'none'; style-src '{sha256(STYLE)}'; script-src '{sha256(SCRIPT)}'; base-uri 'none'; form-action 'none'"
    claims = "".join(_claim(row, links or {}) for row in report.rows if row.claimed)
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in report.notes)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f'<main><h1>{title}</h1>\n<p class="lead">{html.escape(report.heading)}</p>{notes}\n'
        f'{_how() if claims else ""}<ol class="claims">{claims}</ol>\n{_table(report)}</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )


def _how() -> str:
    return (
        '<p class="about">In the examples <span class="query">a box</span> is the word that looks, <span class="top">a line</span> the '
        'word that it gives most weight, <span class="right">dots</span> a word that would have been right. Examples are of the half on '
        "which the head was not chosen.</p>"
    )


def _claim(row: RoleRow, links: Mapping[int, str]) -> str:
    said = sentence(row)
    who = f"Layer {row.layer} head {row.head} "
    evidence = said.removeprefix(f"{who}{row.task.does}").lstrip(": ")
    share = row.weight if row.task.by_weight else row.accuracy
    examples = "".join(_example(one, row, links.get(id(one))) for one in row.examples)
    return (
        f'<li id="{html.escape(_anchor(row))}" data-claim="{row.name}"><h3><span class="head">{html.escape(who)}</span>{html.escape(row.task.does)}</h3>'
        f'<p class="evidence">{html.escape(evidence)}</p><div class="big"><b>{percent(share or 0.0)}</b>{strip(row)}</div>'
        + (f'<dl class="examples">{examples}</dl></li>' if examples else "</li>")
    )


def _anchor(row: RoleRow) -> str:
    return f"{row.name}-{row.relation}-{row.direction}".replace(" ", "-")


def _example(one: Example, row: RoleRow, link: str | None) -> str:
    words = "".join(_piece(text, place, one) for text, place in _cut(one))
    weight = f'<span class="note weight"> {percent(one.weight)}</span>'
    where = f"{row.name} in this sentence"
    opened = "" if link is None else f' <a class="open" href="{quote(link)}" aria-label="open {where}">open</a>'
    return f"<dt>{html.escape(one.kind)}</dt><dd>{words}{weight}{opened}</dd>"


def _piece(text: str, place: int, one: Example) -> str:
    name = "query" if place == one.query else "top" if place == one.top else ""
    if not name and place in one.right and one.kind == MISSED:
        name = "right"
    words = html.escape(text)
    return f'<span class="{name}">{words}</span>' if name and place >= 0 else words


def _cut(one: Example) -> list[tuple[str, int]]:
    """A long text without what is far from the places that matter."""
    places = max((place for _, place in one.pieces), default=0)
    if places < LONG:
        return list(one.pieces)
    near = [one.query, one.top, *(one.right if one.kind == MISSED else ())]
    kept: list[tuple[str, int]] = []
    place, gap = -1, False
    for text, here in one.pieces:
        place = here if here >= 0 else place
        if any(abs(place - other) <= NEAR for other in near):
            kept.append((text, here))
            gap = False
        elif not gap:
            kept.append((" … ", -1))
            gap = True
    return kept


def _measures(report: Report) -> tuple[tuple[str, str], ...]:
    """(name, title) of the measures that get a column."""
    there = {name for row in report.rows for name, _ in row.measures}
    found = (next((one for one in group if one[0] in there), None) for group in MEASURES)
    return tuple(one for one in found if one is not None)


def _table(report: Report) -> str:
    measures = _measures(report)
    columns = (*COLUMNS, *((title, "measure number", "down") for _, title in measures), CLAIM)
    heads = "".join(
        f'<th scope="col" class="{name}" data-first="{first}">{title}</th>' for title, name, first in columns
    )
    offered = "".join(f'<option value="{at}">{title}</option>' for at, (title, _, first) in enumerate(columns) if first)
    legend = "".join(
        f'<span><svg width="14" height="14" aria-hidden="true">{_mark(name)}</svg>{words}</span>'
        for name, words in _LEGEND
    )
    rows = "".join(_row(row, measures, columns) for row in report.rows)
    by_weights = (
        '<p class="about">Copying and q · k are read off a head\'s weights alone, from −1 to 1 (Elhage et al. 2021). They decide nothing: a head '
        "may copy tokens with a negative score.</p>"
        if any(name in BY_WEIGHTS for name, _ in measures)
        else ""
    )
    return (
        f'<h2>Everything that was asked</h2><p class="about">One row for each relation and direction and each other rule, of the head that the '
        f'choosing half names. A ✓ marks the rows whose evidence carries a claim.</p><p class="legend">{legend}</p>'
        f'<label class="chosen-order" hidden>order <select>{offered}</select></label>'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{by_weights}"
    )


def _mark(name: str) -> str:
    if name == "offset":
        return '<line class="offset" x1="7" x2="7" y1="1" y2="13"/>'
    bar = '<line class="interval" x1="1" x2="13" y1="7" y2="7"/>' if name == "dot" else ""
    return f'{bar}<circle class="{name}" cx="7" cy="7" r="3.5"/>'


def _row(row: RoleRow, measures: Sequence[tuple[str, str]], columns: Sequence[Column]) -> str:
    share = row.weight if row.task.by_weight else row.accuracy
    right = (
        f"{percent(row.weight)} of its weight" if row.task.by_weight and row.weight is not None else shares(row)
    )  # fmt: skip
    offset, word = row.baseline_accuracy, row.baseline_word_accuracy
    by_offset = baseline(row)
    if offset is not None and row.baseline_offset is not None:
        by_offset = f"{percent(offset)} at {signed(row.baseline_offset)}"
    p = "" if row.p_adjusted is None else "< 0.001" if row.p_adjusted < 0.001 else f"{row.p_adjusted:.3f}"
    place = "" if row.layer is None or row.head is None else f"{row.layer * 1_000_000 + row.head}"
    name = html.escape(short_name(row))
    role = f'<a href="#{html.escape(_anchor(row))}">{name}</a>' if row.claimed else name
    cells = (
        (html.escape(row.name) or "none", place, ""),
        (role, html.escape(f"{row.relation} {row.direction}"), ""),
        (strip(row), "", ""),
        (html.escape(right), _number(share), ""),
        (html.escape(by_offset), _number(offset), "offset"),
        (html.escape(word_baseline(row)), _number(word), "word"),
        (p, _number(row.p_adjusted), "p"),
        ("" if row.fits_all is None else percent(row.fits_all), _number(row.fits_all), "of all its links"),
        *((_score(row, name), _number(dict(row.measures).get(name)), title) for name, title in measures),
        (
            '<span class="yes" role="img" aria-label="claimed"></span>' if row.claimed else "",
            "1" if row.claimed else "0",
            "",
        ),
    )
    drawn = "".join(
        f'<td class="{name}" data-sort="{key}"' + (f' data-label="{label}">' if label else ">") + f"{text}</td>"
        for (text, key, label), (_, name, _) in zip(cells, columns, strict=True)
    )
    return f'<tr class="{"claimed" if row.claimed else ""}" data-row="{row.name}">{drawn}</tr>'


def _score(row: RoleRow, name: str) -> str:
    value = dict(row.measures).get(name)
    return "" if value is None else f"{value:z.2f}".replace("-", "−")


def signed(offset: int) -> str:
    """ "+1" of the next one, "−2" of two back."""
    return f"{'+' if offset > 0 else '−' if offset < 0 else ''}{abs(offset)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
