"""Scaled dot-product attention, one function for every link of the chain.

    q, k, v -> dot = q·kᵀ -> scaled = dot · scaling -> capped -> biased -> masked
      -> weights = softmax over keys -> output z = weights · v -> write = z · W_O -> Σ over heads + b_O

This is the reference that the whole package runs on: `Site` computes what it shows with these functions, and the
receipt compares their result with what the model itself returned. Axes: `Q` queries, `K` keys, `D` head size, `H`
heads, `G` key/value heads, `M` model width; Q and K are different letters even where they are equal. `*B` stands for any leading axes
(batch, heads). Source of the formula: Vaswani et al. 2017, "Attention Is All You Need", equation 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn


def dot_product(query: Float[Tensor, "*B Q D"], key: Float[Tensor, "*B K D"]) -> Float[Tensor, "*B Q K"]:
    """How well each query matches each key: the sum over d of q[d] · k[d].

    >>> dot_product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, -1.0]]))
    tensor([[11.,  3.]])
    """
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

    >>> repeat_heads(torch.tensor([[[1.0]], [[2.0]]]), 4).flatten()
    tensor([1., 1., 2., 2.])
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
    """True where key <= query: a token sees itself and what came before (aligned to the upper left, as in torch).

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

    `attn_mask` broadcasts to (…, Q, K): boolean (True: may look) or a float that is added to the scores. With
    `enable_gqa`, key and value may have fewer heads (axis -3) than query. A query that may look at nothing gets zeros.
    Raises ValueError where both `attn_mask` and `is_causal` are given, and for a mask of whole numbers, as torch does.
    """
    if attn_mask is not None and attn_mask.dtype != torch.bool and not attn_mask.is_floating_point():
        raise ValueError(
            f"attn_mask is of type {attn_mask.dtype}; it is boolean (True: may look) or a float that is added to the scores. "
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

    >>> split_heads(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), heads=2)[0]  # two tokens, two heads of size 1
    tensor([[[1.],
             [3.]],
    <BLANKLINE>
            [[2.],
             [4.]]])
    """
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Float[Tensor, "B H T D"]) -> Float[Tensor, "B T width"]:
    """Lay the heads' pieces side by side again: [B, H, T, D] -> [B, T, H, D] -> [B, T, H·D]."""
    return x.transpose(1, 2).flatten(-2)


def rotary(
    x: Float[Tensor, "*B T D"], positions: Int[Tensor, " T"], theta: float = 10_000.0
) -> Float[Tensor, "*B T D"]:
    """Turn each pair of dimensions (d, d + D/2) by position · theta^(-2d/D), so that q · k depends on the distance
    between two tokens and not on where they stand. Source: Su et al. 2021, "RoFormer", equation 15 (pairs split in
    halves, as in Llama)."""
    half = x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)  # [D/2]
    angle = positions[:, None].float() * frequency  # [T, D/2]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]  # [*B, T, D/2] each
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


@dataclass
class KeyValueCache:
    """The keys and values of the tokens read so far, so that a step computes only its own: [B, Hkv, T, D]."""

    key: Float[Tensor, "B G T D"] | None = None
    value: Float[Tensor, "B G T Dv"] | None = None

    @property
    def length(self) -> int:
        return 0 if self.key is None else self.key.shape[-2]

    def append(
        self, key: Float[Tensor, "B G T D"], value: Float[Tensor, "B G T Dv"]
    ) -> tuple[Float[Tensor, "B G K D"], Float[Tensor, "B G K Dv"]]:
        """Add a step's keys and values; returns all there are."""
        self.key = key if self.key is None else torch.cat([self.key, key], dim=-2)
        self.value = value if self.value is None else torch.cat([self.value, value], dim=-2)
        return self.key, self.value


