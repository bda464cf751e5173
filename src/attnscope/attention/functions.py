"""Scaled dot-product attention, one function for every link of the chain.

    q, k, v -> dot = q·kᵀ -> scaled = dot · scaling -> capped -> biased -> masked
      -> weights = softmax over keys -> output z = weights · v -> write = z · W_O -> Σ over heads + b_O

This is the reference that the whole package runs on: `Site` computes what it shows with these functions, and the
receipt compares their result with what the model itself returned. Axes: `Q` queries, `K` keys, `D` head size, `H`
heads, `G` key/value heads, `M` model width; Q and K are different letters even where they are equal. `*B` stands for
any leading axes (batch, heads). Source of the formula: Vaswani et al. 2017, "Attention Is All You Need", equation 1.
"""

import math
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.attention.precision import without_autocast


def dot_product(query: Float[Tensor, "*B Q D"], key: Float[Tensor, "*B K D"]) -> Float[Tensor, "*B Q K"]:
    """How well each query matches each key: the sum over d of q[d] · k[d].

    `query`: [*B, Q, D]. `key`: [*B, K, D]. Returns [*B, Q, K]; source: Vaswani et al. 2017, equation 1 (q · kᵀ).

    >>> dot_product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, -1.0]]))
    tensor([[11.,  3.]])
    """
    return torch.einsum("...qd,...kd->...qk", query, key)


def scale(dot: Float[Tensor, "*B Q K"], scaling: float) -> Float[Tensor, "*B Q K"]:
    """Multiply by a fixed number, which keeps the spread of the scores near 1 whatever the head size.

    `dot`: [*B, Q, K]. `scaling`: usually 1/√D. Source: Vaswani et al. 2017, section 3.2.1.
    """
    return dot * scaling


def cap(scaled: Float[Tensor, "*B Q K"], softcap: float | None) -> Float[Tensor, "*B Q K"]:
    """Bend scores smoothly into (-softcap, softcap): softcap · tanh(score / softcap), as Gemma 2 does.

    `scaled`: [*B, Q, K]. `softcap`: the bound, above 0; None leaves the scores as they are. Source: Gemma Team 2024,
    "Gemma 2", section 2.
    """
    return scaled if softcap is None else softcap * torch.tanh(scaled / softcap)


def add_position_bias(
    capped: Float[Tensor, "*B Q K"], position_bias: Float[Tensor, "*#B Q K"] | None
) -> Float[Tensor, "*B Q K"]:
    """Add a learned or fixed number per pair of positions.

    `capped`: [*B, Q, K]. `position_bias`: what broadcasts to it; None adds nothing. Sources: Raffel et al. 2020 (T5's
    relative bias), Press et al. 2022 (ALiBi).
    """
    return capped if position_bias is None else capped + position_bias


def apply_mask(
    biased: Float[Tensor, "*B Q K"], allowed: Bool[Tensor, "*#B Q K"] | None, fill: float = -math.inf
) -> Float[Tensor, "*B Q K"]:
    """Replace the score of every pair that is not allowed, so that the softmax gives it no weight.

    `biased`: [*B, Q, K]. `allowed`: True where a query may look at a key, broadcasts to [*B, Q, K]; None allows every
        pair.
    `fill`: the score of the others, -inf or the most negative finite number.
    """
    return biased if allowed is None else torch.where(allowed, biased, fill)


def softmax_over_keys(
    masked: Float[Tensor, "*B Q K"], sinks: Float[Tensor, "*#B #Q 1"] | None = None
) -> Float[Tensor, "*B Q K"]:
    """Turn each query's scores into weights that sum to 1 over the keys (the last axis, never the queries).

    `masked`: [*B, Q, K] scores, -inf where a key is masked. A row in which no key is allowed (all -inf) gets zeros, not
        NaN.
    `sinks`: [*B, Q or 1, 1]; one more score per query joins the softmax and its column is dropped, so rows sum to less
    than 1 (gpt-oss); None: there is no sink. Source: Xiao et al. 2024, "Efficient streaming language models with
    attention sinks".

    >>> scores = torch.tensor([[0.0, 0.0], [0.0, -math.inf], [-math.inf, -math.inf]])
    >>> softmax_over_keys(scores)
    tensor([[0.5000, 0.5000],
            [1.0000, 0.0000],
            [0.0000, 0.0000]])
    >>> softmax_over_keys(scores, sinks=torch.zeros(1, 1))[0].sum()  # a third goes to the sink
    tensor(0.6667)
    """
    if sinks is not None:
        column = sinks.expand(*masked.shape[:-1], 1)
        return torch.softmax(torch.cat([masked, column], dim=-1), dim=-1)[..., :-1]
    no_key = (masked == -math.inf).all(dim=-1, keepdim=True)
    return torch.where(no_key, 0.0, torch.softmax(masked, dim=-1))


