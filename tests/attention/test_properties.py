"""What holds for attention of any size: rows sum to 1, order and blocks do not matter."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.nn import functional as F

from attnscope import Trace
from attnscope.attention import attention_steps, scaled_dot_product_attention, softmax_over_keys
from attnscope.tracing.query_blocks import query_blocks
from closeness import close

pytestmark = pytest.mark.properties

SIZES = st.integers(1, 17)


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Tensor]:
    """q [H, Q, D], k [Hkv, K, D], v [Hkv, K, Dv] and a mask [H, Q, K], of any sizes."""
    groups, repeats, queries, keys, size, value_size = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        *(draw(SIZES) for _ in range(4)),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.1, 1.0, 7.0]))

    heads = groups * repeats
    mask = torch.rand(heads, queries, keys, generator=generator) < draw(st.sampled_from([0.2, 0.7, 1.0]))
    return {
        "q": random(heads, queries, size),
        "k": random(groups, keys, size),
        "v": random(groups, keys, value_size),
        "mask": mask,
    }


@given(problem=problems())
def test_any_sizes_agree_with_torch(problem: dict[str, Tensor]) -> None:
    q, k, v, mask = problem.values()
    ours = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    repeats = len(q) // len(k)
    theirs = F.scaled_dot_product_attention(
        q, k.repeat_interleave(repeats, 0), v.repeat_interleave(repeats, 0), attn_mask=mask
    )
    assert close(ours, theirs)


@given(problem=problems())
def test_rows_sum_to_one_or_are_empty(problem: dict[str, Tensor]) -> None:
    q, k, v, mask = problem.values()
    repeats = len(q) // len(k)
    weights = attention_steps(q, k.repeat_interleave(repeats, 0), v.repeat_interleave(repeats, 0), allowed=mask).weights
    assert bool((weights >= 0).all())
    assert close(weights.sum(-1), mask.any(-1).double())
    assert bool((weights[~mask] == 0).all())


@given(problem=problems(), seed=st.integers(0, 999))
def test_permuting_keys_permutes_weights(problem: dict[str, Tensor], seed: int) -> None:
    q, k, v, mask = problem.values()
    repeats = len(q) // len(k)
    k, v = (x.repeat_interleave(repeats, 0) for x in (k, v))
    order = torch.randperm(k.shape[1], generator=torch.Generator().manual_seed(seed))
    plain = attention_steps(q, k, v, allowed=mask)
    turned = attention_steps(q, k[:, order], v[:, order], allowed=mask[..., order])
    assert close(turned.weights, plain.weights[..., order])
    assert close(turned.output, plain.output)
    rows = torch.randperm(q.shape[1], generator=torch.Generator().manual_seed(seed))
    assert close(attention_steps(q[:, rows], k, v, allowed=mask[:, rows]).weights, plain.weights[:, rows])


@given(scores=st.lists(st.floats(-30, 30), min_size=1, max_size=19), shift=st.floats(-50, 50), sink=st.floats(-9, 9))
def test_softmax(scores: list[float], shift: float, sink: float) -> None:
    """Only differences of scores count; a sink takes its part of every row."""
    row = torch.tensor([scores], dtype=torch.float64)
    assert close(softmax_over_keys(row), softmax_over_keys(row + shift), magnitude=80)  # the largest score
    with_sink = softmax_over_keys(row, torch.full((1, 1), sink, dtype=torch.float64))
    total = sum(math.exp(score) for score in scores)
    assert close(with_sink.sum(), torch.tensor(total / (total + math.exp(sink)), dtype=torch.float64))


@given(queries=st.integers(0, 99), keys=st.integers(0, 99), heads=st.integers(1, 7), cells=st.integers(1, 5000))
def test_blocks_cover_every_query_once(queries: int, keys: int, heads: int, cells: int) -> None:
    blocks = list(query_blocks(queries, keys, heads, cells))
    assert [row for block in blocks for row in range(queries)[block]] == list(range(queries))
    assert all(
        len(range(queries)[block]) == 1 or len(range(queries)[block]) * keys * heads <= cells for block in blocks
    )


@settings(max_examples=30)
@given(problem=problems(), data=st.data())
def test_blocks_and_their_order_do_not_matter(problem: dict[str, Tensor], data: st.DataObject) -> None:
    """A site's numbers are the same whichever rows are asked for together, in whatever order."""
    q, k, v, mask = (x if x.dtype == torch.bool else x.float() for x in problem.values())
    site = Trace.from_qkv(q, k, v, mask=mask).sites[0]
    whole, output = site.weights(), site.output()
    rows = data.draw(st.lists(st.integers(0, q.shape[1] - 1), min_size=1, max_size=9))
    assert close(site.weights(queries=rows), whole[:, rows])
    assert close(site.output(queries=rows), output[:, rows])
    size = data.draw(st.integers(1, q.shape[1] * k.shape[1]))
    parts = [site.weights(queries=block) for block in query_blocks(q.shape[1], k.shape[1], len(q), size)]
    assert close(torch.cat(parts, 1), whole)
    head = data.draw(st.integers(0, len(q) - 1))
    assert close(site.weights(head=head), whole[head])
    assert close(site.output(head=head), output[head])
