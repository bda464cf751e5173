"""Intervals and tests against what enumeration and published numbers give."""

import itertools
import math

import pytest
from hypothesis import given, strategies as st

from attnscope.head_roles.evidence import holm, sign_flip_p, wilson


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