def weighted_sum(weights: Float[Tensor, "*B Q K"], value: Float[Tensor, "*B K D"]) -> Float[Tensor, "*B Q D"]:
    """The head's output z: for each query, the values of all keys, each by its weight.

    `weights`: [*B, Q, K]. `value`: [*B, K, Dv]. Returns [*B, Q, Dv].
    """
    return torch.einsum("...qk,...kd->...qd", weights, value)


def project_output(
    output: Float[Tensor, "*H Q D"], output_projection: Float[Tensor, "*H D M"]
) -> Float[Tensor, "*H Q M"]:
    """What each head writes into the residual stream: z · W_O[h]. Summed over heads, plus b_O, it is the layer's
    output.

    `output`: z, [*H, Q, D]. `output_projection`: W_O cut by head, [*H, D, M]. Source: Elhage et al. 2021, "A
    mathematical framework for transformer circuits".
    """
    return torch.einsum("...qd,...dm->...qm", output, output_projection)


def key_shares(weights: Float[Tensor, "*B K"], norms: Float[Tensor, "*#B K"]) -> Float[Tensor, "*B K"]:
    """Each key's share of what is added up: weight · norm over the sum of these, parts of 1.

    `weights`: [*B, K], of one query. `norms`: the length of what each key would add with all weight, ‖v · W_O‖, [*B, K]. Source:
    Kobayashi et al. 2020, "Attention is not only a weight", equation 2.

    >>> key_shares(torch.tensor([0.8, 0.2]), torch.tensor([1.0, 4.0]))
    tensor([0.5000, 0.5000])
    """
    size = weights * norms
    return size / size.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def repeat_heads(x: Float[Tensor, "*B G T D"], heads: int) -> Float[Tensor, "*B H T D"]:
    """Grouped queries: give each query head its own view of the key/value head that it shares.

    Key/value head g serves the neighbouring query heads g·n … g·n + n-1 (repeat_interleave, not tiling). `x`: keys or
    values, [*B, G, T, D]. `heads`: how many query heads there are, a multiple of G. Source: Ainslie et al. 2023, "GQA".

    >>> repeat_heads(torch.tensor([[[1.0]], [[2.0]]]), 4).flatten()
    tensor([1., 1., 2., 2.])
    """
    return x if x.shape[-3] == heads else x.repeat_interleave(heads // x.shape[-3], dim=-3)


class AttentionSteps:
    """Every link of the chain, in order; each is the return value of the function named after it, computed when it is
    first read and then kept. `attention_steps` makes one.

    `query`: [*B, Q, D]. `key`: [*B, K, D]. `value`: [*B, K, Dv].
    `dot`, `scaled`, `capped`, `biased`, `masked`: the scores on their way, [*B, Q, K].
    `weights`: what leaves the softmax, [*B, Q, K]. `output`: z, [*B, Q, Dv].

    Key/value heads that neighbouring query heads share may be given once, [*B, G, K, D] for [*B, H, Q, D]; they are
    read where they lie, in the query's dtype, and repeated only where you read `key` or `value`. `scaling`, `softcap`, `position_bias`,
    `allowed`, `fill` and `sinks` are those of `attention_steps`.
    """

    def __init__(
        self,
        query: Float[Tensor, "*B Q D"],
        key: Float[Tensor, "*G K D"],
        value: Float[Tensor, "*G K Dv"],
        scaling: float,
        softcap: float | None = None,
        position_bias: Float[Tensor, "*#B Q K"] | None = None,
        allowed: Bool[Tensor, "*#B Q K"] | None = None,
        fill: float = -math.inf,
        sinks: Float[Tensor, "*#B #Q 1"] | None = None,
    ) -> None:
        self.query, self._shared_key, self._shared_value = query, key, value
        self._scaling, self._softcap, self._position_bias = scaling, softcap, position_bias
        self._allowed, self._fill, self._sinks = allowed, fill, sinks

    def __repr__(self) -> str:
        return f"AttentionSteps({list(self.query.shape)} queries, {list(self._shared_key.shape)} keys)"

    @cached_property
    def key(self) -> Float[Tensor, "*B K D"]:
        return self._repeated(self._shared_key)

    @cached_property
    def value(self) -> Float[Tensor, "*B K Dv"]:
        return self._repeated(self._shared_value)

    @cached_property
    @without_autocast
    def dot(self) -> Float[Tensor, "*B Q K"]:
        key = self._shared_key.to(self.query.dtype)
        dot = dot_product(self._grouped(self.query, key), key)
        return dot.reshape(*self.query.shape[:-1], dot.shape[-1])

    @cached_property
    def scaled(self) -> Float[Tensor, "*B Q K"]:
        return scale(self.dot, self._scaling)

    @cached_property
    def capped(self) -> Float[Tensor, "*B Q K"]:
        return cap(self.scaled, self._softcap)

    @cached_property
    def biased(self) -> Float[Tensor, "*B Q K"]:
        return add_position_bias(self.capped, self._position_bias)

    @cached_property
    def masked(self) -> Float[Tensor, "*B Q K"]:
        return apply_mask(self.biased, self._allowed, self._fill)

    @cached_property
    @without_autocast
    def weights(self) -> Float[Tensor, "*B Q K"]:
        return softmax_over_keys(self.masked, self._sinks)

    @cached_property
    @without_autocast
    def output(self) -> Float[Tensor, "*B Q Dv"]:
        value = self._shared_value.to(self.query.dtype)
        output = weighted_sum(self._grouped(self.weights, value), value)
        return output.reshape(*self.weights.shape[:-1], output.shape[-1])

    def _repeated(self, x: Float[Tensor, "*G K D"]) -> Float[Tensor, "*B K D"]:
        x = x.to(self.query.dtype)
        return x if x.shape[:-2] == self.query.shape[:-2] else repeat_heads(x, self.query.shape[-3])

    @staticmethod
    def _grouped(rows: Float[Tensor, "*B Q X"], shared: Float[Tensor, "*G K D"]) -> Float[Tensor, "*G rows X"]:
        """The rows of the query heads that share a key/value head, one under the other."""
        return rows if rows.shape[:-2] == shared.shape[:-2] else rows.reshape(*shared.shape[:-2], -1, rows.shape[-1])


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
    """The chain from q, k, v to the head's output, with every intermediate result, each computed when it is first read.

    `query`: [*B, Q, D]. `key`: [*B, K, D]. `value`: [*B, K, Dv].
    `scaling`: what q · k is multiplied by (None: 1/√D).
    `softcap`: bends scores into (-softcap, softcap), see `cap` (None: no bound).
    `position_bias`: added to the scores; broadcasts to [*B, Q, K].
    `allowed`: True where a query may look at a key; broadcasts to [*B, Q, K] (None: everywhere).
    `fill`: the score of a pair that is not allowed.
    `sinks`: one more score per query that takes its part of the softmax, [*B, Q or 1, 1].
    """
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    return AttentionSteps(query, key, value, factor, softcap, position_bias, allowed, fill, sinks)


def causal(queries: int, keys: int, device: torch.device | None = None) -> Bool[Tensor, "Q K"]:
    """True where key <= query: a token sees itself and what came before (aligned to the upper left, as in torch).

    `queries`, `keys`: how many there are; the result is [Q, K]. `device`: where it lies (None: torch's default).

    >>> causal(2, 3)
    tensor([[ True, False, False],
            [ True,  True, False]])
    """
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

    `query`: [*B, Q, D]. `key`: [*B, K, D]. `value`: [*B, K, Dv]. Returns [*B, Q, Dv].
    `attn_mask`: boolean (True: may look) or a float that is added to the scores; broadcasts to [*B, Q, K]. A query that
        may look at nothing gets zeros.
    `is_causal`: a query sees itself and the keys before it (aligned to the upper left).
    `scale`: what q · k is multiplied by (None: 1/√D).
    `enable_gqa`: key and value may have fewer heads (axis -3) than query.

    Raises ValueError where both `attn_mask` and `is_causal` are given, and for a mask of whole numbers, as torch does.
    """
    if attn_mask is not None and attn_mask.dtype != torch.bool and not attn_mask.is_floating_point():
        raise ValueError(
            f"expected attn_mask to be boolean (True: may look) or a float that is added to the scores, got {attn_mask.dtype}. "
            "Of a mask of 0 and 1 pass mask.bool() where 1 means may look, ~mask.bool() where 1 means masked."
        )
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


# --- the chain inside a layer --------------------------------------------------------------------------------------


def split_heads(x: Float[Tensor, "B T width"], heads: int) -> Float[Tensor, "B H T D"]:
    """Cut each token's vector into one piece per head: [B, T, H·D] -> [B, T, H, D] -> [B, H, T, D].

    `x`: [B, T, H·D]. `heads`: H.

    >>> split_heads(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), heads=2)[0]  # two tokens, two heads of size 1
    tensor([[[1.],
             [3.]],
    <BLANKLINE>
            [[2.],
             [4.]]])
    """
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Float[Tensor, "B H T D"]) -> Float[Tensor, "B T width"]:
    """Lay the heads' pieces side by side again: [B, H, T, D] -> [B, T, H, D] -> [B, T, H·D].

    `x`: [B, H, T, D].
    """
    return x.transpose(1, 2).flatten(-2)


def rotary(
    x: Float[Tensor, "*B T D"], positions: Int[Tensor, " T"], theta: float = 10_000.0
) -> Float[Tensor, "*B T D"]:
    """Turn each pair of dimensions (d, d + D/2) by position · theta^(-2d/D) radians, so that q · k depends on the
    distance between two tokens and not on where they stand.

    `x`: queries or keys, [*B, T, D] with an even D. `positions`: of the T tokens, whole numbers. `theta`: the base; the
    slowest pair turns once in about 2π · theta tokens. Source: Su et al. 2021, "RoFormer", equation 15 (pairs split in
    halves, as in Llama).
    """
    half = x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)  # [D/2]
    angle = positions[:, None].float() * frequency  # [T, D/2]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]  # [*B, T, D/2] each
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
