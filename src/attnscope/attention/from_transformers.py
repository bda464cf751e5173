"""Layers of attnscope.attention with the trained weights of Hugging Face's models. Nothing of transformers is imported:
a model is read through its configuration and its modules' names."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from attnscope.attention.layers import MultiHeadAttention, TokenEmbedding, TransformerEncoder, TransformerEncoderLayer

LAYERS = {"bert": "encoder.layer", "gpt2": "h", "llama": "layers"}  # where each type of model keeps its layers


def attention_of(
    model: nn.Module, layer: int, cls: type[MultiHeadAttention] = MultiHeadAttention
) -> MultiHeadAttention:
    """`MultiHeadAttention.from_site`, which says what `model` and `layer` are and what it raises, for the class `cls`."""
    base, kind = _base_of(model)
    if kind not in LAYERS:
        raise ValueError(
            f"expected Hugging Face's BERT, GPT-2 or Llama, got {_named(model, kind)}. from_site reads no other models."
        )
    blocks = base.get_submodule(LAYERS[kind])
    if not 0 <= layer < len(blocks):
        raise ValueError(f"layer {layer} is out of range: the model has layers 0 to {len(blocks) - 1}.")
    read = {"bert": _from_bert, "gpt2": _from_gpt2, "llama": _from_llama}[kind]
    return read(cls, base.config, blocks[layer], layer).to(next(base.parameters()).dtype).eval()


def _from_bert(cls: type[MultiHeadAttention], config: Any, block: Any, _: int) -> MultiHeadAttention:
    inner, out = block.attention.self, block.attention.output.dense
    made = cls(config.hidden_size, config.num_attention_heads, causal=bool(config.is_decoder))
    return _copy(made, (inner.query, inner.key, inner.value, out))


def _from_llama(cls: type[MultiHeadAttention], config: Any, block: Any, _: int) -> MultiHeadAttention:
    kind = config.rope_parameters.get("rope_type", "default")
    if kind != "default":
        raise ValueError(
            f"expected a Llama with the plain rotary embedding, got one that scales it ({kind}). Take the weights of a "
            "model without rope scaling."
        )
    inner = block.self_attn
    made = cls(
        config.hidden_size,
        config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_size=inner.head_dim,
        bias=inner.q_proj.bias is not None,
        output_bias=inner.o_proj.bias is not None,
        causal=True,
        rotary_theta=config.rope_parameters["rope_theta"],
    )
    return _copy(made, (inner.q_proj, inner.k_proj, inner.v_proj, inner.o_proj))


def _from_gpt2(cls: type[MultiHeadAttention], config: Any, block: Any, layer: int) -> MultiHeadAttention:
    inner = block.attn
    scaling = inner.head_dim**-0.5 if config.scale_attn_weights else 1.0
    if config.scale_attn_by_inverse_layer_idx:
        scaling /= layer + 1
    made = cls(config.n_embd, config.n_head, causal=True, scaling=scaling)
    # GPT-2 keeps q, k, v in one matrix, stored [in, out] where nn.Linear stores [out, in].
    weights = inner.c_attn.weight.T.chunk(3)  # three of [M, M]
    biases = inner.c_attn.bias.chunk(3)  # three of [M]
    parts = [SimpleNamespace(weight=w, bias=b) for w, b in zip(weights, biases, strict=True)]
    return _copy(made, (*parts, SimpleNamespace(weight=inner.c_proj.weight.T, bias=inner.c_proj.bias)))


@torch.no_grad()
def encoder_of(model: nn.Module, cls: type[TransformerEncoder] = TransformerEncoder) -> TransformerEncoder:
    """`TransformerEncoder.from_bert`, which says what `model` is and what it raises, for the class `cls`."""
    bert, kind = _base_of(model)
    if kind != "bert":
        raise ValueError(f"expected Hugging Face's BERT, got {_named(model, kind)}. from_bert reads no other models.")
    config: Any = bert.config
    if config.hidden_act != "gelu":
        raise ValueError(f"expected a BERT with gelu, got one with {config.hidden_act}.")
    table, eps = bert.embeddings, config.layer_norm_eps
    embedding = TokenEmbedding(
        config.vocab_size, config.max_position_embeddings, config.type_vocab_size, config.hidden_size, eps
    )
    embedding.word.load_state_dict(table.word_embeddings.state_dict())
    embedding.position.load_state_dict(table.position_embeddings.state_dict())
    embedding.segment.load_state_dict(table.token_type_embeddings.state_dict())
    embedding.norm.load_state_dict(table.LayerNorm.state_dict())
    layers = [_encoder_layer(bert, number, block, eps) for number, block in enumerate(bert.encoder.layer)]
    return cls(layers, embedding).to(next(bert.parameters()).dtype).eval()


def _encoder_layer(bert: Any, number: int, block: Any, eps: float) -> TransformerEncoderLayer:
    config = bert.config
    layer = TransformerEncoderLayer(
        config.hidden_size, config.num_attention_heads, config.intermediate_size, epsilon=eps
    )
    layer.attention = attention_of(bert, number)
    layer.feed_forward[0].load_state_dict(block.intermediate.dense.state_dict())
    layer.feed_forward[2].load_state_dict(block.output.dense.state_dict())
    layer.attention_norm.load_state_dict(block.attention.output.LayerNorm.state_dict())
    layer.feed_forward_norm.load_state_dict(block.output.LayerNorm.state_dict())
    return layer


def _base_of(model: Any) -> tuple[Any, str | None]:
    """The model without its head, and the type that its configuration names: None where it has none."""
    base = getattr(model, getattr(model, "base_model_prefix", "") or "", model)
    return base, getattr(getattr(base, "config", None), "model_type", None)


def _named(model: Any, kind: str | None) -> str:
    return f"a {type(model).__name__} without a configuration" if kind is None else f"a model of type {kind!r}"


@torch.no_grad()
def _copy(made: MultiHeadAttention, linears: Sequence[Any]) -> MultiHeadAttention:
    """`made`, with weight [out, in] and bias [out] of the four projections."""
    for mine, theirs in zip((made.q_proj, made.k_proj, made.v_proj, made.out_proj), linears, strict=True):
        mine.weight.copy_(theirs.weight)
        if mine.bias is not None:
            mine.bias.copy_(theirs.bias)
    return made