class MultiHeadAttention(nn.Module):
    """Several heads of attention over one sequence (or from one to another), between learned projections.

    width: size M of a token's vector. heads: H query heads. kv_heads: fewer key/value heads that groups of query heads
    share (None: as many). head_size: D (None: M / H). rotary_theta: turn q and k by position first. causal: a token sees
    itself and what came before. scaling: what q · k is multiplied by (None: 1/√D).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        head_size: int | None = None,
        bias: bool = True,
        output_bias: bool | None = None,
        causal: bool = False,
        rotary_theta: float | None = None,
        scaling: float | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads or heads
        if head_size is None and width % heads:
            raise ValueError(
                f"width {width} is not a multiple of heads {heads}; pass head_size, or another number of heads."
            )
        if heads % self.kv_heads:
            raise ValueError(
                f"heads {heads} is not a multiple of kv_heads {self.kv_heads}: groups must be of one size."
            )
        self.head_size = head_size or width // heads
        self.causal, self.rotary_theta, self.scaling = causal, rotary_theta, scaling
        self.q_proj = nn.Linear(width, self.heads * self.head_size, bias)
        self.k_proj = nn.Linear(width, self.kv_heads * self.head_size, bias)
        self.v_proj = nn.Linear(width, self.kv_heads * self.head_size, bias)
        self.out_proj = nn.Linear(self.heads * self.head_size, width, bias if output_bias is None else output_bias)

    def forward(
        self,
        x: Float[Tensor, "B Q M"],
        memory: Float[Tensor, "B S M"] | None = None,
        *,
        key_padding: Bool[Tensor, "B K"] | None = None,
        cache: KeyValueCache | None = None,
        return_steps: bool = False,
    ) -> Any:
        """[B, Q, M] -> [B, Q, M]; with `return_steps` also the AttentionSteps, each [B, H, …].

        `memory` is the sequence to look at (None: x itself). `key_padding` is True for keys that may be seen, over all
        keys, cached ones included. `cache` is filled in place. Raises ValueError for a `key_padding` that is not boolean.
        """
        source = x if memory is None else memory
        query = split_heads(self.q_proj(x), self.heads)  # [B, H, Q, D]
        key = split_heads(self.k_proj(source), self.kv_heads)  # [B, Hkv, S, D]
        value = split_heads(self.v_proj(source), self.kv_heads)  # [B, Hkv, S, D]
        past = 0 if cache is None else cache.length
        if self.rotary_theta is not None:
            query = rotary(query, torch.arange(past, past + x.shape[1], device=x.device), self.rotary_theta)
            key = rotary(key, torch.arange(past, past + source.shape[1], device=x.device), self.rotary_theta)
        if cache is not None:
            key, value = cache.append(key, value)  # [B, Hkv, K, D] with K = past + S
        steps = attention_steps(
            query,
            repeat_heads(key, self.heads),  # [B, H, K, D]
            repeat_heads(value, self.heads),  # [B, H, K, D]
            scaling=self.scaling,
            allowed=self._allowed(x.shape[1], key.shape[-2], past, key_padding),
        )
        output = self.out_proj(merge_heads(steps.output))  # [B, H, Q, D] -> [B, Q, H·D] -> [B, Q, M]
        return (output, steps) if return_steps else output

    def _allowed(
        self, queries: int, keys: int, past: int, key_padding: Bool[Tensor, "B K"] | None
    ) -> Bool[Tensor, "B #H Q K"] | None:
        """Which keys each query may see: none after it (counting the cached ones before it), and no padding."""
        allowed = None
        if self.causal:
            # Query i of this step is token past + i, so with a cache the triangle stands at the lower right.
            device = self.q_proj.weight.device
            allowed = torch.arange(keys, device=device) <= past + torch.arange(queries, device=device)[:, None]
            allowed = allowed[None, None]  # [1, 1, Q, K]
        if key_padding is not None:
            if key_padding.dtype != torch.bool:
                raise ValueError(
                    f"key_padding is of type {key_padding.dtype}; it is boolean, True for keys that may be seen. A tokenizer's "
                    "attention_mask (1: a token, 0: padding) becomes that by attention_mask.bool()."
                )
            seen = key_padding[:, None, None, :]  # [B, 1, 1, K]: columns, never rows
            allowed = seen.expand(-1, 1, queries, -1) if allowed is None else allowed & seen
        return allowed

    @classmethod
    def from_site(cls, model: nn.Module, layer: int) -> "MultiHeadAttention":
        """The attention of one layer of a Hugging Face BERT, GPT-2 or Llama, with its trained projections.

        Reproduces what that layer's attention writes (before the residual sum). Raises ValueError for other models
        and for a layer that is not there.
        """
        base, kind = _base_of(model)
        config: Any = base.config if kind is not None else None
        layers = {"bert": "encoder.layer", "gpt2": "h", "llama": "layers"}.get(kind or "")
        if layers is None:
            raise ValueError(
                f"from_site reads Hugging Face's BERT, GPT-2 and Llama, and this is {_called(model, kind)}."
            )
        blocks = base.get_submodule(layers)
        if not 0 <= layer < len(blocks):
            raise ValueError(f"layer {layer} is out of range: the model has layers 0 to {len(blocks) - 1}.")
        block = blocks[layer]
        if kind == "bert":
            inner, out = block.attention.self, block.attention.output.dense
            made = cls(config.hidden_size, config.num_attention_heads, causal=bool(config.is_decoder))
            _copy(made, (inner.query, inner.key, inner.value, out))
        elif kind == "llama":
            inner = block.self_attn
            made = cls(
                config.hidden_size, config.num_attention_heads, kv_heads=config.num_key_value_heads, causal=True,
                head_size=inner.head_dim, bias=inner.q_proj.bias is not None, output_bias=inner.o_proj.bias is not None,
                rotary_theta=config.rope_parameters["rope_theta"],
            )  # fmt: skip
            if config.rope_parameters.get("rope_type", "default") != "default":
                raise ValueError(
                    f"this Llama scales its rotary embedding ({config.rope_parameters['rope_type']}); only the plain one is written here."
                )
            _copy(made, (inner.q_proj, inner.k_proj, inner.v_proj, inner.o_proj))
        else:
            inner = block.attn
            scaling = inner.head_dim**-0.5 if config.scale_attn_weights else 1.0
            made = cls(
                config.n_embd,
                config.n_head,
                causal=True,
                scaling=scaling / (layer + 1 if config.scale_attn_by_inverse_layer_idx else 1),
            )
            # GPT-2 keeps q, k, v in one matrix, stored [in, out] where nn.Linear stores [out, in].
            weights = inner.c_attn.weight.T.chunk(3)  # three of [M, M]
            biases = inner.c_attn.bias.chunk(3)  # three of [M]
            parts = [SimpleNamespace(weight=w, bias=b) for w, b in zip(weights, biases, strict=True)]
            _copy(made, (*parts, SimpleNamespace(weight=inner.c_proj.weight.T, bias=inner.c_proj.bias)))
        return made.to(next(base.parameters()).dtype).eval()


def _base_of(model: Any) -> tuple[Any, str | None]:
    """The model without its head, and the type that its configuration names: None where it has none."""
    base = getattr(model, getattr(model, "base_model_prefix", "") or "", model)
    return base, getattr(getattr(base, "config", None), "model_type", None)


def _called(model: Any, kind: str | None) -> str:
    return f"a {type(model).__name__} without a configuration" if kind is None else f"a model of type {kind!r}"


@torch.no_grad()
def _copy(made: MultiHeadAttention, linears: Sequence[Any]) -> None:
    """Take over weight [out, in] and bias [out] of the four projections."""
    for mine, theirs in zip((made.q_proj, made.k_proj, made.v_proj, made.out_proj), linears, strict=True):
        mine.weight.copy_(theirs.weight)
        if mine.bias is not None:
            mine.bias.copy_(theirs.bias)


class TransformerEncoderLayer(nn.Module):
    """Attention, then a two-layer network for each token by itself; each adds to the stream, with a norm around it.

    norm_first=False normalises after each sum (BERT, the original), True before each part (most models since).
    """

    def __init__(
        self, width: int, heads: int, hidden: int, *, norm_first: bool = False, epsilon: float = 1e-5, **attention: Any
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, **attention)
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.feed_forward_norm = nn.LayerNorm(width, eps=epsilon)
        self.norm_first = norm_first

    def forward(
        self, x: Float[Tensor, "B T M"], key_padding: Bool[Tensor, "B T"] | None = None, return_steps: bool = False
    ) -> Any:
        """[B, T, M] -> [B, T, M]; with `return_steps` also the attention's steps."""
        before = self.attention_norm(x) if self.norm_first else x
        written, steps = self.attention(before, key_padding=key_padding, return_steps=True)  # [B, T, M]
        x = x + written
        x = x if self.norm_first else self.attention_norm(x)
        before = self.feed_forward_norm(x) if self.norm_first else x
        x = x + self.feed_forward(before)  # [B, T, M] -> [B, T, hidden] -> [B, T, M]
        x = x if self.norm_first else self.feed_forward_norm(x)
        return (x, steps) if return_steps else x


