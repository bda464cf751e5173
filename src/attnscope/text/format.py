"""How numbers and tokens are spelled where people read them: terminals, figures, pages without scripts."""

import math


def percent(part: float) -> str:
    """A weight as people read it: 52.7 %, <0.1 % for what is there but tiny, and 0 % for what is not there."""
    if math.isnan(part):
        return "NaN"
    if part == 0:
        return "0 %"
    return "<0.1 %" if 0 < part < 0.0005 else f"{100 * part:.1f} %"


def number(value: float) -> str:
    """Two decimals, a real minus, and words for what is no number."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "masked" if value < 0 else "∞"
    return f"{value:.2f}".replace("-", "−")


def significant(value: float, digits: int = 4) -> str:
    """So many digits that a sum written out comes true where its numbers are small: two decimals or more, up to six."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else number(value)
    places = min(6, max(2, digits - 1 - math.floor(math.log10(abs(value)))))
    return f"{value:.{places}f}".replace("-", "−")


def printable(token: str) -> str:
    """The token as one visible line: control and direction characters are spelled out."""
    return "".join(c if c.isprintable() else f"⟨U+{ord(c):04X}⟩" for c in token)
