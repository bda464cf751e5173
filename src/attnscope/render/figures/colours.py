"""Colours of page and figures, and their two ramps: zero to ink for weights, blue over zero to orange for signs.

`tools/generate.py` writes the table into frontend/src/generated/colours.json, where the page reads it.
"""

from functools import cache
from typing import Any

import numpy as np

PAGE = {
    "light": {
        "ground": "#fcfcfa",
        "raised": "#ffffff",
        "text": "#17181a",
        "muted": "#5c5f66",
        "line": "#e2e1dc",
        "strong-line": "#b9b8b2",
        "negative": "#1d5fb4",
        "zero": "#ecebe7",
        "positive": "#c4500d",
        "ink": "#2b2d31",
        "pale-ink": "#9a9b9f",
        "hatch": "#c9c8c3",
        "alert": "#17181a",
    },
    "dark": {
        "ground": "#131417",
        "raised": "#1a1c20",
        "text": "#ecebe8",
        "muted": "#a0a3a9",
        "line": "#2a2c31",
        "strong-line": "#4c4f56",
        "negative": "#6cb4ff",
        "zero": "#2a2d32",
        "positive": "#ff9d4d",
        "ink": "#dddcd8",
        "pale-ink": "#77797f",
        "hatch": "#43464c",
        "alert": "#ecebe8",
    },
}
# Of heads drawn over each other: no colour twice, each at least 3 : 1 on its ground, and told apart by its dashes too.
HEADS_ON = {
    "light": "#00688b #b5342b #4f7a00 #7a3fb0 #946000 #c0267a #20795a #4d4fc4 #8a4b32 #5e6470 #a03fa0 #2f6fd0".split(),
    "dark": "#4fc3e8 #ff8f80 #a6d245 #c9a0ff #f0bd4a #ff8ac2 #57d3a4 #a3a8ff #dba384 #b9c0cc #f09bf0 #86b6ff".split(),
}
DASHES = ((), (9, 3), (2, 3), (9, 3, 2, 3), (5, 3), (14, 3))  # lengths of stroke and gap; the first is solid
NICE = (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10)  # ends of a scale, times a power of ten
# Ends of a scale of weights. The same weight has the same colour and length at every level: up to 100 %. Only where
# nothing that is drawn has more than a fifth, which would be too pale to read, a scale of its own ends sooner.
NICE_PARTS = (0.01, 0.02, 0.05, 0.1, 0.2, 1)
BEND = (
    0.75  # a ramp's colour grows with value ** BEND, a little sooner than its lightness: small values show their sign
)

# Where the ground is unknown, dark or light, as in a terminal: each at least 3 : 1 on black and on white.
ON_ANY = {"positive": "#cc6420", "negative": "#3f86dc", "weight": "#1f9a84"}

# Figures are for white paper.
GROUND, HEADS = "#ffffff", HEADS_ON["light"]
TEXT, MUTED, LINE, FAINT = (PAGE["light"][name] for name in ("text", "muted", "strong-line", "line"))
NEGATIVE, ZERO, POSITIVE, INK, HATCH = (
    PAGE["light"][name] for name in ("negative", "zero", "positive", "ink", "hatch")
)
STEPS = 128  # on each side of zero
_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.793617785, -0.0040720468],
        [1.9779984951, -2.428592205, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.808675766],
    ]
)


def _oklab(colour: str) -> "np.ndarray":
    """OKLab of a #rrggbb (Ottosson 2020)."""
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return _LAB @ np.cbrt(_LMS @ linear)


def _rgb(lab: "np.ndarray") -> "np.ndarray":
    """[n, 3] of OKLab to [n, 3] of RGB, 0 … 1."""
    linear = (lab @ np.linalg.inv(_LAB).T) ** 3 @ np.linalg.inv(_LMS).T
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055).clip(0, 1)


def _half(end: str) -> "np.ndarray":
    """Zero to `end`: lightness is linear in the value, colour grows with its power BEND."""
    t = np.linspace(0, 1, STEPS + 1)[:, None]
    zero = _oklab(ZERO)
    return _rgb(zero + (_oklab(end) - zero) * np.hstack([t, t**BEND, t**BEND]))


@cache
def weight_ramp() -> Any:
    """A matplotlib colormap of 0 … 1, monotone in lightness; what is not a number keeps the ground."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(_half(INK), "attnscope weight").with_extremes(bad=GROUND)


@cache
def sign_ramp() -> Any:
    """A matplotlib colormap of -1 … 1."""
    from matplotlib.colors import ListedColormap

    both = np.vstack([_half(NEGATIVE)[:0:-1], _half(POSITIVE)])
    return ListedColormap(both, "attnscope sign").with_extremes(bad=GROUND)


def nice(value: float) -> float:
    """The next round number at or above."""
    if not 0 < value < float("inf"):
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(f"{next((s for s in NICE if value <= s * power * (1 + 1e-9)), 10) * power:.3g}")


def nice_part(value: float) -> float:
    """The upper end of a scale of weights, for a largest weight: 1, or less where the scale is one of its own."""
    return float(next((end for end in NICE_PARTS if value <= end), 1))
