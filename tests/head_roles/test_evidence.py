"""Intervals and tests against what enumeration and published numbers give."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from attnscope.head_roles.cases import CaseList
from attnscope.head_roles.evidence import holm, sign_flip_p, wilson
from attnscope.head_roles.judge import _slice
from attnscope.head_roles.looking import Looks


def by_enumeration(differences):
    total = sum(differences)
    signs = itertools.product((1, -1), repeat=len(differences))
    sums = [sum(s * d for s, d in zip(flips, differences, strict=True)) for flips in signs]
    return sum(s >= total for s in sums) / len(sums)


@pytest.mark.properties
@given(st.lists(st.integers(-4, 4), max_size=9))
def test_the_p_value_is_that_of_all_flips(differences):
    assert sign_flip_p(differences) == pytest.approx(by_enumeration(differences), abs=1e-12)


def test_the_p_value_of_many_clusters_is_the_binomial_tail():
    wins, losses = 713, 587
    tail = sum(math.comb(wins + losses, k) for k in range(wins, wins + losses + 1)) / 2 ** (wins + losses)
    assert sign_flip_p([1] * wins + [-1] * losses + [0] * 90) == pytest.approx(tail, rel=1e-9)


@pytest.mark.properties
@given(st.integers(1, 2000), st.data())
def test_wilson_holds_the_shares_that_would_not_be_rejected(cases, data):
    hits = data.draw(st.integers(0, cases))
    low, high = wilson(hits, cases)
    assert 0 <= low <= hits / cases <= high <= 1
    for bound in (low, high):  # where the share is 1.96 standard errors of the bound away
        if 0 < bound < 1:
            assert abs(hits / cases - bound) == pytest.approx(
                1.959964 * math.sqrt(bound * (1 - bound) / cases), rel=1e-4
            )


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert wilson(0, 0) == (0.0, 1.0)


def test_which_part_of_a_heads_links_is_of_its_role():
    """23 places, two of them no queries: of 21 links five are of the role, among them one of the two strongest."""
    top = np.stack([np.full(23, 22), (np.arange(23) + 1) % 23]).astype(np.int32)
    strength = np.stack([np.zeros(23), np.linspace(0.1, 0.9, 23)]).astype(np.float32)
    queries = np.delete(np.arange(23), [4, 22])
    role = CaseList()
    for query in (1, 3, 7, 13, 20):
        role.add(query // 12, query, [query - 1, query + 1])
    role.add(0, 4, [5])  # a case of a place that is no query here
    role.add(0, 6, [8])  # the head looks elsewhere
    found = _slice(Looks(((0, 0), (0, 1)), top, strength, np.zeros((2, 1))), 1, role.cases(), queries)
    assert found == (1 / 2, 5 / 21)
    assert _slice(Looks(((0, 0),), top[:1], strength[:1], np.zeros((1, 1))), 0, role.cases(), queries)[1] == 0.0
