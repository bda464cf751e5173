"""Numbers of statistics as people read them."""

import math

from attnscope.statistics.definitions import Statistic
from attnscope.text.format import percent


def written(value: float, statistic: Statistic) -> str:
    """ "12.3 %", "2.31 nats", "4.5 tokens"; "–" where there is none."""
    if math.isnan(value):
        return "–"
    if statistic.unit == "part":
        return percent(value)
    digits = 1 if statistic.unit in ("tokens", "patches") else 2
    return f"{value:.{digits}f}{' ' + statistic.unit if statistic.unit else ''}"


def name_of(layer: int, head: int) -> str:
    return f"L{layer}H{head}"
