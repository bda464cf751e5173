"""Tokens of a sentence as words of its treebank: what a split word receives is added up, what it gives is averaged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Alignment:
    """Which unit every token and every word of a sentence is of; −1: none. A unit is a word, or several words that a token
    straddles or that are written as one. `units`: how many. `merged`: how many words stand in a unit with others."""

    tokens: tuple[int, ...]
    words: tuple[int, ...]
    units: int
    merged: int

    def by_unit(self, weights: Float[Tensor, "n T T"]) -> Float[Tensor, "n U U"]:
        """Weights between tokens as weights between units: the sum over the tokens of a key, the mean over those of a query
        (Clark et al. 2019). Tokens of no unit, special ones among them, are left out."""
        belongs = torch.zeros(len(self.tokens), self.units)
        for token, unit in enumerate(self.tokens):
            if unit >= 0:
                belongs[token, unit] = 1.0
        rows = (belongs / belongs.sum(0).clamp_min(1)).T
        return rows @ (weights @ belongs)


def align(
    text: str, words: Sequence[tuple[int, int]], tokens: Sequence[tuple[int, int]], special: Sequence[bool]
) -> Alignment:
    """Tokens and words by the characters that they cover. `words`, `tokens`: (start, end) in `text`."""
    letters = np.array([not character.isspace() for character in text], dtype=bool)
    owner = np.full(len(text), -1)
    joined = list(range(len(words)))

    def root(word: int) -> int:
        while joined[word] != word:
            word = joined[word]
        return word

    for number, (start, stop) in enumerate(words):
        for other in {int(o) for o in owner[start:stop] if o >= 0}:
            joined[root(number)] = root(other)
        owner[start:stop] = number
    covered: list[int] = []
    for (start, stop), marker in zip(tokens, special, strict=True):
        inside = owner[start:stop][letters[start:stop]]
        touched = sorted({int(word) for word in inside if word >= 0}) if not marker else []
        for other in touched[1:]:
            joined[root(other)] = root(touched[0])
        covered.append(touched[0] if touched else -1)
    seen = {root(word) for word in covered if word >= 0}
    order: dict[int, int] = {}
    for word in range(len(words)):
        if root(word) in seen:
            order.setdefault(root(word), len(order))
    of_words = tuple(order.get(root(word), -1) for word in range(len(words)))
    of_tokens = tuple(-1 if word < 0 else order[root(word)] for word in covered)
    sizes = np.bincount([unit for unit in of_words if unit >= 0], minlength=len(order))
    return Alignment(of_tokens, of_words, len(order), int(sizes[sizes > 1].sum()))
