"""The index: a scatter of all heads by any two statistics, beside a list that sorts and searches. Numbers are data in the page, and
the script draws them: a canvas, and only those rows of the list that are seen, so that 12,000 heads do not stall."""

import html
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from attnscope.render.page.html import json_in_html
from attnscope.surveys.atlas.numbers import name_of, written
from attnscope.surveys.atlas.read import Head, Tables
from attnscope.surveys.atlas.style import BASE, page
from attnscope.text.format import count
from attnscope.tracing.badges import Badge

SHOWN_FIRST = (("distance", "link_mean"), ("entropy", "confidence"))  # the first pair of which the survey has both
PLAIN = 500  # heads that the page lists where scripts are off

STYLE = (
    BASE
    + """
.tools { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin: 1.1rem 0 .75rem; }
.tools label { display: inline-flex; align-items: center; gap: .45em; color: var(--muted); min-width: 0; }
select, input { font: inherit; min-height: 2.25rem; padding: 0 .5em; min-width: 0; max-width: 100%; background: var(--raised); color: var(--text);
  border: 1px solid var(--strong-line); border-radius: 4px; }
input { width: 14rem; }
.count { color: var(--muted); }
.atlas { display: grid; grid-template-columns: minmax(0, 1fr) 30rem; gap: 0 2rem; }
.plot { position: relative; height: min(70vh, 40rem); min-height: 20rem; }
canvas { display: block; width: 100%; height: 100%; cursor: crosshair; touch-action: pan-y; }
.tip { position: absolute; max-width: 17rem; padding: .3rem .55rem; background: var(--raised); border: 1px solid var(--strong-line); border-radius: 4px;
  font-size: .85rem; pointer-events: none; box-shadow: 0 2px 8px rgb(0 0 0 / .12); }
.tip a { pointer-events: auto; }
.listed { display: flex; flex-direction: column; min-width: 0; }
.columns, .row { display: grid; grid-template-columns: 4.4rem 6.2rem 6.2rem minmax(0, 1fr); gap: 0 .75rem; align-items: center; }
.columns { padding: 0 .5rem; border-bottom: 1px solid var(--strong-line); }
.columns button { all: unset; cursor: pointer; min-height: 2.25rem; font-size: .82rem; line-height: 1.2; color: var(--muted); }
.columns button:focus-visible { outline: 2px solid var(--text); }
.columns button.n { text-align: right; }
.columns [aria-pressed=true] { color: var(--text); font-weight: 600; }
.rows { position: relative; height: calc(min(70vh, 40rem) - 2.4rem); min-height: 18rem; overflow-y: auto; scrollbar-width: thin; }
.rows:focus-visible { outline-offset: -2px; }
.row { position: absolute; left: 0; right: 0; height: 30px; padding: 0 .5rem; border-bottom: 1px solid var(--line); text-decoration: none; font-size: .9rem; }
.row .n { text-align: right; }
.row b { font-weight: 600; }
.row .of { overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
.row:hover, .row.here { background: var(--zero); }
.none { padding: 1rem .5rem; color: var(--muted); }
.about { max-width: 52rem; margin-top: .75rem; font-size: .87rem; color: var(--muted); min-height: 2.6em; }
.plain { columns: 6rem; }
@media (max-width: 1040px) { .atlas { grid-template-columns: minmax(0, 1fr); gap: 1.25rem 0; } .plot { height: 26rem; } .rows { height: 26rem; } }
@media (max-width: 560px) {
  .plot { height: 20rem; } .tools label { flex: 1 1 100%; } .tools select, .tools input { flex: 1; width: auto; }
  .columns, .row { grid-template-columns: 3.6rem 4.8rem 4.8rem minmax(0, 1fr); gap: 0 .5rem; }
}
"""
)


def index_page(tables: Tables, badges: Mapping[Head, Sequence[Badge]]) -> str:
    """`badges`: of each head that has some."""
    names = [one.name for one in tables.statistics]
    first = next((pair for pair in SHOWN_FIRST if set(pair) <= set(names)), (names[0], names[-1]))
    data = {
        "heads": [list(head) for head in tables.heads],
        "statistics": [
            {"name": s.name, "title": s.title, "unit": s.unit, "words": s.words, "values": _column(tables, place)}
            for place, s in enumerate(tables.statistics)
        ],
        "roles": {
            str(place): [[one.name, one.sentence, one.rests, round(one.value, 6)] for one in badges[head]]
            for place, head in enumerate(tables.heads)
            if badges.get(head)
        },
        "first": first,
    }
    title = f"Atlas of {tables.model}"
    body = (
        f'<main><h1>{html.escape(title)}</h1><p class="lead">{html.escape(_lead(tables))}</p>{_notes(tables)}\n'
        '<div class="tools" hidden><label>across <select data-axis="x"></select></label><label>up <select data-axis="y"></select></label>'
        '<label>find <input type="search" placeholder="L2H8, layer 3, obj …"></label><span class="count num" role="status"></span></div>\n'
        '<div class="atlas" hidden><div class="plot"><canvas aria-hidden="true"></canvas><div class="tip" hidden></div></div>'
        '<section class="listed" aria-label="heads"><div class="columns"></div>'
        '<div class="rows" tabindex="0" role="listbox" aria-label="heads: arrow keys walk, Enter opens the page of one"></div></section></div>\n'
        f'<p class="about"></p>{_plain(tables)}</main>'
    )
    return page(
        title, body, STYLE, files("attnscope.surveys.atlas").joinpath("index.js").read_text("utf-8"), json_in_html(data)
    )


def _column(tables: Tables, place: int) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.5g}") for value in tables.values[:, place].tolist()]


def _lead(tables: Tables) -> str:
    manifest = tables.manifest
    read = [f"{manifest[name]:,} {name}" for name in ("documents", "tokens") if isinstance(manifest.get(name), int)]
    over = f" over {' of '.join(read).replace('documents of', 'texts with')}" if read else ""
    aside = manifest.get("set_aside")
    more = f"; {aside:,} texts were set aside" if isinstance(aside, int) and aside else ""
    return f"{count(len(tables.heads), 'head')}{over}{more}. A dot is a head; its page has distributions and examples. Layers and heads count from 0."


def _notes(tables: Tables) -> str:
    notes: Any = tables.manifest.get("notes") or ()
    return "".join(f'<p class="lead">{html.escape(str(note))}</p>' for note in notes)


def _plain(tables: Tables) -> str:
    """Links, for where scripts are off."""
    links = "".join(
        f'<li><a href="heads/{name_of(*head)}.html">{name_of(*head)}</a> {written(float(tables.values[place, 0]), tables.statistics[0])}</li>'
        for place, head in enumerate(tables.heads[:PLAIN])
    )
    rest = len(tables.heads) - PLAIN
    more = f"<p>and {rest:,} more in the folder heads.</p>" if rest > 0 else ""
    return f'<noscript><p>The scatter needs the script of this page.</p><ul class="plain">{links}</ul>{more}</noscript>'
