"""The neuron level: a row per key with weight, share of the output, k, q × k, q · k and v."""

from dataclasses import replace

import torch

from attnscope.errors import InputError
from attnscope.render.figures.colours import LINE, MUTED, TEXT, nice, nice_part
from attnscope.render.figures.names import cut, fitting
from attnscope.render.figures.parts import hidden_notes, largest, legend_end
from attnscope.render.figures.plan import Plan
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.sheet import POINT, WIDE, Sheet
from attnscope.text.format import number, percent, percent_in_words
from attnscope.views.sentences.columns import SHORT
from attnscope.views.sentences.sentence import writes

MOST_KEYS = 40
STEP, HEAD, FOOT = 0.165, 0.2, 0.16


def plan(scene: Scene, width: float) -> Plan:
    """With more than 40 keys, the strongest 40 in text order. This level neither averages heads nor merges words."""
    scene = Scene(scene.trace, replace(scene.state, average="none"))
    site, axis = scene.site, scene.key_axis(words=False)
    weights = site.weights(scene.state.head, scene.row)[0]
    offered = [slot.tokens[0] for slot in axis.slots]
    if not offered:
        raise InputError(
            "no key is left to draw: filter and special='hide' remove all of them. Give filter='all' or special='show'."
        )
    drawn = torch.tensor(offered)
    notes = hidden_notes(scene, weights, axis)
    if len(offered) > MOST_KEYS:
        strongest = weights[drawn].nan_to_num(-1.0).argsort(descending=True, stable=True)[:MOST_KEYS]
        rest = float(weights[drawn].nan_to_num(0).sum() - weights[drawn[strongest]].nan_to_num(0).sum())
        drawn = drawn[strongest].sort().values
        notes.append(
            f"The {MOST_KEYS} strongest of {len(offered)} keys, in text order; the others have {percent_in_words(rest)} together."
        )
    query = scene.query_names[scene.state.query]
    notes += (
        []
        if site.weights_only
        else ["Bars on a line: up is positive, down is negative; a gap marks a bar that is longer than the scale."]
    )
    if wrote := writes(site, scene.state.head, scene.row):
        notes.append(wrote)
    rows = len(drawn) + (0 if site.weights_only else 1)
    return Plan(
        f"{site.name}, head {scene.state.head}, query “{cut(query, 40)}”",
        HEAD + rows * STEP + FOOT,
        lambda sheet, y: _draw(sheet, y, scene, drawn, weights),
        tuple(notes),
    )


def _draw(sheet: Sheet, y: float, scene: Scene, drawn: torch.Tensor, weights: torch.Tensor) -> None:
    site, small = scene.site, sheet.width < 5
    size = 6 if small else 7
    most = fitting(0.3 * sheet.width, size)
    names = [cut(scene.key_names[k], most) for k in drawn.tolist()]
    query = cut(scene.query_names[scene.state.query], most)
    left = 0.06 + max(len(name) for name in [*names, query]) * WIDE * size * POINT + 0.08
    first = y + HEAD + (0 if site.weights_only else STEP)
    special = scene.trace.key_tokens(site).special
    for row, (key, name) in enumerate(zip(drawn.tolist(), names, strict=True)):
        pinned = key == scene.state.key
        sheet.token(
            left - 0.08,
            first + (row + 0.5) * STEP,
            name,
            size,
            ha="right",
            weight="bold" if pinned else "normal",
            color=MUTED if special[key] and not pinned else TEXT,
        )
    masked = _masked(scene)[drawn]
    shown = ["masked" if m else percent(w) for w, m in zip(weights[drawn].tolist(), masked.tolist(), strict=True)]
    end = nice_part(float(weights[drawn].nan_to_num(0).max()))
    number_width = 0.42 if not small else 0.37

    def numbers(x: float, title: str, texts: list[str]) -> None:
        sheet.say(x, y + HEAD / 2, title, size, ha="right")
        for row, text in enumerate(texts):
            sheet.say(x, first + (row + 0.5) * STEP, text, size - 0.5, ha="right")

    def strip(x: float, wide: float, title: str, values: torch.Tensor, over: torch.Tensor | None = None) -> None:
        both = values if over is None else torch.cat([over, values])
        bound = nice(largest(both))
        top = first - (0 if over is None else STEP)
        sheet.strips(x, top, wide, STEP, both.numpy(), title, bound)
        sheet.say(x, y + HEAD / 2, title, size)
        sheet.say(x + wide, first + len(drawn) * STEP + FOOT / 2, f"±{bound:g}", 5.5, ha="right", color=MUTED)

    right = sheet.width - 0.06
    foot = first + len(drawn) * STEP + FOOT / 2
    if site.weights_only:
        numbers(right, "", shown)
        sheet.say(left, y + HEAD / 2, SHORT["weight"], size)
        sheet.bars(left, first, right - number_width - left - 0.05, STEP, weights[drawn].numpy(), "weight", end)
        sheet.say(left, foot, f"bars 0 … {legend_end(end)}", 5.5, color=MUTED)
        return
    chain, share = site.chain(scene.state.head, scene.row), site.share(scene.state.head, scene.row)
    gap = 0.05 if small else 0.1
    free = right - left - 3 * number_width - 5 * gap
    wide, bar = 0.27 * free, 0.19 * free
    x = left
    sheet.say(x, y + HEAD / 2, SHORT["weight"], size)
    sheet.bars(x, first, bar, STEP, weights[drawn].numpy(), "weight", end)
    sheet.say(x, foot, f"0 … {legend_end(end)}", 5.5, color=MUTED)
    x += bar + number_width
    numbers(x, "", shown)
    x += gap + number_width - 0.04
    shares = zip(share[drawn].tolist(), masked.tolist(), strict=True)
    numbers(x, SHORT["share"], ["masked" if m else percent(s) for s, m in shares])
    x += gap
    sheet.token(left - 0.08, first - STEP / 2, query, size, ha="right", weight="bold")
    sheet.lines([[(left - 0.02, first), (x + wide, first)]], LINE)
    strip(x, wide, f"q, {SHORT['k']}", chain.key[drawn], chain.query)
    x += wide + gap
    strip(x, wide, SHORT["product"], chain.query * chain.key[drawn])
    x += wide + number_width
    numbers(x, SHORT["dot"], [number(v) for v in chain.dot[0, drawn].tolist()])
    x += gap
    strip(x, right - x, SHORT["v"], chain.value[drawn])


def _masked(scene: Scene) -> torch.Tensor:
    site = scene.site
    if site.mask.is_empty:
        return torch.zeros(site.keys, dtype=torch.bool)
    allowed = site.mask.allowed(torch.tensor([scene.row]), site.keys, scene.state.head).reshape(-1)
    return ~allowed & (site.weights(scene.state.head, scene.row)[0] == 0).cpu()