class TokenEmbedding(nn.Module):
    """A vector for the token, one for its position and one for its sentence, summed and normalised (BERT's)."""

    def __init__(self, vocabulary: int, positions: int, segments: int, width: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(positions, width)
        self.segment = nn.Embedding(segments, width)
        self.norm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, ids: Int[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None) -> Float[Tensor, "B T M"]:
        """[B, T] ids (and 0 or 1 for the sentence of a pair) -> [B, T, M]."""
        positions = torch.arange(ids.shape[1], device=ids.device)  # [T]
        segments = torch.zeros_like(ids) if segments is None else segments
        return self.norm(self.word(ids) + self.position(positions) + self.segment(segments))


class TransformerEncoder(nn.Module):
    """A stack of encoder layers, with an embedding in front where there is one, and a norm at the end where layers
    normalise first."""

    def __init__(
        self,
        layers: Sequence[TransformerEncoderLayer],
        embedding: TokenEmbedding | None = None,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.embedding, self.layers, self.norm = embedding, nn.ModuleList(layers), norm

    def forward(
        self,
        x: Shaped[Tensor, "B T *M"],
        key_padding: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
        return_steps: bool = False,
    ) -> Any:
        """Ids [B, T], or vectors [B, T, M], -> hidden states [B, T, M]; with `return_steps` also the hidden states of
        the embedding and every layer, and each layer's steps."""
        if self.embedding is not None and not x.is_floating_point():
            x = self.embedding(x, segments)  # [B, T] -> [B, T, M]
        hidden, steps = [x], []
        for layer in self.layers:
            x, taken = layer(x, key_padding, return_steps=True)  # [B, T, M]
            hidden.append(x)
            steps.append(taken)
        x = x if self.norm is None else self.norm(x)
        return (x, hidden, steps) if return_steps else x

    @classmethod
    @torch.no_grad()
    def from_bert(cls, model: nn.Module) -> "TransformerEncoder":
        """A whole BERT encoder with its trained weights. Raises ValueError for another kind of model."""
        bert, kind = _base_of(model)
        if kind != "bert":
            raise ValueError(f"from_bert reads Hugging Face's BERT, and this is {_called(model, kind)}.")
        config: Any = bert.config
        if config.hidden_act != "gelu":
            raise ValueError(f"from_bert reads BERT with gelu, and this one has {config.hidden_act}.")
        table, eps = bert.embeddings, config.layer_norm_eps
        embedding = TokenEmbedding(
            config.vocab_size, config.max_position_embeddings, config.type_vocab_size, config.hidden_size, eps
        )
        for mine, theirs in (
            (embedding.word, table.word_embeddings), (embedding.position, table.position_embeddings),
            (embedding.segment, table.token_type_embeddings), (embedding.norm, table.LayerNorm),
        ):  # fmt: skip
            mine.load_state_dict(theirs.state_dict())
        layers = []
        for number, block in enumerate(bert.encoder.layer):
            layer = TransformerEncoderLayer(
                config.hidden_size, config.num_attention_heads, config.intermediate_size, epsilon=eps
            )
            layer.attention = MultiHeadAttention.from_site(bert, number)
            layer.feed_forward[0].load_state_dict(block.intermediate.dense.state_dict())
            layer.feed_forward[2].load_state_dict(block.output.dense.state_dict())
            layer.attention_norm.load_state_dict(block.attention.output.LayerNorm.state_dict())
            layer.feed_forward_norm.load_state_dict(block.output.LayerNorm.state_dict())
            layers.append(layer)
        return cls(layers, embedding).to(next(bert.parameters()).dtype).eval()
