"""A view in words and numbers, for hosts that cannot draw: a terminal, a page without scripts, a screen reader."""

from dataclasses import dataclass

from attnscope.text.format import number, percent, printable
from attnscope.tracing.receipts import SiteReceipt
from attnscope.views.view import View


@dataclass(frozen=True)
class Row:
    """One key of the view's query, as text."""

    key: int
    token: str
    dot: str
    score: str
    weight: str
    share: str
    value: float


def strongest(view: View, rows: int) -> list[Row]:
    """The keys of the view's query by weight, strongest first."""
    site, state = view.trace.sites[view.site_index], view.own
    row = state.query - site.query_offset
    if site.weights_only:
        return _strongest_of_weights(view, rows)
    chain = site.chain(state.head, row)
    share = site.share(state.head, row)
    tokens = view.trace.key_tokens(site)
    weights = chain.weights[0]
    order = weights.nan_to_num(-1.0).argsort(descending=True, stable=True)[:rows].tolist()
    masked = chain.masked[0]
    no_key = None if site.mask.is_empty else ~site.mask.allowed(site._rows(row), site.keys, state.head)[0]
    return [
        Row(
            key=k,
            token=printable(tokens[k]),
            dot=number(float(chain.dot[0, k])),
            score="masked" if no_key is not None and bool(no_key[k]) else number(float(masked[k])),
            weight="masked" if no_key is not None and bool(no_key[k]) else percent(float(weights[k])),
            share=percent(float(share[k])),
            value=float(weights[k]),
        )
        for k in order
    ]


def _strongest_of_weights(view: View, rows: int) -> list[Row]:
    """The same where there is nothing but weights."""
    site, state = view.trace.sites[view.site_index], view.own
    tokens, weights = view.trace.key_tokens(site), site.weights(state.head, state.query - site.query_offset)[0]
    order = weights.nan_to_num(-1.0).argsort(descending=True, stable=True)[:rows].tolist()
    return [Row(k, printable(tokens[k]), "–", "–", percent(float(weights[k])), "–", float(weights[k])) for k in order]


def title(view: View) -> str:
    """One sentence: which head and query, and where the weight goes."""
    site, state = view.trace.sites[view.site_index], view.own
    top = strongest(view, 3)
    token = printable(view.trace.query_tokens(site)[state.query])
    rest = ", ".join(f"“{r.token}” ({r.weight})" for r in top[1:])
    then = f", then to {rest}" if rest else ""
    return (
        f"{site.name}, head {state.head} (counted from 0): “{token}” attends most to “{top[0].token}” with {top[0].weight} "
        f"of its weight{then}."
    )


def receipt(view: View) -> str:
    """The receipt of the site on view, in words: of the numbers that the view holds."""
    found: SiteReceipt = view.receipts.sites[view.site_index]
    mark = {"exact": "✓", "failed": "✕"}.get(found.status, "–")
    return f"{mark} {found}"
