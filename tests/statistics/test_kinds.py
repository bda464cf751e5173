"""Rollout, distances between heads and the strongest pairs against all weights at once; the retrieval score by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from attnscope.errors import InputError
from attnscope.statistics import Sample, head_distances, retrieval, rollout, rows, top_pairs
from attnscope.statistics.kinds.head_distances import sample
from attnscope.statistics.kinds.retrieval import RetrievalSums
from attnscope.statistics.sink_tokens import set_aside
from attnscope.tracing.masks import MaskRule, causal_rule
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace
from head_cases import QUERIES, drawn, given, made, tokens_of

pytestmark = pytest.mark.exactness


def layered(**extras) -> Trace:
    """Four layers of grouped heads with other numbers each."""
    plain = made(6, 2, **extras)
    sites = [replace(plain, q=plain.q.roll(n, 1) * (1 + n / 3), layer=n) for n in range(4)]
    return Trace(tuple(sites), tokens_of(QUERIES))


@pytest.fixture(params=["one block", "small blocks"])
def blocks(request, monkeypatch):
    if request.param == "small blocks":
        monkeypatch.setattr(rows, "CELLS", 11 * QUERIES)
        monkeypatch.setattr(rows, "FEWEST_ROWS", 5)


def dense_rollout(trace: Trace) -> torch.Tensor:
    whole = torch.eye(QUERIES, dtype=torch.float64)
    for site in trace.sites:
        mixed = site.weights().double().mean(0) + torch.eye(QUERIES, dtype=torch.float64)
        whole = mixed / mixed.sum(-1, keepdim=True) @ whole
    return whole


@pytest.mark.parametrize(
    "extras",
    [
        {},
        {"mask": causal_rule(QUERIES, QUERIES)},
        {"mask": causal_rule(QUERIES, QUERIES, window=7)},
        {"sinks": drawn(6) * 2},
        {"mask": MaskRule(rows=torch.arange(QUERIES) != 8)},
    ],
    ids=["all", "causal", "window", "sinks", "a row without a key"],
)
def test_rollout_is_a_row_of_the_product_of_all_layers(extras, blocks):
    trace = layered(**extras)
    expected = dense_rollout(trace)
    for query in (0, 17, -1):
        assert torch.allclose(rollout(trace, query), expected[query], atol=1e-6)
    mean = rollout(trace)
    assert torch.allclose(mean, expected.mean(0), atol=1e-6)
    assert float(mean.sum()) == pytest.approx(1, abs=1e-12)


def test_rollout_never_holds_what_is_as_large_as_the_square_of_the_text(monkeypatch):
    monkeypatch.setattr(rows, "CELLS", 1 << 12)
    length, seen = 2003, []
    site = Site(*(torch.randn(2, length, 3) for _ in range(3)), 1.0)
    inner = torch.zeros
    monkeypatch.setattr(
        torch,
        "zeros",
        lambda *shape, **more: seen.append(math.prod(inner(*shape, **more).shape)) or inner(*shape, **more),
    )
    rollout(Trace((site,), Tokens(tuple(map(str, range(length))))), 5)
    assert max(seen) <= rows.FEWEST_ROWS * length


def test_rollout_says_what_it_cannot_go_through():
    trace = layered()
    with pytest.raises(InputError, match="every layer from 0 on"):
        rollout(trace.replace_sites(trace.sites[1:]))
    with pytest.raises(InputError, match="out of range"):
        rollout(trace, QUERIES)
    step = made(queries=19, mask=causal_rule(19, QUERIES, offset=QUERIES - 19))
    with pytest.raises(InputError, match="cached step"):
        rollout(Trace((step,), tokens_of(QUERIES)))
    with pytest.raises(InputError, match="has None"):
        rollout(trace, stack="decoder")


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    def to(a: np.ndarray, b: np.ndarray) -> float:
        return sum(x * math.log(x / y) for x, y in zip(a.tolist(), b.tolist(), strict=True) if x > 0)

    middle = (p + q) / 2
    return (to(p, middle) + to(q, middle)) / 2


@pytest.mark.parametrize("sinks", [False, True])
def test_distances_between_heads_are_those_of_their_rows(sinks):
    trace = layered(mask=causal_rule(QUERIES, QUERIES), **({"sinks": drawn(6)} if sinks else {}))
    found = head_distances(trace, queries=9)
    assert len(found.heads) == 24
    assert found.heads[7] == (1, 1)
    assert found.queries == tuple(sample(QUERIES, 9))
    assert len(set(found.queries)) == 9
    assert max(found.queries) < QUERIES
    all_rows = torch.cat([site.weights().double() for site in trace.sites]).numpy()
    if sinks:
        all_rows = np.concatenate([all_rows, 1 - all_rows.sum(-1, keepdims=True)], -1)
    for one, other in ((0, 1), (3, 20), (23, 22), (5, 5)):
        expected = np.mean([divergence(all_rows[one, i], all_rows[other, i]) for i in found.queries])
        assert float(found.distances[one, other]) == pytest.approx(expected, abs=1e-6)
    assert torch.equal(found.distances, found.distances.T)
    assert float(found.distances.max()) <= math.log(2)
    assert list(found.to_frame().columns)[8] == "L1H2"


def test_distances_leave_out_rows_without_weight_and_look_at_all_of_a_short_text():
    empty = head_distances(layered(mask=MaskRule(rows=torch.arange(QUERIES) != 8)), queries=1000)
    assert empty.queries == tuple(i for i in range(QUERIES) if i != 8)
    broken = head_distances(Trace((given(),), tokens_of(QUERIES)), queries=1000)
    assert 7 not in broken.queries
    assert bool(broken.distances.isfinite().all())
    with pytest.raises(InputError, match="number from 1"):
        head_distances(layered(), queries=0)
    with pytest.raises(InputError, match="same queries and keys"):
        head_distances(layered(), stack="encoder")


@pytest.mark.parametrize("extras", [{}, {"mask": causal_rule(QUERIES, QUERIES)}, {"mask": MaskRule(lower=-5, upper=9)}])
def test_the_strongest_pairs_are_those_of_all_weights(extras, blocks):
    trace = layered(**extras)
    tokens, site = trace.tokens, trace.sites[2]
    for head in (0, 5):
        weights = site.weights(head).clone()
        special = torch.tensor(tokens.special)
        weights[:, set_aside(trace, site)] = 0
        weights[special] = 0
        weights.fill_diagonal_(0)
        order = torch.argsort(-weights.flatten(), stable=True)[:12].tolist()
        found = top_pairs(trace, 2, head, most=12)
        assert [(pair.query, pair.key) for pair in found] == [divmod(at, QUERIES) for at in order]
        assert [pair.weight for pair in found] == pytest.approx(weights.flatten()[order].tolist(), abs=1e-6)
    pair = found[0]
    assert (pair.query_token, pair.key_token) == (tokens.shown[pair.query], tokens.shown[pair.key])
    assert f"[{pair.key_token}]" in pair.around_key
    assert len(pair.around_key.split("[")[0].split()) == min(3, pair.key)


def test_of_equal_weights_the_earlier_pair_comes_first(blocks):
    site = made(queries=29, keys=29)
    trace = Trace((replace(site, q=torch.zeros_like(site.q)),), Tokens(tuple(f"t{i}" for i in range(29))))
    assert [(p.query, p.key) for p in top_pairs(trace, 0, 1, most=30)] == [
        (i, j) for i in range(2) for j in range(29) if i != j
    ][:30]
    assert len(top_pairs(trace, 0, "L0H1", most=10_000)) == 29 * 28
    with pytest.raises(InputError, match="most as a number from 1"):
        top_pairs(trace, 0, 0, most=0)
    with pytest.raises(InputError, match="around as a number from 0"):
        top_pairs(trace, 0, 0, around=-1)


def copied(answer: str, looks: dict[int, int]) -> Trace:
    """ "say a b c now", of which b and c are hidden, and an answer; query i puts its weight on looks[i]."""
    written = ["say", "a", "b", "c", "now", *answer.split()]
    ids = {piece: n for n, piece in enumerate(dict.fromkeys(written))}
    weights = torch.full((2, len(written), len(written)), 0.01).tril()
    for query, key in looks.items():
        weights[1, query, key] = 0.9
    text = "say a b c now"
    offsets = [(0, 3), (4, 5), (6, 7), (8, 9), (10, 13)] + [(13, 13)] * (len(written) - 5)
    tokens = Tokens(tuple(written), tuple(ids[w] for w in written), offsets=tuple(offsets), text=text, border=5)
    return Trace(Trace.from_attentions(weights, list(written)).sites, tokens)


def test_retrieval_counts_what_is_looked_at_and_generated():
    """b is looked at when b is written (from "now"), c when c is written; a look at "a", outside, and at c for x are none."""
    sums = RetrievalSums.start()
    assert sums.update(copied("b c x", {4: 2, 5: 3, 6: 3}), "b c", "B C")
    assert sums.hits == {(None, 0, 0): 0.0, (None, 0, 1): 1.0}
    assert sums.update(copied("b c c", {4: 1, 5: 3, 6: 3}), "b c", "b c")
    assert not sums.update(copied("x x", {4: 2}), "b c", "b c")
    table = sums.finish()
    assert table[1]["retrieval"] == pytest.approx((1.0 + 1.0) / 2)
    assert table.notes == ("2 of 3 samples were answered right; the others do not count.",)
    again = RetrievalSums.start()
    again.merge(sums)
    again.merge(sums)
    assert again.finish().records() == table.records()
    assert (again.right, again.asked) == (4, 6)
    with pytest.raises(InputError, match="as it stands in the text"):
        sums.update(copied("b", {}), "b  c", "b")
    with pytest.raises(InputError, match="its continuation"):
        sums.update(layered(), "cat", "cat")
    with pytest.raises(InputError, match="samples with something to find, got none"):
        retrieval(None, None, [])
    assert Sample("a", "b", "c").text == "a"
    assert RetrievalSums.start().finish().rows == ()
