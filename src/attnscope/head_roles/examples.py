"""Examples of a role: sentences of the reported half, of which one was found best, one found and one missed at random."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnscope.head_roles.texts import Text

STRONGEST, FOUND, MISSED = "found, strongest", "found, at random", "missed, at random"


@dataclass(frozen=True)
class Chosen:
    """A case by numbers: which text, and the places of the query, of the key with the largest weight, and of the right ones,
    within the text. `weight`: the largest."""

    kind: str
    text: int
    query: int
    top: int
    right: tuple[int, ...]
    weight: float


@dataclass(frozen=True)
class Example:
    """A case to read. `pieces`: the text in order, each piece with its place, −1 between the places. `query_token`,
    `key_token`: positions among the tokens, for a view. `text`: the sentence; None where only `inputs` are known."""

    kind: str
    pieces: tuple[tuple[str, int], ...]
    query: int
    top: int
    right: tuple[int, ...]
    weight: float
    query_token: int
    key_token: int
    text: str | None = None
    inputs: dict[str, list[int]] = field(default_factory=dict, repr=False)


def choose(
    name: str, hits: "np.ndarray", strength: "np.ndarray", top: "np.ndarray", cases: Any, starts: "np.ndarray"
) -> tuple[Chosen, ...]:
    """Of the cases: the found one with the largest weight, another one found, and one missed, as far as there are any.

    `name`: of the role and its head, from which chance is drawn, so that it draws the same again. `hits`: of each case
    whether it was found. `strength`, `top`: of each case the largest weight and its key.
    """
    draw = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    found, missed = np.flatnonzero(hits), np.flatnonzero(~hits & (top >= 0))
    picked: list[tuple[str, int]] = []
    if len(found):
        best = int(found[np.argmax(strength[found])])
        picked.append((STRONGEST, best))
        if len(others := found[found != best]):
            picked.append((FOUND, int(draw.choice(others))))
    if len(missed):
        picked.append((MISSED, int(draw.choice(missed))))
    return tuple(_numbers(kind, case, strength, top, cases, starts) for kind, case in picked)


def _numbers(
    kind: str, case: int, strength: "np.ndarray", top: "np.ndarray", cases: Any, starts: "np.ndarray"
) -> Chosen:
    pairs = np.flatnonzero(cases.case == case)
    text = int(cases.text[case])
    start = int(starts[text])
    right = tuple(int(key) - start for key in cases.keys[pairs])
    return Chosen(
        kind, text, int(cases.queries[pairs[0]]) - start, int(top[case]) - start, right, float(strength[case])
    )


def readable(chosen: Iterable[Chosen], texts: Sequence[Text], tokenizer: Any, by_word: bool) -> tuple[Example, ...]:
    """The same with words, or with tokens where places are tokens."""
    return tuple(_readable(one, texts[one.text], tokenizer, by_word) for one in chosen)


def _readable(one: Chosen, text: Text, tokenizer: Any, by_word: bool) -> Example:
    sentence, alignment = text.sentence, text.alignment
    if by_word and sentence is not None and alignment is not None:
        pieces, end = [], 0
        for (start, stop), unit in zip(sentence.spans, alignment.words, strict=True):
            if start > end:
                pieces.append((sentence.text[end:start], -1))
            pieces.append((sentence.text[max(start, end) : stop], unit))
            end = max(end, stop)
        tokens = [alignment.tokens.index(place) for place in (one.query, one.top)]
    else:
        pieces = []
        for place, number in enumerate(text.ids):
            pieces += [(" ", -1), (tokenizer.decode([number]).strip() or "␣", place)]
        tokens = [one.query, one.top]
    return Example(
        one.kind,
        tuple(pieces),
        one.query,
        one.top,
        one.right,
        one.weight,
        *tokens,
        text=None if sentence is None else sentence.text,
        inputs=text.inputs,
    )
