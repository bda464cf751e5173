"""The sentence of a query in two traces: what changed from A to B. The page writes the same one (scene/pair-sentence.ts)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from attnscope.text.format import percent
from attnscope.text.spelling import Label, named
from attnscope.views.sentences.labels import Part, Token

ALIKE = 0.0005  # less weight than this does not count as moved
MENTIONED = 0.01


@dataclass(frozen=True)
class Side:
    """One trace's row of weights along the merged row of keys: None at keys that its text does not have."""

    weights: Sequence[float | None]
    masked: Sequence[bool]


@dataclass(frozen=True)
class PairRow:
    """One query of one head in both traces. a, b: None where a text has no such query. pinned: the key to speak of; None:
    what grew most and what shrank most. own: the position of the query among the keys, None in cross-attention."""

    who: Label
    keys: Sequence[Label]
    a: Side | None
    b: Side | None
    own: int | None = None
    pinned: int | None = None


def sentence_of_pair(row: PairRow) -> list[Part]:
    """Its parts, in order."""
    who, a, b = Token(named(row.who)), row.a, row.b
    if a is None or b is None:
        there = "A" if a is not None else "B" if b is not None else None
        said = f" is a query only in {there}: there is nothing to compare it with." if there else " is no query here."
        return [who, said]
    moved = [(after or 0.0) - (before or 0.0) for before, after in zip(a.weights, b.weights, strict=True)]
    if any(map(math.isnan, moved)):
        return [who, " has weights that are not numbers in one of the two."]
    half = sum(map(abs, moved)) / 2
    if half < ALIKE:
        return [who, " attends alike in A and in B: no weight differs by more than 0.1 %."]
    order = sorted(range(len(moved)), key=lambda j: -abs(moved[j]))
    first = order[0] if row.pinned is None else row.pinned
    parts: list[Part] = [who, " attends to ", _token(row, first), f" with {_both(a, b, first)}"]
    if row.pinned is None:
        other = next((j for j in order if j != first and _sign(moved[j]) == -_sign(moved[first])), None)
        if other is not None and abs(moved[other]) >= MENTIONED:
            parts += [", to ", _token(row, other), f" with {_both(a, b, other)}"]
    parts.append(f". {percent(half)} of its weight has moved.")
    return parts


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)


def _both(a: Side, b: Side, j: int) -> str:
    if a.weights[j] is None:
        return f"{_weight(b, j)} in B, which alone has it"
    if b.weights[j] is None:
        return f"{_weight(a, j)} in A, which alone has it"
    return f"{_weight(a, j)} in A and {_weight(b, j)} in B"


def _weight(side: Side, j: int) -> str:
    weight = side.weights[j]
    if weight is None:
        return "not there"
    return "nothing (masked)" if side.masked[j] else percent(weight)


def _token(row: PairRow, j: int) -> Part:
    if j == row.own:
        return "itself"
    again = any(other.text == row.keys[j].text for i, other in enumerate(row.keys) if i != j)
    return Token(named(row.keys[j]), j if again else None)
