"""The neuron level in a terminal, first half: the strongest keys of the query, as numbers and bars."""

from rich.table import Table
from rich.text import Text

from attnscope.render.terminal.glyphs import NEGATIVE, POSITIVE, WEIGHT, Glyphs, label
from attnscope.statistics.sink_tokens import set_aside
from attnscope.text.format import percent
from attnscope.views.sentences.columns import NUMBERS, SHORT
from attnscope.views.sentences.sentence import strongest
from attnscope.views.view import View

BAR, TOKEN, BESIDE = 20, 16, 42  # columns of a bar, a token, and all that stands beside them


def keys_table(view: View, rows: int, width: int, glyphs: Glyphs) -> Table:
    """Key, weight as a bar and a number, share of the head's output, q · k, score; a mark shows the pinned key."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in NUMBERS:
        if name == "weight":
            table.add_column(SHORT[name], justify="left", no_wrap=True)  # the bar; its number has no heading
        table.add_column("" if name == "weight" else SHORT[name], justify="right", no_wrap=True)
    token = TOKEN if width >= 70 else TOKEN // 2
    longest = min(BAR, max(1, width - BESIDE - token))
    shown = strongest(view, rows)
    # without special and sink tokens, what is left has a scale of its own
    end = max((row.value for row in shown), default=0.0) if view.own.special == "hide" else 1.0
    for row in shown:
        pinned = row.key == view.own.key
        part = min(1.0, max(0.0, row.value / (end or 1.0)))
        bar = glyphs.bars[-1] * round(longest * part) if row.value == row.value else ""
        name = label(row.token, token, pinned, glyphs)
        cells = {
            "token": [Text(name, style="bold" if pinned else "")],
            "weight": [Text(bar, style=WEIGHT), Text(row.weight)],
            "share": [Text(row.share)],
            "dot": [_signed(row.dot)],
            "score": [_signed(row.score)],
        }
        table.add_row(*(cell for column in NUMBERS for cell in cells[column]))
    return table


def weaker(view: View, rows: int) -> str:
    """How many keys the table leaves out, and their weight; empty if it shows all."""
    site, state = view.trace.sites[view.site_index], view.own
    weights = site.weights(state.head, state.query - site.query_offset)[0].nan_to_num(0.0).cpu()
    if state.special == "hide":
        weights = weights[~set_aside(view.trace, site)]
    if len(weights) <= rows:
        return ""
    rest = float(weights.sort().values[: len(weights) - rows].sum())
    return f"… and {len(weights) - rows} weaker keys with {percent(rest)} of the weight"


def _signed(number: str) -> Text:
    """A number in the colour of its sign."""
    if not number.lstrip("−")[:1].isdigit():
        return Text(number)
    return Text(number, style=NEGATIVE if number.startswith("−") else POSITIVE)
