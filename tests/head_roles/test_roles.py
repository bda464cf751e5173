"""The table against a count by hand, on models that have no roles, and on heads whose role is known."""

import copy
import json
import random

import numpy as np
import pytest
import torch

import attnscope
import tiny_models
from attnscope.errors import InputError
from attnscope.head_roles.halves import reported_half
from attnscope.head_roles.treebank import Sentence, Treebank, read_treebank
from attnscope.models.language import language_note
from small_treebank import REAL, sentences

KEYS = "layer head relation direction accuracy low high n baseline_offset baseline_accuracy p_adjusted".split()


pytestmark = pytest.mark.usefixtures("few_probes")
RELATIONS = ("nsubj", "obj")


@pytest.fixture(scope="module")
def by_hand(demo, treebank):
    """Of each relation, half and head: hits and cases from dependent to head, by transformers' own eager weights."""
    model, tokenizer = demo
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    half = reported_half([s.document for s in treebank.sentences], [len(s.spans) for s in treebank.sentences])
    hits, cases = np.zeros((2, 2, 6, 12), dtype=int), np.zeros((2, 2), dtype=int)
    for sentence, reported in zip(treebank.sentences, half, strict=True):
        read = tokenizer(sentence.text, return_tensors="pt", return_offsets_mapping=True)
        offsets = read.pop("offset_mapping")[0].tolist()
        pieces = [
            [t for t, (a, b) in enumerate(offsets) if a < b and a < stop and b > start]
            for start, stop in sentence.spans
        ]
        with torch.no_grad():
            weights = torch.stack(eager(**read, output_attentions=True).attentions)[:, 0]  # [layers, heads, T, T]
        for dependent, head, name in sentence.arcs:
            if name not in RELATIONS:
                continue
            which = RELATIONS.index(name), int(reported)
            row = torch.stack([weights[:, :, pieces[dependent]][..., keys].sum(-1).mean(-1) for keys in pieces], -1)
            row[..., dependent] = -1
            hits[which] += (row.argmax(-1) == head).numpy()
            cases[which] += 1
    return dict(zip(RELATIONS, zip(hits, cases, strict=True), strict=True))


@pytest.mark.exactness
@pytest.mark.slow
@pytest.mark.parametrize("relation", RELATIONS)
def test_a_relation_is_counted_as_by_hand(by_hand, table, relation):
    (row,) = [r for r in table if r.relation == relation and r.direction == "dependent to head"]
    hits, cases = by_hand[relation]
    best = hits[0].argmax()
    assert (row.layer, row.head) == tuple(np.unravel_index(best, (6, 12)))
    assert row.n == cases[1]
    assert row.chosen_accuracy == pytest.approx(hits[0].max() / cases[0])
    assert row.accuracy == pytest.approx(hits[1].reshape(-1)[best] / cases[1])
    every = {(r.layer, r.head): r.accuracy for r in table.by_head if r.task == row.task}
    for layer, head in ((0, 3), (5, 11), (2, 8)):
        assert every[layer, head] == pytest.approx(hits[1][layer, head] / cases[1])


def test_p_values_are_corrected_for_all_rows_of_the_table(table):
    """Relations, copies and content together, by Holm's definition: the largest so far of (m − rank) · p."""
    for rows in (table.rows, table.by_head):
        tested = sorted((row.p, row.p_adjusted) for row in rows if row.p is not None)
        assert len({row.task.kind for row in rows if row.p is not None}) > 1
        largest = 0.0
        for rank, (p, adjusted) in enumerate(tested):
            largest = max(largest, min(1.0, (len(tested) - rank) * p))
            assert adjusted == pytest.approx(largest, rel=1e-12)


def test_heads_of_the_demo_model_link_objects_and_subjects_to_their_verbs(table):
    claimed = {(r.relation, r.direction): r for r in table.claimed}
    for relation in ("nsubj", "obj"):
        row = claimed[relation, "dependent to head"]
        assert row.layer == 2
        assert row.accuracy > row.baseline_accuracy + 0.1
        assert row.low < row.accuracy < row.high
        assert row.p_adjusted < 0.001
    assert "links" in table.sentences()[0]


def test_the_heads_of_subjects_and_objects_hold_on_a_treebank_that_was_kept_back(demo, table, tmp_path):
    """Other sentences, of another seed, in which nothing was chosen."""
    (tmp_path / "kept.conllu").write_text(sentences(60, seed=29))
    kept = attnscope.roles(*demo, treebank=tmp_path / "kept.conllu", every=True)
    for row in table:
        if (row.relation, row.direction) in [(relation, "dependent to head") for relation in RELATIONS]:
            (again,) = [r for r in kept.by_head if (r.task, r.name) == (row.task, row.name)]
            assert again.low <= row.accuracy <= again.high
            assert again.accuracy > again.baseline_accuracy + 0.1


def test_rows_as_json_and_as_a_frame(table):
    rows = json.loads(table.to_json())
    assert len(rows) == len(table)
    assert list(rows[0])[: len(KEYS)] == KEYS
    assert len({(r["relation"], r["direction"]) for r in rows}) == len(rows)
    assert {r["effect"] for r in rows} == {None}
    frame = table.to_frame()
    assert frame["n"].tolist() == [r.n for r in table]
    every = json.loads(table.to_json(every=True))
    first = [r for r in every if r["relation"] == "obj" and r["direction"] == "dependent to head"]
    assert len(first) == 72
    chosen = [r["chosen_accuracy"] for r in first]
    assert chosen == sorted(chosen, reverse=True)


