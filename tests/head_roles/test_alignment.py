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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Der Müller fährt zum Bäcker.", "Der Müller fährt zum Bäcker ."),
        ("猫在垫子上睡觉。", "猫 在 垫子 上 睡觉 。"),  # no spaces; words of several letters
        ("Кошка спит на коврике!", "Кошка спит на коврике !"),
        ("बिल्ली चटाई पर सोती है।", "बिल्ली चटाई पर सोती है ।"),  # vowel signs are marks of their own
    ],
)
def test_words_of_other_languages_than_english(demo, text, words):
    """A tokenizer of English, which strips accents and spells such words in pieces: every word has its own tokens and no other."""
    spans, at = [], 0
    for word in words.split():
        at = text.index(word, at)
        spans.append((at, at + len(word)))
        at += len(word)
    read = demo[1](text, return_offsets_mapping=True, return_special_tokens_mask=True)
    found = align(text, spans, read["offset_mapping"], [bool(flag) for flag in read["special_tokens_mask"]])
    assert found.words == (*range(len(spans)),)
    assert found.merged == 0
    for (start, stop), unit in zip(read["offset_mapping"], found.tokens, strict=True):
        if unit < 0:
            assert start == stop
        else:
            assert spans[unit][0] <= start < stop <= spans[unit][1]
    assert {*found.tokens} == {-1, *range(len(spans))}
