"""The bins of the distributions: fixed ones, so that those of two surveys, or of two halves of one, can be added."""

import math

import numpy as np

from attnscope.statistics.definitions import STATISTICS
from attnscope.statistics.further.entries import FURTHER

LINK = "link"  # counted of each document beside the means
_BY_FACTORS = np.array([0.0, *(2 ** (n / 2) for n in range(-2, 33))])
_BY_UNIT = {
    "part": np.linspace(0, 1, 21),
    "nats": np.linspace(0, 12, 49),
    "tokens": _BY_FACTORS,
    "tokens²": _BY_FACTORS**2,
    "patches": _BY_FACTORS,
    "s": _BY_FACTORS / 64,
    "": np.linspace(-1, 1, 41),
}
EDGES = {s.name: _BY_UNIT[s.unit] for s in (*STATISTICS, *(entry.statistic for entry in FURTHER.values()))}
WIDEST = max(len(edges) - 1 for edges in EDGES.values())


def counted(name: str, values: "np.ndarray") -> "np.ndarray":
    """How many documents fall into each bin, [heads, WIDEST]; `values`: [documents, heads], NaN where there is none. What
    lies outside is in the first or last bin."""
    heads = values.shape[1]
    here = np.isfinite(values)
    edges = EDGES[name]
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    index = (place + np.arange(heads) * WIDEST)[here]
    return np.bincount(index, minlength=heads * WIDEST).reshape(heads, WIDEST)


def bounds(name: str, bin: int) -> tuple[float, float]:
    """Of one bin; the last one has no end where the statistic has none."""
    edges = EDGES[name]
    last = bin == len(edges) - 2 and edges[-1] > 1
    return float(edges[bin]), math.inf if last else float(edges[bin + 1])
