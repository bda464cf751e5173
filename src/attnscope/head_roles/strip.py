"""A share with its interval beside its baselines, as a small SVG: from 0 to 100 %."""

import html

from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.sentence import offset_in_words
from attnscope.text.format import percent

WIDTH, HEIGHT, EDGE = 200, 18, 6


def strip(row: RoleRow) -> str:
    """A dot with its interval, a line for the best fixed offset, a ring for the best fixed word. Of a sink its weight, alone."""
    value = row.weight if row.task.by_weight else row.accuracy
    if value is None:
        return ""
    middle = HEIGHT / 2
    parts = [f'<line class="axis" x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{middle}" y2="{middle}"/>']
    said = [f"{percent(value)}{' of its weight' if row.task.by_weight else ''}"]
    if row.low is not None and row.high is not None and not row.task.by_weight:
        parts.append(f'<line class="interval" x1="{_x(row.low)}" x2="{_x(row.high)}" y1="{middle}" y2="{middle}"/>')
        said.append(f"interval {percent(row.low)} to {percent(row.high)}")
    if row.baseline_accuracy is not None and row.baseline_offset is not None:
        x = _x(row.baseline_accuracy)
        parts.append(f'<line class="offset" x1="{x}" x2="{x}" y1="2" y2="{HEIGHT - 2}"/>')
        said.append(f"{offset_in_words(row.baseline_offset)} {percent(row.baseline_accuracy)}")
    if row.baseline_word_accuracy is not None:
        parts.append(f'<circle class="word" cx="{_x(row.baseline_word_accuracy)}" cy="{middle}" r="3.5"/>')
        said.append(f"nearest “{row.baseline_word}” {percent(row.baseline_word_accuracy)}")
    parts.append(f'<circle class="dot" cx="{_x(value)}" cy="{middle}" r="4"/>')
    words = html.escape("; ".join(said))
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{words}" data-value="{value:.6g}"><title>{words}</title>{"".join(parts)}</svg>'
    )


def _x(share: float) -> str:
    return f"{EDGE + share * (WIDTH - 2 * EDGE):.1f}"