@pytest.mark.slow
def test_a_model_of_random_weights_earns_no_relation(demo, treebank):
    if REAL.exists():
        treebank = Treebank(read_treebank(REAL / "en_ewt-ud-dev.conllu").sentences[::10])
    model, tokenizer = demo
    twin = copy.deepcopy(model)
    torch.manual_seed(5)
    for module in twin.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
            torch.nn.init.normal_(module.weight, std=0.02)
    table = attnscope.roles(twin, tokenizer, treebank=treebank)
    assert [(r.relation, r.direction) for r in table.claimed if r.task.kind != "token"] == []


def test_shuffled_sentences_earn_no_relation(demo, treebank):
    draw = random.Random(7)

    def shuffled(sentence):
        order = list(range(len(sentence.spans)))
        draw.shuffle(order)
        words = [sentence.text[a:b] for a, b in sentence.spans]
        spans, at = [(0, 0)] * len(words), 0
        for word in order:
            spans[word] = (at, at + len(words[word]))
            at += len(words[word]) + 1
        # arcs are kept by place in the sentence: they now link words that have nothing to do with each other
        moved = [spans[order[place]] for place in range(len(words))]
        return Sentence(" ".join(words[w] for w in order), tuple(moved), sentence.arcs, sentence.document)

    broken = Treebank(tuple(shuffled(s) for s in treebank.sentences[::2]))
    table = attnscope.roles(*demo, treebank=broken)
    assert [r.relation for r in table.claimed if r.task.kind == "relation"] == []


def test_halves_are_split_by_document_and_about_equal():
    documents = [f"d{i}" for i in (0, 0, 0, 1, 2, 2, 3, 4, 4, 5, 6)]
    sizes = [9, 2, 7, 11, 3, 5, 8, 13, 1, 6, 4]
    half = reported_half(documents, sizes)
    for document in set(documents):
        assert len({bool(h) for d, h in zip(documents, half, strict=True) if d == document}) == 1
    assert abs(np.dot(sizes, half) - np.dot(sizes, ~half)) <= 5
    alone = reported_half(["x"] * 5, [3, 3, 3, 3, 3])
    assert 0 < alone.sum() < 5


def test_too_few_cases_claim_nothing(demo, treebank):
    few = Treebank(treebank.sentences[:12])
    table = attnscope.roles(*demo, treebank=few)
    assert [r for r in table.claimed if r.task.kind == "relation"] == []
    assert any(r.n < 20 and r.p_adjusted is None for r in table)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"corpus": "one text"}, "list of texts"),
        ({"corpus": [" "]}, "fewer than two"),
        ({"corpus": [3]}, "list of texts"),
    ],
)
def test_a_corpus_that_is_none_is_refused(demo, given, message):
    with pytest.raises(InputError, match=message):
        attnscope.roles(*demo, **given)


def test_texts_in_another_language_are_noted():
    table = attnscope.roles(tiny_models.model("bert"), tiny_models.tokenizer(), corpus=["猫 坐 在 the 垫 子"] * 4)
    assert "83.3 % of the tokens are unknown to the tokenizer" in table.notes[0]


def test_tokenizers_of_bytes_know_everything_and_split_it_small():
    note = language_note(40, 0, 17)
    assert note.startswith("The tokenizer makes 40 tokens of 17 characters: the texts may be in another language")
    assert language_note(17, 1, 17) == ""


def test_a_slow_tokenizer_is_refused(demo, treebank):
    class Slow:
        is_fast = False

        def __call__(self, text, **_):
            return {"input_ids": [1, 2]}

    with pytest.raises(InputError, match="fast one"):
        attnscope.roles(demo[0], Slow(), treebank=treebank)


@pytest.mark.slow
def test_checkpoints_give_a_curve_a_head(demo, treebank):
    model, tokenizer = demo
    start = copy.deepcopy(model)
    torch.manual_seed(2)
    for module in start.encoder.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.02)
    few = Treebank(treebank.sentences[::4])
    curves = attnscope.roles({"random": start, "trained": model}, tokenizer, treebank=few)
    before, after = curves.curve("obj", "dependent to head")
    assert (before.layer, before.head) == (after.layer, after.head)
    assert before.accuracy < after.accuracy
    assert set(curves.to_frame()["checkpoint"]) == {"random", "trained"}
    assert "random" in curves.sentences()[0]
    with pytest.raises(InputError, match="fits 2"):
        curves.curve("obj")
    with pytest.raises(InputError, match="no head"):
        curves.curve("obj", "dependent to head", "L9H9")
    with pytest.raises(InputError, match="empty list"):
        attnscope.roles([], tokenizer)


def test_a_tokenizer_of_another_model_is_refused(demo, treebank):
    with pytest.raises(InputError, match="does not fit this model"):
        attnscope.roles(tiny_models.model("gpt2"), demo[1], treebank=treebank)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_models_of_other_kinds(kind, treebank):
    """A causal one sees no later word; of an encoder-decoder model the encoder is looked at."""
    model = tiny_models.model(kind)
    few = Treebank(treebank.sentences[:40])
    table = attnscope.roles(model, tiny_models.tokenizer(), treebank=few)
    (case,) = [r for r in table if r.relation == "det" and r.direction == "dependent to head"]
    if kind == "t5":
        assert case.n > 0
    else:
        assert case.n == 0  # a determiner stands before its noun
        assert case.layer is None
    assert {r.layer for r in table.by_head} <= {*range(6)}
