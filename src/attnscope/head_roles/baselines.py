"""What a head has to beat: a fixed offset from the query, and a fixed word or the first one. None needs to read the sentence."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from attnscope.head_roles.cases import Cases

WORDS_TRIED = 12  # the most frequent right ones
FIRST_WORD = "the first word"
FIRST = -1  # in place of a form: whatever stands first in the text


@dataclass(frozen=True, eq=False)
class Places:
    """What stands at each place of all texts: `text` it is of, and the number of its `form` in `forms`, small letters.
    `causal`: keys after the query cannot be seen."""

    text: "np.ndarray"
    form: "np.ndarray"
    forms: tuple[str, ...]
    causal: bool

    def named(self, form: int) -> str:
        """The form in words."""
        return FIRST_WORD if form == FIRST else self.forms[form]


def best_offset(cases: Cases) -> int | None:
    """The fixed offset from the query (1: the next word) that is right most often, of equal ones the nearest; None without a
    case."""
    apart = cases.keys - cases.queries
    found = np.unique(np.stack([cases.case, apart], 1), axis=0)[:, 1]  # one case counts an offset once
    if not len(found):
        return None
    offsets, counts = np.unique(found, return_counts=True)
    best = offsets[counts == counts.max()]
    return int(best[np.abs(best).argmin()])


def right_by_offset(cases: Cases, offset: int) -> "np.ndarray":
    """Of each case, whether the key at this offset is right."""
    return cases.any(cases.keys - cases.queries == offset)


def best_word(cases: Cases, places: Places) -> int | None:
    """The form (its number) whose nearest place is the right key most often, or FIRST; None without a case."""
    if not len(cases):
        return None
    frequent = [form for form, _ in Counter(places.form[cases.keys].tolist()).most_common(WORDS_TRIED)]
    frequent.append(FIRST)
    counts = [right_by_word(cases, places, form).sum() for form in frequent]
    return frequent[int(np.argmax(counts))]


def right_by_word(cases: Cases, places: Places, form: int) -> "np.ndarray":
    """Of each case, whether the nearest place with this form, the query itself left out, is right; of FIRST, the first place of the
    text."""
    if form == FIRST:
        return cases.any(cases.keys == np.searchsorted(places.text, cases.text_of_pair))
    there = np.flatnonzero(places.form == form)
    if not len(there):
        return np.zeros(len(cases), dtype=bool)
    query = cases.queries
    before, after = np.searchsorted(there, query) - 1, np.searchsorted(there, query, side="right")
    sides = []
    for index, allowed in ((before, True), (after, not places.causal)):
        place = there[index.clip(0, len(there) - 1)]
        valid = (index >= 0) & (index < len(there)) & (places.text[place] == places.text[query]) & allowed
        sides.append((place, np.where(valid, np.abs(place - query), np.iinfo(np.int64).max)))
    (left, near), (right, far) = sides
    nearest = np.where(near <= far, left, right)
    exists = np.minimum(near, far) < np.iinfo(np.int64).max
    return cases.any(exists & (nearest == cases.keys))
