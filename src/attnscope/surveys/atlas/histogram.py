"""How a number of a head is spread over the texts, beside that of all heads: a small SVG."""

import math
from collections.abc import Sequence

from attnscope.statistics.definitions import Statistic
from attnscope.surveys.atlas.numbers import written
from attnscope.surveys.atlas.read import Bin

WIDTH, HEIGHT, FOOT = 280, 64, 14
STYLE = """
.hist { display: block; width: 100%; height: auto; overflow: visible; }
.hist rect { fill: var(--pale-ink); }
.hist .all { fill: none; stroke: var(--text); stroke-width: 1.2; }
.hist .base { stroke: var(--strong-line); }
.hist .mean { fill: var(--text); }
.hist text { fill: var(--muted); font-size: 10px; }
"""


def histogram(bins: Sequence[Bin], statistic: Statistic, value: float) -> str:
    """Bars of this head, a line of all heads; both parts of their own texts. Bins of equal width on paper: those of distances grow
    by a factor. "" where nothing was counted."""
    total, every = sum(one.count for one in bins), sum(one.every for one in bins)
    if not every:
        return ""
    most = max(max(one.count / max(1, total) for one in bins), max(one.every / every for one in bins))
    step = WIDTH / len(bins)
    high = HEIGHT - FOOT - 8
    bottom = HEIGHT - FOOT

    def y(part: float) -> str:
        return f"{bottom - part / most * high:.1f}"

    bars = "".join(
        f'<rect x="{i * step + 0.5:.1f}" y="{y(one.count / total)}" width="{max(step - 1, 0.5):.1f}" height="{one.count / total / most * high:.1f}"/>'
        for i, one in enumerate(bins)
        if one.count
    )
    line = " ".join(
        f"{i * step:.1f},{y(one.every / every)} {(i + 1) * step:.1f},{y(one.every / every)}"
        for i, one in enumerate(bins)
    )
    ends = (bins[0].low, bins[-1].high)
    left, right = (("more" if math.isinf(end) else written(end, statistic)) for end in ends)
    said = f"{total:,} texts; most of them from {_busiest(bins, statistic)}" if total else "no text"
    return (
        f'<svg class="hist" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}"><title>{said}</title>{bars}'
        f'<polyline class="all" points="{line}"/><line class="base" x1="0" x2="{WIDTH}" y1="{bottom}" y2="{bottom}"/>{_mean(bins, value, step, bottom)}'
        f'<text x="0" y="{HEIGHT - 2}">{left}</text><text x="{WIDTH}" y="{HEIGHT - 2}" text-anchor="end">{right}</text></svg>'
    )


def _busiest(bins: Sequence[Bin], statistic: Statistic) -> str:
    best = max(bins, key=lambda one: one.count)
    end = "" if math.isinf(best.high) else f" to {written(best.high, statistic)}"
    return f"{written(best.low, statistic)}{end}"


def _mean(bins: Sequence[Bin], value: float, step: float, bottom: int) -> str:
    """A mark where the mean lies."""
    for i, one in enumerate(bins):
        if one.low <= value <= one.high:
            part = 0.5 if math.isinf(one.high) else (value - one.low) / (one.high - one.low)
            x = (i + part) * step
            return f'<path class="mean" d="M{x - 4:.1f} 0h8l-4 6z"/>'
    return ""
