"""How sure a share is: an interval, an exact test of one rule against another, a correction for many tests."""

import math
from collections.abc import Sequence

import numpy as np

_Z = 1.959963984540054  # of 95 %


def wilson(hits: int, cases: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson (1927), which stays between 0 and 1. (0, 1) without a case.

    >>> tuple(round(bound, 4) for bound in wilson(8, 10))
    (0.4902, 0.9433)
    """
    if not cases:
        return 0.0, 1.0
    share, spread = hits / cases, _Z * _Z / cases
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / cases + spread / (4 * cases)) / (1 + spread)
    return (middle - half if hits else 0.0), (middle + half if hits < cases else 1.0)


def sign_flip_p(differences: Sequence[int]) -> float:
    """The exact one-sided p-value of a paired test with clusters, by flipping signs (Fisher 1935).

    `differences`: in each cluster (a sentence), how many more cases the head found than the fixed offset did. If both were
    equally good, each difference would be as likely with the other sign. The p-value is the probability that their sum is
    then at least as large as it is. With one case a cluster this is the exact form of McNemar's test.

    >>> sign_flip_p([1, 1, 1, 1, 1, 0])
    0.03125
    """
    sizes, counts = np.unique(np.abs([d for d in differences if d]).astype(np.int64), return_counts=True)
    chances, least = np.ones(1), 0
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        places = np.zeros(2 * size * count + 1)
        places[:: 2 * size] = _binomial(count)
        chances, least = np.convolve(chances, places), least - size * count
    total = int(sum(differences))
    return float(min(1.0, chances[total - least :].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number, which keeps the chance of any false one (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _binomial(count: int) -> "np.ndarray":
    """The chance of 0 … count heads among as many coins."""
    logs = [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(count + 1)]
    return np.exp(np.array(logs) - count * math.log(2))
