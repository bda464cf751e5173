"""The neuron level in a terminal, second half: q, k and q × k as strips of bars, positive above, negative below."""

import math
from collections.abc import Iterator

import torch
from rich.text import Text
from torch import Tensor

from attnscope.render.terminal.glyphs import MUTED, NEGATIVE, POSITIVE, Glyphs, fitted
from attnscope.text.format import number
from attnscope.text.spelling import spelled
from attnscope.views.sentences.sentence import strongest
from attnscope.views.view import View

KEYS, NAME = 3, 12


def strips(view: View, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """q; then k and q × k of the strongest keys and the pinned one. Vectors have one scale, products another."""
    site, state = view.trace.sites[view.site_index], view.own
    if site.weights_only:
        yield Text("This trace has weights only, so there are no vectors to draw.", style=MUTED)
        return
    chosen = [row.key for row in strongest(view, KEYS)]
    if state.key is not None and state.key not in chosen:
        chosen = [state.key, *chosen[: KEYS - 1]]
    group = state.head // (site.heads // site.kv_heads)
    q = site.q[state.head, state.query - site.query_offset].float().cpu()
    k = site.k[group, chosen].float().cpu()
    products = q * k
    room = max(8, width - NAME - 3)
    together = math.ceil(len(q) / room)
    size, most = _largest(torch.cat([q[None], k])), _largest(products)
    keys, queries = spelled(view.trace.key_tokens(site)), spelled(view.trace.query_tokens(site))
    column = "one column each" if together == 1 else f"{together} to a column, which shows the largest of them"
    yield Text(f"{len(q)} dimensions, {column}")
    yield Text(
        f"+ rows show positive numbers, − rows negative ones; a full column is {number(size)} (q, k) or {number(most)} (q × k).",
        style=MUTED,
    )
    yield from _strip(f"q {queries[state.query]}", q, size, together, glyphs)
    for index, key in enumerate(chosen):
        yield from _strip(f"k {keys[key]}", k[index], size, together, glyphs)
        yield from _strip(f"q×k = {number(float(products[index].sum()))}", products[index], most, together, glyphs)


def _largest(values: Tensor) -> float:
    return float(values.abs().nan_to_num(0.0, 0.0, 0.0).max())


def _strip(name: str, values: Tensor, full: float, together: int, glyphs: Glyphs) -> Iterator[Text]:
    """Two lines: the heights of positive numbers, then of negative ones. NaN is a ? in both."""
    drawn = [max(group.tolist(), key=abs) for group in values.split(together)]
    for sign, style in ((1, POSITIVE), (-1, NEGATIVE)):
        line = Text(fitted(name if sign > 0 else "", NAME, glyphs, right=True))
        line.append(" + " if sign > 0 else " − ", style=MUTED)
        line.append("".join(_bar(sign * value, full, glyphs) for value in drawn).rstrip(), style=style)
        yield line


def _bar(value: float, full: float, glyphs: Glyphs) -> str:
    if math.isnan(value):
        return "?"
    if value <= 0 or full == 0:
        return " "
    return glyphs.bars[min(8, max(1, math.ceil(8 * min(1.0, value / full)))) - 1]
