"""Two halves of the data, split by document: a head is chosen on one and reported on the other."""

from collections import Counter
from collections.abc import Sequence

import numpy as np


def reported_half(documents: Sequence[str], sizes: Sequence[int]) -> "np.ndarray":
    """Which texts are of the half that is reported: [texts], bool. `documents`: of each text, which document it is of;
    `sizes`: how many words it has.

    The documents are dealt out from the largest to the smallest, each to the half that has fewer words, equal ones in their
    order: the halves depend on the data alone. A single document is cut in its middle, by texts.
    """
    words: Counter[str] = Counter()
    for document, size in zip(documents, sizes, strict=True):
        words[document] += size
    if len(words) < 2:
        total = np.cumsum(sizes) if len(sizes) else np.zeros(0)
        return total > (total[-1] / 2 if len(sizes) else 0)
    halves, reported = [0, 0], set()
    for document, size in sorted(words.items(), key=lambda item: -item[1]):
        half = int(halves[1] < halves[0])
        halves[half] += size
        if half:
            reported.add(document)
    return np.array([document in reported for document in documents])
