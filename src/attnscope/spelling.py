"""How numbers and tokens are spelled where people read them: terminals, figures, pages without scripts."""

import math


def percent(part: float) -> str:
    """A weight as people read it: 52.7 %, and <0.1 % for what is there but tiny."""
    if math.isnan(part):
        return "NaN"
    return "<0.1 %" if 0 < part < 0.0005 else f"{100 * part:.1f} %"


def number(value: float) -> str:
    """Two decimals, a real minus, and words for what is no number."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "masked" if value < 0 else "∞"
    return f"{value:.2f}".replace("-", "−")


def printable(token: str) -> str:
    """The token as one visible line: control and direction characters are spelled out."""
    return "".join(c if c.isprintable() else f"⟨U+{ord(c):04X}⟩" for c in token)
