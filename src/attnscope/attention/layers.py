"""The chain inside layers: a cache of keys and values, multi-head attention, and a whole encoder.

Axes as in functions.py: `B` batch, `T` tokens, `Q` queries, `K` keys, `S` tokens of another sequence, `H` heads, `G`
key/value heads, `D` head size, `M` model width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from attnscope.attention.functions import attention_steps, merge_heads, repeat_heads, rotary, split_heads


@dataclass
class KeyValueCache:
    """The keys and values of the tokens read so far, so that a step computes only its own.

    `key`: [B, G, T, D]. `value`: [B, G, T, Dv]. None: nothing was read yet.
    """

    key: Float[Tensor, "B G T D"] | None = None
    value: Float[Tensor, "B G T Dv"] | None = None

    @property
    def length(self) -> int:
        """Tokens read so far."""
        return 0 if self.key is None else self.key.shape[-2]

    def append(
        self, key: Float[Tensor, "B G T D"], value: Float[Tensor, "B G T Dv"]
    ) -> tuple[Float[Tensor, "B G K D"], Float[Tensor, "B G K Dv"]]:
        """Add a step's keys and values; returns all there are, [B, G, K, D] and [B, G, K, Dv].

        `key`: [B, G, T, D]. `value`: [B, G, T, Dv], of the step's T tokens.
        """
        self.key = key if self.key is None else torch.cat([self.key, key], dim=-2)
        self.value = value if self.value is None else torch.cat([self.value, value], dim=-2)
        return self.key, self.value


class MultiHeadAttention(nn.Module):
    """Several heads of attention over one sequence (or from one to another), between learned projections.

    `width`: size M of a token's vector.
    `heads`: H, the query heads.
    `kv_heads`: G, fewer key/value heads that groups of query heads share (None: as many as query heads).
    `head_size`: D (None: M / H).
    `bias`: whether the three projections to q, k and v have one.
    `output_bias`: whether the output projection has one (None: as `bias`).
    `causal`: a token sees itself and what came before.
    `rotary_theta`: turn q and k by position first, see `rotary` (None: no).
    `scaling`: what q · k is multiplied by (None: 1/√D).

    Raises ValueError where heads do not divide the width or the groups. Source: Vaswani et al. 2017, section 3.2.2.
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
        """What the layer writes, [B, Q, M]; with `return_steps` a pair of that and the AttentionSteps, each [B, H, …].

        `x`: [B, Q, M], the tokens that look.
        `memory`: [B, S, M], the sequence to look at (None: x itself).
        `key_padding`: [B, K], True for keys that may be seen, cached ones included.
        `cache`: keys and values of earlier tokens; filled in place.
        `return_steps`: whether to return the chain as well.

        Raises ValueError for a `key_padding` that is not boolean.
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
                    f"expected key_padding to be boolean, True for keys that may be seen, got {key_padding.dtype}. Of a "
                    "tokenizer's attention_mask (1: a token, 0: padding) pass attention_mask.bool()."
                )
            seen = key_padding[:, None, None, :]  # [B, 1, 1, K]: columns, never rows
            allowed = seen.expand(-1, 1, queries, -1) if allowed is None else allowed & seen
        return allowed

    @classmethod
    def from_site(cls, model: nn.Module, layer: int) -> "MultiHeadAttention":
        """The attention of one layer of a Hugging Face BERT, GPT-2 or Llama, with its trained projections.

        Reproduces what that layer's attention writes (before the residual sum). Raises ValueError for other models
        and for a layer that is not there.

        `model`: the whole model, or one with a task's head on it.
        `layer`: its number, from 0.
        """
        import attnscope

        return attnscope.attention.from_transformers.attention_of(model, layer, cls)


class TransformerEncoderLayer(nn.Module):
    """Attention, then a two-layer network for each token by itself; each adds to the stream, with a norm around it.

    `width`: size M of a token's vector.
    `heads`: H.
    `hidden`: size of the network's middle layer.
    `norm_first`: False normalises after each sum (BERT, the original), True before each part (most models since).
    `epsilon`: of the norms.
    `attention`: further arguments of MultiHeadAttention, by name.
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
        """[B, T, M]; with `return_steps` a pair of that and the attention's steps.

        `x`: [B, T, M]. `key_padding`: [B, T], True for tokens, False for padding. `return_steps`: whether to return the
        chain as well.
        """
        before = self.attention_norm(x) if self.norm_first else x
        written, steps = self.attention(before, key_padding=key_padding, return_steps=True)  # [B, T, M]
        x = x + written
        x = x if self.norm_first else self.attention_norm(x)
        before = self.feed_forward_norm(x) if self.norm_first else x
        x = x + self.feed_forward(before)  # [B, T, M] -> [B, T, hidden] -> [B, T, M]
        x = x if self.norm_first else self.feed_forward_norm(x)
        return (x, steps) if return_steps else x


class TokenEmbedding(nn.Module):
    """A vector for the token, one for its position and one for its sentence, summed and normalised (BERT's).

    `vocabulary`, `positions`, `segments`: entries of the three tables. `width`: size M of a vector. `epsilon`: of the
        norm.
    """

    def __init__(self, vocabulary: int, positions: int, segments: int, width: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(positions, width)
        self.segment = nn.Embedding(segments, width)
        self.norm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, ids: Int[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None) -> Float[Tensor, "B T M"]:
        """[B, T, M].

        `ids`: [B, T] token ids. `segments`: [B, T], 0 or 1 for the sentence of a pair (None: 0 throughout).
        """
        positions = torch.arange(ids.shape[1], device=ids.device)  # [T]
        segments = torch.zeros_like(ids) if segments is None else segments
        return self.norm(self.word(ids) + self.position(positions) + self.segment(segments))


class TransformerEncoder(nn.Module):
    """A stack of encoder layers.

    `layers`: in order. `embedding`: stands in front (None: forward takes vectors). `norm`: stands at the end, where
    layers normalise first (None: no norm).
    """

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
        """Hidden states [B, T, M]; with `return_steps` also a list of the hidden states of the embedding and every
        layer, and a list of each layer's steps.

        `x`: ids [B, T], or vectors [B, T, M].
        `key_padding`: [B, T], True for tokens, False for padding.
        `segments`: [B, T], 0 or 1 for the sentence of a pair.
        `return_steps`: whether to return those lists as well.
        """
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
    def from_bert(cls, model: nn.Module) -> "TransformerEncoder":
        """A whole BERT encoder with its trained weights. Raises ValueError for another kind of model.

        `model`: Hugging Face's BERT, with or without a task's head.
        """
        import attnscope

        return attnscope.attention.from_transformers.encoder_of(model, cls)
