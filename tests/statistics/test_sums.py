"""The sums over blocks of queries against all weights at once, in fp64, over the kinds of attention there are."""

import pickle
from dataclasses import replace

import pytest
import torch

from attnscope.statistics import rows
from attnscope.statistics.compute import Sums, sums_of
from attnscope.statistics.pairs import Pairs
from attnscope.statistics.rows import Rows
from attnscope.statistics.totals import Totals
from attnscope.tracing.tokens import Tokens
from closeness import close
from head_cases import CASES, QUERIES, assert_numbers, made, numbers_of, tokens_of


@pytest.fixture(params=["one block", "small blocks"])
def blocks(request, monkeypatch):
    """As they are, and so small that queries and heads come in several."""
    if request.param == "small blocks":
        monkeypatch.setattr(rows, "CELLS", 11 * QUERIES)
        monkeypatch.setattr(rows, "FEWEST_ROWS", 5)


@pytest.mark.exactness
@pytest.mark.parametrize("case", CASES)
def test_every_number_is_that_of_all_weights_at_once(case, blocks):
    site = CASES[case]()
    assert_numbers(site, numbers_of(site))


@pytest.mark.parametrize("case", ["causal", "grouped, with sinks", "NaN and infinities", "weights alone"])
def test_runs_of_other_processes_merge_to_the_whole(case, blocks):
    """In any order, after a journey as bytes."""
    site = CASES[case]()
    pairs = Pairs(site, tokens_of(QUERIES), tokens_of(QUERIES))
    whole = sums_of(site, pairs, 17)
    parts = [sums_of(site, pairs, 17, slice(*run)) for run in ((41, 61), (0, 13), (13, 41))]
    merged: Sums = pickle.loads(pickle.dumps(parts[0]))
    for part in parts[1:]:
        merged.merge(pickle.loads(pickle.dumps(part)))
    one, other = merged.finish(), whole.finish()
    assert one.statistics.keys() == other.statistics.keys()
    for name, values in one.statistics.items():
        assert close([v or 0 for v in values], [v or 0 for v in other.statistics[name]], magnitude=20.0), name
    assert [link and link[:2] for link in one.links] == [link and link[:2] for link in other.links]
    assert close(one.received, other.received)
    assert close(one.peaks.weight, other.peaks.weight)
    assert torch.equal(one.patches.visible, other.patches.visible)
    assert close(one.patches.pooled, other.patches.pooled)


def test_texts_of_different_lengths_add_up():
    """The mean over the queries of both texts, not the mean of two means."""
    totals, values = Totals(), []
    for length in (23, QUERIES):
        site = made(queries=length, keys=length)
        totals.merge(sums_of(site, Pairs(site, tokens_of(length), tokens_of(length)), 5).totals)
        values.append([-(w * w.log()).sum(-1) for w in site.weights().double()])
    expected = [float(torch.cat([short, long]).mean()) for short, long in zip(*values, strict=True)]
    assert close(totals.means()["entropy"], expected)


def test_equal_weights_go_to_the_first_query_and_key():
    site = made(queries=29, keys=29)
    site = replace(site, q=torch.zeros_like(site.q))
    plain = Tokens(tuple(f"t{i}" for i in range(29)))
    found = sums_of(site, Pairs(site, plain, plain), 5).finish()
    assert [link[:2] for link in found.links] == [(0, 1)] * 3


def test_memory_does_not_grow_with_the_square_of_the_text(monkeypatch):
    monkeypatch.setattr(rows, "CELLS", 1 << 12)
    site = made(1, 1, 2003, 2003)
    reader = Rows(site)
    runs = list(reader.runs(slice(0, 2003)))
    assert len(runs) == -(-2003 // rows.FEWEST_ROWS)
    next(reader.blocks(*runs[0]))
    assert sum(memory.nbytes for memory in reader._memory) == 2 * 4 * rows.FEWEST_ROWS * 2003
