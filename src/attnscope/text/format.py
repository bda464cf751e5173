"""How numbers are written where people read them. The page's base/format.ts follows the same rules.

tests/cases/spelling.json holds the cases that both must pass.
"""

import math
from decimal import ROUND_HALF_UP, Context, Decimal

MINUS = "\u2212"
HUGE = 1e21  # from here on a number is written with an exponent, as JavaScript's toFixed has it
_EXACT = Context(prec=40)


def fixed(value: float, digits: int) -> str:
    """So many decimals, rounded half up, with a real minus; NaN, +∞ and −∞ by name. There is no minus zero."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+∞" if value > 0 else f"{MINUS}∞"
    if abs(value) >= HUGE:
        size = f"{abs(value):.2e}"
    else:
        size = str(Decimal(abs(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, _EXACT))
    return MINUS + size if value < 0 and any(c not in "0." for c in size) else size


def digits_apart(value: float, low: float, high: float, digits: int = 3) -> int:
    """How many digits behind the point tell a value that lies beyond a range from its ends; `digits` where it lies within."""
    if not low <= value <= high:
        while digits < 8 and f"{value:.{digits}f}" in (f"{low:.{digits}f}", f"{high:.{digits}f}"):
            digits += 1
    return digits


def percent(part: float) -> str:
    """A weight in a table: 52.7 %; <0.1 % for a weight that is tiny but not zero."""
    if math.isnan(part):
        return "NaN"
    if part <= -0.0005:
        return MINUS + percent(-part)
    if part == 0:
        return "0 %"
    return "<0.1 %" if part < 0.0005 else f"{fixed(100 * part, 1)} %"


def percent_in_words(part: float) -> str:
    """A weight in a sentence: whole percent, and one decimal below 1 %."""
    if math.isnan(part):
        return "NaN"
    if part <= -0.0005:
        return MINUS + percent_in_words(-part)
    if part >= 0.00995:
        return f"{math.floor(100 * part + 0.5)} %"
    if part < 0.0005:
        return "0 %" if part == 0 else "less than 0.1 %"
    return f"{fixed(100 * part, 1)} %"


def chance(probability: float) -> str:
    """A probability of a prediction: 92.3%, and 0.0031% where one decimal would make it 0."""
    return f"{probability:.1%}" if probability >= 0.0005 or probability == 0 else f"{100 * probability:.2g}%"


def number(value: float) -> str:
    """A score with two decimals; −∞ is a masked key."""
    if math.isinf(value):
        return "masked" if value < 0 else "∞"
    return fixed(value, 2)


def significant(value: float, digits: int = 4) -> str:
    """Two to six decimals, so that a sum that is written out comes true where its numbers are small."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else number(value)
    places = min(6, max(2, digits - 1 - math.floor(math.log10(abs(value)))))
    return fixed(value, places)


def count(n: int, one: str, many: str = "") -> str:
    """ "1 key", "1,204 keys"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def listed(parts: list[str]) -> str:
    """ "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def duration(seconds: float) -> str:
    """ "40 s", "3 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
