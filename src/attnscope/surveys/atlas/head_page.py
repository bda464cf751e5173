"""The page of one head: its statistics with their distributions, its roles, its examples. No script; tokens are text."""

import html
from collections.abc import Collection, Sequence

import numpy as np

from attnscope.surveys.atlas.histogram import STYLE as HISTOGRAM, histogram
from attnscope.surveys.atlas.numbers import name_of, written
from attnscope.surveys.atlas.read import Link, Tables, example_name
from attnscope.surveys.atlas.style import BASE, badge, page
from attnscope.text.format import percent
from attnscope.tracing.badges import Badge

STYLE = (
    BASE
    + HISTOGRAM
    + """
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-bottom: 1.25rem; color: var(--muted); }
.roles { display: grid; gap: .4rem; max-width: 52rem; margin: .75rem 0 0; padding: 0; list-style: none; }
.statistics { display: grid; grid-template-columns: repeat(auto-fill, minmax(17.5rem, 1fr)); gap: 1.1rem 2rem; margin: 0; padding: 0; list-style: none; }
.statistics h3 { display: flex; justify-content: space-between; gap: 1rem; margin: 0; font-size: .92rem; font-weight: 400; }
.statistics b { white-space: nowrap; }
.statistics .rank { margin: 0; font-size: .8rem; color: var(--muted); }
.legend { margin-bottom: .9rem; font-size: .85rem; color: var(--muted); }
.legend i { display: inline-block; width: 1.1em; height: .7em; margin-right: .3em; vertical-align: baseline; background: var(--pale-ink); }
.legend i.all { height: 0; border-top: 2px solid var(--text); background: none; vertical-align: middle; }
.beside { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 0 3rem; }
.beside h3 { margin: 1.1rem 0 .1rem; font-size: .85rem; font-weight: 400; color: var(--muted); }
.beside > section > p { font-size: .9rem; color: var(--muted); }
ul.links { margin: 0; padding: 0; list-style: none; }
.links li { display: grid; grid-template-columns: 3.6rem minmax(0, 1fr); gap: .75rem; padding: .3rem 0; border-bottom: 1px solid var(--line); }
.links .words { overflow-wrap: anywhere; }
.links .w { text-align: right; color: var(--muted); }
.query { padding: 0 .25em; border: 1.5px solid var(--text); border-radius: 4px; }
.key { font-weight: 650; text-decoration: underline; text-decoration-thickness: 2.5px; text-underline-offset: 3px; text-decoration-skip-ink: none; }
.links a { margin-left: .5em; font-size: .85rem; color: var(--muted); }
@media (max-width: 760px) { .beside { grid-template-columns: minmax(0, 1fr); } }
"""
)


def head_page(tables: Tables, place: int, badges: Sequence[Badge], pages: Collection[str]) -> str:
    """`place`: of the head among all. `pages`: names of the examples' pages that there are."""
    layer, head = tables.heads[place]
    name = name_of(layer, head)
    body = (
        f"<nav>{_links(tables, place)}</nav>\n<main><h1>Layer {layer}, head {head}</h1>\n"
        f'<p class="lead">of {html.escape(tables.model)}. Layers and heads count from 0.</p>{_roles(badges)}\n'
        f"{_statistics(tables, place)}\n{_examples(tables, place, pages)}</main>"
    )
    return page(f"{name} · {tables.model}", body, STYLE)


def _links(tables: Tables, place: int) -> str:
    found = ['<a href="../index.html">all heads</a>']
    for other, arrow in ((place - 1, "← {}"), (place + 1, "{} →")):
        if 0 <= other < len(tables.heads):
            name = name_of(*tables.heads[other])
            found.append(f'<a href="{name}.html">{arrow.format(name)}</a>')
    return "".join(found)


def _roles(badges: Sequence[Badge]) -> str:
    if not badges:
        return ""
    rows = "".join(f"<li>{badge(one.name, one.rests, '')} {html.escape(one.sentence)}</li>" for one in badges)
    return f'<ul class="roles">{rows}</ul>'


def _statistics(tables: Tables, place: int) -> str:
    items = []
    for number, one in enumerate(tables.statistics):
        value = float(tables.values[place, number])
        known = tables.values[:, number]
        rank = ""
        if not np.isnan(value):
            rank = f"{1 + int((known > value).sum()):,} of {int((~np.isnan(known)).sum()):,} heads"
        drawn = histogram(tables.distribution(place, one.name), one, value)
        items.append(
            f'<li data-stat="{html.escape(one.name)}" data-value="{value:.6g}"><h3><span title="{html.escape(one.words)}">{html.escape(one.title)}</span>'
            f'<b class="num">{written(value, one)}</b></h3>{drawn}<p class="rank num">{rank}</p></li>'
        )
    return (
        '<h2>Statistics</h2><p class="legend"><i></i>texts by the number of this head &nbsp; <i class="all"></i>by those of all heads, to the same area; '
        f'▾ the mean of this head</p><ul class="statistics">{"".join(items)}</ul>'
    )


def _examples(tables: Tables, place: int, pages: Collection[str]) -> str:
    layer, head = tables.heads[place]
    groups = tables.examples.get((layer, head), {})
    if not groups:
        return ""
    address = f"#level=head&amp;layer={layer}&amp;head={head}"
    tops = "".join(
        f"<h3>{_range(group)}</h3>{_list(links, pages, address)}" for group, links in groups.items() if group >= 0
    )
    random = _list(groups.get(-1, ()), pages, address)
    bare = not any(link.window for links in groups.values() for link in links)
    note = "<p>The texts of this survey are not published: places are counted from 0.</p>" if bare else ""
    return (
        f'<h2>Examples</h2><p class="lead"><span class="query">A box</span> is the token that looks, <span class="key">a line</span> the one that it looks '
        f'at: the strongest link of a text between two different words.</p>{note}<div class="beside"><section><h2>By weight</h2>'
        f"<p>A few texts of each tenth, chosen by chance among all of it.</p>{tops}</section>"
        f"<section><h2>At random</h2><p>What the head usually does: texts chosen by chance among all.</p>{random}</section></div>"
    )


def _range(group: int) -> str:
    return f"{10 * group} to {10 * group + 10} %"


def _list(links: Sequence[Link], pages: Collection[str], address: str) -> str:
    rows = "".join(
        f'<li data-weight="{link.weight:.6g}"><span class="w num">{percent(link.weight)}</span><span class="words">{_words(link)}'
        f"{_open(link, pages, address)}</span></li>"
        for link in links
    )
    return f'<ul class="links">{rows}</ul>'


def _words(link: Link) -> str:
    if not link.window:
        return f"token {link.query} → token {link.key}"
    drawn = []
    for place, token in enumerate(link.window):
        name = "query" if place == link.window_query else "key" if place == link.window_key else ""
        text = html.escape(token)
        drawn.append(f'<span class="{name}">{text}</span>' if name else text)
    return " ".join(drawn)


def _open(link: Link, pages: Collection[str], address: str) -> str:
    name = example_name(link.document)
    if name not in pages:
        return ""
    return f' <a href="../examples/{name}{address}&amp;query={link.query}&amp;key={link.key}">open</a>'
