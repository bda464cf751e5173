"""Figures through matplotlib (extra `plot`): the neuron level on paper.

Vectors are small bars about a baseline, so that sign survives a grey print; weights are bars from zero. The colours
are the page's: blue below zero, orange above, ink for weight.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from attnscope.errors import InputError
from attnscope.spelling import percent, printable
from attnscope.tracing import Site, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, NEGATIVE, POSITIVE, MUTED = "#1d1f24", "#2166ac", "#b4530a", "#5c5f66"
MOST_KEYS = 40
Column = tuple[float, float, str, Callable[[Any], None]]  # left, width, title, what draws it


@dataclass(frozen=True)
class Place:
    """Which site, head, query and pinned key a figure is of."""

    site: int
    head: int
    query: int
    key: int | None = None


def neuron_figure(trace: Trace, place: Place, width: float = 7.2) -> "Figure":
    """The neuron level of one query: a row per key with k, q × k, q · k, weight, share of the output and v;
    the weight alone where nothing else is known.

    Beyond 40 keys the strongest 40 are drawn, in text order. `width` is in inches. Raises InputError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("figures need matplotlib: pip install 'attnscope[plot]'.") from None
    site = trace.sites[place.site]
    row = place.query - site.query_offset
    weights = site.weights(place.head, row)[0]
    drawn = torch.arange(site.keys)
    if site.keys > MOST_KEYS:
        drawn = weights.nan_to_num(-1.0).argsort(descending=True, stable=True)[:MOST_KEYS].sort().values
    names = [printable(trace.key_tokens(site)[int(k)])[:24] for k in drawn]
    figure = Figure(figsize=(width, 0.75 + 0.17 * len(drawn)))
    top, bottom = 1 - 0.55 / figure.get_figheight(), 0.14 / figure.get_figheight()
    query = printable(trace.query_tokens(site)[place.query])[:24]
    figure.text(0.012, 1 - 0.13 / figure.get_figheight(), f"{site.name}, head {place.head}, query “{query}”", va="top", size=9, weight="bold", color=INK, parse_math=False)  # fmt: skip
    columns = _weight_columns(weights[drawn]) if site.weights_only else _columns(site, place, drawn)
    for left, wide, title, draw in columns:
        axes = figure.add_axes((left, bottom, wide, top - bottom))
        axes.set(ylim=(len(drawn) - 0.5, -0.5), xticks=[], yticks=[])
        axes.set_frame_on(False)
        axes.set_title(
            title, size=8, color=INK, loc="left" if title in ("k", "q × k", "v", "weight") else "right", pad=4
        )
        draw(axes)
        if left == 0.16:
            axes.set_yticks(range(len(drawn)), names, size=7, family="monospace", parse_math=False)
            axes.tick_params(length=0)
            for label, key in zip(axes.get_yticklabels(), drawn.tolist(), strict=True):
                label.set_color(MUTED if trace.key_tokens(site).special[key] else INK)
                label.set_fontweight("bold" if key == place.key else "normal")
    return figure


def _columns(site: Site, place: Place, drawn: Any) -> list[Column]:
    row = place.query - site.query_offset
    chain, share = site.chain(place.head, row), site.share(place.head, row)
    dots = [f"{x:.2f}".replace("-", "−") for x in chain.dot[0, drawn].tolist()]
    weights = chain.weights[0, drawn]
    return [
        (0.16, 0.20, "k", lambda axes: _strips(axes, chain.key[drawn])),
        (0.37, 0.20, "q × k", lambda axes: _strips(axes, chain.query[0] * chain.key[drawn])),
        (0.58, 0.07, "q · k", lambda axes: _numbers(axes, dots)),
        (0.66, 0.07, "weight", lambda axes: _bars(axes, weights)),
        (0.73, 0.05, "", lambda axes: _numbers(axes, [percent(x) for x in weights.tolist()])),
        (0.785, 0.055, "share", lambda axes: _numbers(axes, [percent(x) for x in share[drawn].tolist()])),
        (0.85, 0.14, "v", lambda axes: _strips(axes, chain.value[drawn])),
    ]


def _weight_columns(weights: Any) -> list[Column]:
    """Of a site that holds nothing else."""
    return [
        (0.16, 0.74, "weight", lambda axes: _bars(axes, weights)),
        (0.91, 0.07, "", lambda axes: _numbers(axes, [percent(x) for x in weights.tolist()])),
    ]


def to_bytes(figure: "Figure", kind: str = "png", dpi: int = 160) -> bytes:
    """The figure as a png, svg (text stays text) or pdf (TrueType embedded), on white."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white")
    return buffer.getvalue()


def _strips(axes: "Axes", values: Any) -> None:
    """One row of bars per vector, all on one scale; the largest 1 % of values reach its end."""
    finite = values[torch.isfinite(values)].abs()
    largest = max(float(finite.float().quantile(0.99)) if len(finite) else 0.0, 1e-12)
    rows, dims = values.shape
    heights = (values / largest * 0.48).nan_to_num(0.0).clamp(-0.48, 0.48)
    for row in range(rows):
        height = heights[row].tolist()
        colors = [POSITIVE if h >= 0 else NEGATIVE for h in height]
        axes.bar(range(dims), [-h for h in height], bottom=row, width=0.9, color=colors, linewidth=0)
        axes.axhline(row, color=MUTED, linewidth=0.2)
    axes.set_xlim(-0.5, dims - 0.5)


def _bars(axes: "Axes", weights: Any) -> None:
    axes.barh(range(len(weights)), weights.nan_to_num(0.0).tolist(), height=0.62, color=INK)
    axes.set_xlim(0, 1)


def _numbers(axes: "Axes", texts: list[str]) -> None:
    for row, text in enumerate(texts):
        axes.text(1, row, text, ha="right", va="center", size=7, color=INK, transform=axes.get_yaxis_transform())
