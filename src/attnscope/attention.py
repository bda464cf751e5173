"""Scaled dot-product attention, one function for every link of the chain.

    q, k, v -> dot = q·kᵀ -> scaled = dot · scaling -> capped -> biased -> masked
      -> weights = softmax over keys -> output z = weights · v -> write = z · W_O -> Σ over heads + b_O

This is the reference that the whole package runs on: `Site` computes what it shows with these functions, and the
receipt compares their result with what the model itself returned. Axes: `Q` queries, `K` keys, `D` head size, `H`
heads, `M` model width; Q and K are different letters even where they are equal. `*B` stands for any leading axes
(batch, heads). Source of the formula: Vaswani et al. 2017, "Attention Is All You Need", equation 1.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def dot_product(query: Float[Tensor, "*B Q D"], key: Float[Tensor, "*B K D"]) -> Float[Tensor, "*B Q K"]:
    """How well each query matches each key: the sum over d of q[d] · k[d]."""
    return torch.einsum("...qd,...kd->...qk", query, key)


def scale(dot: Float[Tensor, "*B Q K"], scaling: float) -> Float[Tensor, "*B Q K"]:
    """Multiply by `scaling`, usually 1/√D, which keeps the spread of the scores near 1 whatever the head size."""
    return dot * scaling


def cap(scaled: Float[Tensor, "*B Q K"], softcap: float | None) -> Float[Tensor, "*B Q K"]:
    """Bend scores smoothly into (-softcap, softcap): softcap · tanh(score / softcap), as Gemma 2 does."""
    return scaled if softcap is None else softcap * torch.tanh(scaled / softcap)


def add_position_bias(
    capped: Float[Tensor, "*B Q K"], position_bias: Float[Tensor, "*#B Q K"] | None
) -> Float[Tensor, "*B Q K"]:
    """Add a learned or fixed number per pair of positions (T5's relative bias, ALiBi)."""
    return capped if position_bias is None else capped + position_bias


def apply_mask(
    biased: Float[Tensor, "*B Q K"], allowed: Bool[Tensor, "*#B Q K"] | None, fill: float = -math.inf
) -> Float[Tensor, "*B Q K"]:
    """Replace the score of every pair that is not allowed by `fill`, so that the softmax gives it no weight."""
    return biased if allowed is None else torch.where(allowed, biased, fill)


def softmax_over_keys(
    masked: Float[Tensor, "*B Q K"], sinks: Float[Tensor, "*#B #Q 1"] | None = None
) -> Float[Tensor, "*B Q K"]:
    """Turn each query's scores into weights that sum to 1 over the keys (the last axis, never the queries).

    With `sinks`, one more score per query joins the softmax and its column is dropped, so rows sum to less than 1
    (gpt-oss). A row in which no key is allowed (all -inf) gets zeros, not NaN.
    """
    if sinks is not None:
        column = sinks.expand(*masked.shape[:-1], 1)
        return torch.softmax(torch.cat([masked, column], dim=-1), dim=-1)[..., :-1]
    no_key = (masked == -math.inf).all(dim=-1, keepdim=True)
    return torch.where(no_key, 0.0, torch.softmax(masked, dim=-1))


def weighted_sum(weights: Float[Tensor, "*B Q K"], value: Float[Tensor, "*B K D"]) -> Float[Tensor, "*B Q D"]:
    """The head's output z: for each query, the values of all keys, each by its weight."""
    return torch.einsum("...qk,...kd->...qd", weights, value)


def project_output(
    output: Float[Tensor, "*H Q D"], output_projection: Float[Tensor, "*H D M"]
) -> Float[Tensor, "*H Q M"]:
    """What each head writes into the residual stream: z · W_O[h]. Summed over heads, plus b_O, it is the layer's output."""
    return torch.einsum("...qd,...dm->...qm", output, output_projection)


def repeat_heads(x: Float[Tensor, "*B G T D"], heads: int) -> Float[Tensor, "*B H T D"]:
    """Grouped queries: give each of `heads` query heads its own view of the key/value head that it shares.

    Key/value head g serves the neighbouring query heads g·n … g·n + n-1 (repeat_interleave, not tiling).
    """
    return x if x.shape[-3] == heads else x.repeat_interleave(heads // x.shape[-3], dim=-3)


@dataclass(frozen=True)
class AttentionSteps:
    """Every link of the chain, in order; each field is the return value of the function named after it."""

    query: Float[Tensor, "*B Q D"]
    key: Float[Tensor, "*B K D"]
    value: Float[Tensor, "*B K Dv"]
    dot: Float[Tensor, "*B Q K"]
    scaled: Float[Tensor, "*B Q K"]
    capped: Float[Tensor, "*B Q K"]
    biased: Float[Tensor, "*B Q K"]
    masked: Float[Tensor, "*B Q K"]
    weights: Float[Tensor, "*B Q K"]
    output: Float[Tensor, "*B Q Dv"]


def attention_steps(
    query: Float[Tensor, "*B Q D"],
    key: Float[Tensor, "*B K D"],
    value: Float[Tensor, "*B K Dv"],
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    position_bias: Float[Tensor, "*#B Q K"] | None = None,
    allowed: Bool[Tensor, "*#B Q K"] | None = None,
    fill: float = -math.inf,
    sinks: Float[Tensor, "*#B #Q 1"] | None = None,
) -> AttentionSteps:
    """The chain from q, k, v to the head's output, with every intermediate result.

    `scaling` is what q·k is multiplied by (None: 1/√D). `allowed` is True where a query may look at a key.
    """
    dot = dot_product(query, key)
    scaled = scale(dot, query.shape[-1] ** -0.5 if scaling is None else scaling)
    capped = cap(scaled, softcap)
    biased = add_position_bias(capped, position_bias)
    masked = apply_mask(biased, allowed, fill)
    weights = softmax_over_keys(masked, sinks)
    output = weighted_sum(weights, value)
    return AttentionSteps(query, key, value, dot, scaled, capped, biased, masked, weights, output)


def causal(queries: int, keys: int, device: torch.device | None = None) -> Bool[Tensor, "Q K"]:
    """True where key <= query: a token sees itself and what came before (aligned to the upper left, as in torch)."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril()


def scaled_dot_product_attention(
    query: Float[Tensor, "*B Q D"],
    key: Float[Tensor, "*C K D"],
    value: Float[Tensor, "*C K Dv"],
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "*B Q Dv"]:
    """softmax(q · kᵀ · scale + mask) · v, with torch's names and meaning.

    `attn_mask` broadcasts to (…, Q, K): boolean (True: may look) or a float that is added to the scores. With
    `enable_gqa`, key and value may have fewer heads (axis -3) than query. A query that may look at nothing gets zeros.
    Raises ValueError where both `attn_mask` and `is_causal` are given, as torch does.
    """
    if attn_mask is not None and is_causal:
        raise ValueError("attn_mask and is_causal were both given; pass one of them (torch refuses both as well).")
    if enable_gqa:
        key, value = repeat_heads(key, query.shape[-3]), repeat_heads(value, query.shape[-3])
    allowed = causal(query.shape[-2], key.shape[-2], query.device) if is_causal else None
    position_bias = None
    if attn_mask is not None:
        mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
        allowed, position_bias = (mask, None) if mask.dtype == torch.bool else (None, mask)
    return attention_steps(query, key, value, scaling=scale, position_bias=position_bias, allowed=allowed).output
