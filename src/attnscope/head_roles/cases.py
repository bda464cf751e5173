"""What is asked of a head: of which query, which keys would be right."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

TO_HEAD, TO_DEPENDENT = "dependent to head", "head to dependent"


@dataclass(frozen=True)
class Task:
    """A relation in one direction, or another rule that names the right keys of a query.

    `kind`: "relation" of a treebank; "link", a relation of the user's own; "token", of which tokens stand where; "probe", on random tokens. `does`: what a head
    that has the role does, as people read it. `positional`: the rule names a place, so that no offset can be a baseline.
    `by_weight`: the mean weight on the right keys decides, and not how often the top key is one. `enough`: how much of that
    a head needs. `source`: whose rule it is. `against`: what the baseline is, where it is no fixed offset. `least_weight`: the mean
    weight on the right keys that a head needs beside that.
    """

    relation: str
    direction: str
    kind: str
    does: str
    positional: bool = False
    by_weight: bool = False
    enough: float = 0.0
    source: str = ""
    against: str = ""
    least_weight: float = 0.0


@dataclass(frozen=True, eq=False)
class Cases:
    """Queries with their right keys, positions in all texts together: pair number i says that key `keys[i]` is right for
    query `queries[i]` of case `case[i]`, from 0 in order. `text`: of each case, which text it is of."""

    queries: "np.ndarray"
    keys: "np.ndarray"
    case: "np.ndarray"
    text: "np.ndarray"

    def __len__(self) -> int:
        return len(self.text)

    @cached_property
    def _starts(self) -> "np.ndarray":
        return np.searchsorted(self.case, np.arange(len(self)))

    @property
    def first_queries(self) -> "np.ndarray":
        """The query of each case."""
        return self.queries[self._starts]

    @property
    def text_of_pair(self) -> "np.ndarray":
        """Which text each pair is of."""
        return self.text[self.case] if len(self) else self.case

    def any(self, pairs: "np.ndarray") -> "np.ndarray":
        """Whether one of a case's pairs is true. `pairs`: [..., pairs] -> [..., cases]."""
        if not len(self):
            return np.zeros((*pairs.shape[:-1], 0), dtype=bool)
        return np.logical_or.reduceat(pairs, self._starts, axis=-1)

    def among(self, texts: "np.ndarray") -> "Cases":
        """The cases of some texts. `texts`: whether a text is one of them."""
        return self.that_are(texts[self.text_of_pair]) if len(self) else self

    def that_are(self, pairs: "np.ndarray") -> "Cases":
        """Those pairs alone, and the cases that still have one."""
        return Cases(self.queries[pairs], self.keys[pairs], _renumbered(self.case[pairs]), self.text[self.any(pairs)])


class CaseList:
    """Collects cases, text by text."""

    def __init__(self) -> None:
        self._queries: list[int] = []
        self._keys: list[int] = []
        self._case: list[int] = []
        self._text: list[int] = []

    def add(self, text: int, query: int, keys: Iterable[int]) -> None:
        """A case, positions in all texts together."""
        for key in keys:
            self._queries.append(query)
            self._keys.append(key)
            self._case.append(len(self._text))
        self._text.append(text)

    def cases(self) -> Cases:
        """What was collected."""
        return Cases(*(np.array(x, dtype=np.int64) for x in (self._queries, self._keys, self._case, self._text)))


def relation_cases(
    arcs: Sequence[Sequence[tuple[int, int, str]]], units: Sequence[Sequence[int]], starts: Sequence[int]
) -> dict[tuple[str, str], Cases]:
    """Both directions of every relation. `arcs`: of each sentence (dependent, head, relation) by word; `units`: the unit of
    each word, −1 where it has none; `starts`: where the units of each sentence begin in all texts together.

    From a dependent to its head: one case for each dependent. From a head to its dependent: one case for each head, in which
    any of its dependents of that relation is right.
    """
    found: dict[tuple[str, str], CaseList] = defaultdict(CaseList)
    for text, (of_sentence, unit, start) in enumerate(zip(arcs, units, starts, strict=True)):
        dependents: dict[tuple[str, int], list[int]] = defaultdict(list)
        for dependent, head, relation in of_sentence:
            low, high = unit[dependent], unit[head]
            if low < 0 or high < 0 or low == high:
                continue
            found[relation, TO_HEAD].add(text, start + low, [start + high])
            dependents[relation, high].append(start + low)
        for (relation, head), lows in dependents.items():
            found[relation, TO_DEPENDENT].add(text, start + head, sorted(set(lows)))
    return {place: collected.cases() for place, collected in found.items()}


def _renumbered(case: "np.ndarray") -> "np.ndarray":
    """The cases that are left, counted from 0 again."""
    return np.unique(case, return_inverse=True)[1].astype(np.int64)
