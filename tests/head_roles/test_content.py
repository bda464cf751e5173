"""Content heads against a count by hand: words shuffled, transformers' own eager weights."""

import copy

import numpy as np
import pytest
import torch

import attnscope
from attnscope.head_roles import content
from attnscope.head_roles.halves import reported_half
from attnscope.head_roles.texts import read_plain

TEXTS = [
    "The old teacher quietly watched a small bird near the river.",
    "A doctor carried the heavy letter through an unimaginably cold garden.",
    "Every farmer liked the quiet painter, but nobody helped the baker.",
    "Two children found a blue engine beside the tall bridge yesterday.",
]


def test_a_shuffled_copy_keeps_words_whole_and_special_tokens_in_place(demo):
    texts, _ = read_plain(demo[1], TEXTS, None)
    for number, text in enumerate(texts):
        moved = content._shuffled(text, number)
        assert sorted(moved.text.ids) == sorted(text.ids)
        assert [moved.text.ids[0], moved.text.ids[-1]] == [text.ids[0], text.ids[-1]]
        assert moved.text.ids != text.ids
        assert [moved.text.ids[place] for place in moved.now] == text.ids
        for place in range(1, len(text) - 2):
            if text.words[place] == text.words[place + 1]:
                assert moved.now[place + 1] == moved.now[place] + 1, "the tokens of a word stay together"


def test_cases_are_counted_as_by_hand(demo):
    model, tokenizer = demo
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    texts, _ = read_plain(tokenizer, TEXTS, None)
    reported = reported_half([text.document for text in texts], [len(text) for text in texts])
    cases, same_word, same_offset = (np.zeros((2, 72), dtype=int) for _ in range(3))
    for number, text in enumerate(texts):
        moved = content._shuffled(text, number)
        with torch.no_grad():
            tops = [
                torch.stack(eager(input_ids=torch.tensor([ids]), output_attentions=True).attentions)[:, 0]
                .argmax(-1)
                .flatten(0, 1)
                for ids in (text.ids, moved.text.ids)
            ]
        for head in range(72):
            for query in range(1, len(text) - 1):
                key = int(tops[0][head, query])
                now, then = int(moved.now[query]), int(moved.now[key])
                if key in (0, query, len(text) - 1) or then - now == key - query:
                    continue
                found = int(tops[1][head, now])
                half = int(reported[number])
                cases[half, head] += 1
                same_word[half, head] += moved.text.ids[found] == text.ids[key]
                same_offset[half, head] += found - now == key - query
    table = attnscope.roles(model, tokenizer, corpus=TEXTS)
    rows = [row for row in table.by_head if row.relation == "content"]
    assert len(rows) == 72
    for row in rows:
        head = 12 * row.layer + row.head
        assert (row.n, row.chosen_n) == (cases[1, head], cases[0, head])
        if row.n:
            assert row.accuracy == pytest.approx(same_word[1, head] / row.n)
            assert row.baseline_accuracy == pytest.approx(same_offset[1, head] / row.n)
