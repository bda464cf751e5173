"""Weights by word and without special tokens, computed with numpy from the weights by token: what a page must show."""

import numpy as np


def groups(
    tokens, words: bool, hide_special: bool, keep: int | None = None, segment: int | None = None
) -> list[list[int]]:
    """Tokens that are drawn as one, in order."""
    out: list[list[int]] = []
    before = None
    for i, word in enumerate(tokens.words):
        if i != keep and (
            (hide_special and tokens.special[i]) or (segment is not None and tokens.segments[i] != segment)
        ):
            before = None
            continue
        this = (word, tokens.segments[i])
        if words and word is not None and this == before:
            out[-1].append(i)
        else:
            out.append([i])
        before = this
    return out


def merged(weights: np.ndarray, queries: list[list[int]], keys: list[list[int]]) -> np.ndarray:
    """[Q, K] -> weights summed into a group as keys, averaged out of it as queries."""
    by_key = np.stack([weights[:, group].sum(1) for group in keys], 1)
    return np.stack([by_key[group].mean(0) for group in queries])
