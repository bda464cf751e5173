"""The table on a model whose heads are known, because their weights were written by hand: tests/helpers/known_heads.py."""

import pytest
import torch

import attnscope
import known_heads
from attnscope.head_roles.baselines import FIRST_WORD
from attnscope.head_roles.treebank import read_treebank


@pytest.fixture(scope="module")
def shipped():
    return attnscope.load(str(known_heads.FOLDER), task="text-generation")


@pytest.fixture(scope="module")
def treebank(tmp_path_factory):
    path = tmp_path_factory.mktemp("known") / "toy.conllu"
    path.write_text(known_heads.treebank(240), encoding="utf-8")
    return read_treebank(path)


@pytest.fixture(scope="module")
def table(shipped, treebank):
    return attnscope.roles(*shipped, treebank=treebank, every=True)


def test_every_head_has_the_badge_that_it_was_made_for_and_no_other(shipped, treebank, table):
    assert table.badges == known_heads.KNOWN
    assert attnscope.roles(*shipped, treebank=treebank).badges == known_heads.KNOWN, "of the best rows alone, the same"


def test_what_a_head_was_made_to_do_it_does_in_every_case(table):
    sure = {row.name: row.accuracy for row in table.claimed if row.relation != "content"}
    assert sure.pop("L1H0") == pytest.approx(1 - 1 / 48, abs=0.02)  # the first token of a text has none before it
    assert set(sure.values()) == {1.0}


def test_heads_of_places_stay_and_heads_of_words_follow(table):
    content = {row.name: row for row in table.by_head if row.relation == "content"}
    for name in ("L0H0", "L0H1"):
        assert content[name].baseline_accuracy > 0.95, "at the same offset after the shuffle"
        assert content[name].accuracy < 0.05
    for name in ("L1H1", "L1H2"):
        assert content[name].accuracy > 0.6, "the rest is what other words, now before the query, take away"
        assert content[name].baseline_accuracy < 0.1
    assert "L0H2" not in {name for name, row in content.items() if row.n}, (
        "a head that looks at the word itself has no case"
    )


def test_the_first_head_rests_on_the_first_word_and_so_it_knows_no_adverbs(table):
    """All adverbs that a verb of this grammar sees, and that are far from it, stand first in their sentence."""
    (row,) = [r for r in table.by_head if (r.relation, r.direction, r.name) == ("advmod", "head to dependent", "L0H3")]
    assert row.accuracy == row.baseline_word_accuracy
    assert row.baseline_word == FIRST_WORD
    assert not row.claimed


def test_the_shipped_weights_are_those_that_the_helper_writes(shipped):
    made = known_heads.model().state_dict()
    for name, value in shipped[0].state_dict().items():
        torch.testing.assert_close(value, made[name], rtol=0, atol=1e-3 * float(made[name].abs().max() + 1e-6))
    assert shipped[1].get_vocab() == known_heads.tokenizer().get_vocab()
    assert sum(file.stat().st_size for file in known_heads.FOLDER.iterdir()) < 2_000_000
