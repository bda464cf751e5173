"""How a weight is written in the doctor's reports."""

import math


def number(x: float) -> str:
    """Two decimals; "NaN" for what is not a number, and one digit with an exponent from 1000 on."""
    return " NaN" if math.isnan(x) else f"{x:.2f}".replace("-", "−") if abs(x) < 1000 else f"{x:.0e}"
