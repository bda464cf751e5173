"""attention.py against torch's own F.scaled_dot_product_attention and softmax, link by link."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor
from torch.nn import functional as F

from attnscope.attention import (
    attention_steps,
    causal,
    dot_product,
    project_output,
    repeat_heads,
    scaled_dot_product_attention,
    softmax_over_keys,
)
from closeness import close
from typecheck import shaped_modules

pytestmark = pytest.mark.exactness

Q, K, D, DV, H, B = 7, 11, 5, 13, 3, 2


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=dtype)


def qkv(*batch: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    return random(*batch, Q, D, dtype=dtype), random(*batch, K, D, dtype=dtype), random(*batch, K, DV, dtype=dtype)


def masks() -> dict[str, Tensor | None]:
    boolean = random(Q, K, seed=3) > -0.3
    boolean[2] = False
    return {
        "none": None,
        "boolean": boolean,
        "per head": random(B, H, Q, K, seed=4) > 0,
        "one row": random(1, K, seed=5) > 0,
        "float": random(Q, K, seed=6),
        "float per head": random(H, Q, K, seed=7),
        "minus infinity": torch.where(boolean, 0.0, -math.inf).double(),
        "shared by heads": random(B, 1, 1, K, seed=8) > 0,
    }


@pytest.mark.parametrize("name", masks())
@pytest.mark.parametrize("scale", [None, 0.3])
def test_against_torch(name: str, scale: float | None) -> None:
    mask = masks()[name]
    q, k, v = qkv(B, H)
    ours = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    assert ours.shape == (B, H, Q, DV)
    assert close(ours, theirs)


@pytest.mark.parametrize("batch", [(), (H,), (B, H), (2, 1, 3)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_batch_axes(batch: tuple[int, ...], is_causal: bool) -> None:
    q, k, v = qkv(*batch)
    ours = scaled_dot_product_attention(q, k, v, is_causal=is_causal)
    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
    assert close(ours, theirs)


@pytest.mark.parametrize(("queries", "keys"), [(7, 11), (11, 7), (1, 5), (5, 1)])
def test_causal_is_aligned_to_the_upper_left(queries: int, keys: int) -> None:
    q, k, v = random(H, queries, D), random(H, keys, D), random(H, keys, DV)
    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert close(scaled_dot_product_attention(q, k, v, is_causal=True), theirs)
    assert causal(queries, keys).shape == (queries, keys)
    assert causal(queries, keys)[0].tolist() == [True] + [False] * (keys - 1)


@pytest.mark.parametrize("masked", [False, True])
def test_grouped_queries(masked: bool) -> None:
    q, k, v = random(B, 6, Q, D), random(B, 2, K, D), random(B, 2, K, DV)
    mask = random(B, 6, Q, K) > 0 if masked else None
    ours = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    assert close(ours, theirs)


def test_mask_and_causal_together_are_refused() -> None:
    q, k, v = qkv()
    with pytest.raises(ValueError, match="attn_mask and is_causal were both given"):
        scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(Q, K, dtype=torch.bool), is_causal=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype) -> None:
    q, k, v = qkv(B, H, dtype=dtype)
    ours, theirs = scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v)
    assert ours.dtype == dtype
    assert close(ours, theirs)


def test_every_link() -> None:
    q, k, v = qkv(H)
    bias, allowed, sinks = random(H, Q, K, seed=9), random(H, Q, K, seed=10) > -1, random(H, 1, 1, seed=11)
    steps = attention_steps(q, k, v, scaling=0.7, softcap=1.5, position_bias=bias, allowed=allowed, sinks=sinks)
    dot = torch.stack(
        [torch.stack([torch.stack([(q[h, i] * k[h, j]).sum() for j in range(K)]) for i in range(Q)]) for h in range(H)]
    )
    assert close(steps.dot, dot)
    assert close(steps.scaled, dot * 0.7)
    assert close(steps.capped, 1.5 * torch.tanh(dot * 0.7 / 1.5))
    assert close(steps.biased, steps.capped + bias)
    assert torch.equal(steps.masked, steps.biased.masked_fill(~allowed, -math.inf))
    exponents = steps.masked.exp()
    assert close(steps.weights, exponents / (exponents.sum(-1, keepdim=True) + sinks.exp()))
    assert close(steps.output, steps.weights @ v)
    assert torch.equal(steps.weights == 0, ~allowed)


def test_default_scaling_is_one_over_root_d() -> None:
    q, k, v = qkv(H)
    assert torch.equal(attention_steps(q, k, v).scaled, attention_steps(q, k, v, scaling=D**-0.5).scaled)


def test_a_fully_masked_row_gives_zeros() -> None:
    q, k, v = qkv(H)
    allowed = torch.ones(Q, K, dtype=torch.bool)
    allowed[4] = False
    steps = attention_steps(q, k, v, allowed=allowed)
    assert torch.equal(steps.weights[:, 4], torch.zeros(H, K))
    assert torch.equal(steps.output[:, 4], torch.zeros(H, DV))
    assert bool(torch.isfinite(steps.output).all())
    with_sink = attention_steps(q, k, v, allowed=allowed, sinks=torch.zeros(H, 1, 1).double())
    assert torch.equal(with_sink.weights[:, 4], torch.zeros(H, K))


def test_a_finite_fill_spreads_a_fully_masked_row() -> None:
    q, k, v = (x.float() for x in qkv(H))
    allowed = torch.zeros(Q, K, dtype=torch.bool)
    weights = attention_steps(q, k, v, allowed=allowed, fill=torch.finfo(torch.float32).min).weights
    assert close(weights, torch.full((H, Q, K), 1 / K))


def test_nan_stays_nan() -> None:
    scores = torch.zeros(2, 3)
    scores[0, 1] = math.nan
    weights = softmax_over_keys(scores)
    assert bool(weights[0].isnan().all())
    assert not bool(weights[1].isnan().any())


def test_heads_are_repeated_beside_each_other() -> None:
    x = torch.arange(2.0).reshape(2, 1, 1)
    assert repeat_heads(x, 6).flatten().tolist() == [0, 0, 0, 1, 1, 1]


def test_writes_add_up_to_the_joined_projection() -> None:
    z, w = random(H, Q, D), random(H * D, 17, seed=2)
    joined = z.transpose(0, 1).reshape(Q, H * D) @ w
    assert close(project_output(z, w.reshape(H, D, 17)).sum(0), joined)


def test_gradients_flow_as_through_torch() -> None:
    q, k, v = (x.requires_grad_() for x in qkv(H))
    allowed = random(Q, K) > 0
    allowed[:, 0] = True
    (scaled_dot_product_attention(q, k, v, attn_mask=allowed) ** 2).sum().backward()
    ours = [x.grad for x in (q, k, v)]
    q2, k2, v2 = (x.detach().requires_grad_() for x in (q, k, v))
    (F.scaled_dot_product_attention(q2, k2, v2, attn_mask=allowed) ** 2).sum().backward()
    for a, b in zip(ours, (x.grad for x in (q2, k2, v2)), strict=True):
        assert close(a, b)


def test_a_wrong_shape_is_an_error_in_tests() -> None:
    """In every module that names shapes: see tests/helpers/typecheck.py."""
    assert {"attnscope.attention.layers", "attnscope.tracing.site"} <= set(shaped_modules("attnscope"))
    with pytest.raises(TypeCheckError):
        dot_product(random(Q, D), random(K, D + 1))
