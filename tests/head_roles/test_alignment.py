"""Tokens as words: sums into a word, means out of it, and what a token straddles."""

import numpy as np
import pytest
import torch

from attnscope.head_roles.alignment import align


def test_a_word_receives_the_sum_and_gives_the_mean():
    text = "the painters sat"
    found = align(
        text,
        [(0, 3), (4, 12), (13, 16)],
        [(0, 0), (0, 3), (4, 9), (9, 12), (13, 16), (0, 0)],
        [True, *[False] * 4, True],
    )
    assert found.tokens == (-1, 0, 1, 1, 2, -1)
    assert found.words == (0, 1, 2)
    weights = torch.rand(5, 6, 6, generator=torch.Generator().manual_seed(1))
    by_hand = np.zeros((5, 3, 3))
    groups = [[1], [2, 3], [4]]
    for head in range(5):
        for q, queries in enumerate(groups):
            for k, keys in enumerate(groups):
                by_hand[head, q, k] = np.mean([sum(float(weights[head, i, j]) for j in keys) for i in queries])
    torch.testing.assert_close(found.by_unit(weights), torch.tensor(by_hand).float())


@pytest.mark.parametrize(
    ("text", "words", "tokens", "of_tokens", "of_words"),
    [
        ("don't", [(0, 2), (2, 5)], [(0, 3), (3, 4), (4, 5)], (0, 0, 0), (0, 0)),  # a token straddles both words
        ("au fond", [(0, 2), (0, 2), (3, 7)], [(0, 2), (2, 7)], (0, 1), (0, 0, 1)),  # two words are written as one
        (
            "a b",
            [(0, 1), (2, 3)],
            [(0, 1), (1, 2), (1, 3)],
            (0, -1, 1),
            (0, 1),
        ),  # a token of a space, one with its space
        (
            "x 猫 y",
            [(0, 1), (2, 3), (4, 5)],
            [(0, 1), (2, 3), (2, 3)],
            (0, 1, 1),
            (0, 1, -1),
        ),  # parts of a letter; a word cut off
    ],
)
def test_tokens_that_do_not_follow_the_words(text, words, tokens, of_tokens, of_words):
    found = align(text, words, tokens, [False] * len(tokens))
    assert found.tokens == of_tokens
    assert found.words == of_words
