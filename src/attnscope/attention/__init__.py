"""Scaled dot-product attention, from the dot product to a whole encoder. Torch only; written to be read."""

from attnscope.attention import from_transformers as from_transformers
from attnscope.attention.functions import (
    AttentionSteps,
    add_position_bias,
    apply_mask,
    attention_steps,
    cap,
    causal,
    dot_product,
    merge_heads,
    project_output,
    repeat_heads,
    rotary,
    scale,
    scaled_dot_product_attention,
    softmax_over_keys,
    split_heads,
    weighted_sum,
)
from attnscope.attention.layers import (
    KeyValueCache,
    MultiHeadAttention,
    TokenEmbedding as TokenEmbedding,
    TransformerEncoder,
    TransformerEncoderLayer,
)

__all__ = [
    "AttentionSteps",
    "KeyValueCache",
    "MultiHeadAttention",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "add_position_bias",
    "apply_mask",
    "attention_steps",
    "cap",
    "causal",
    "dot_product",
    "merge_heads",
    "project_output",
    "repeat_heads",
    "rotary",
    "scale",
    "scaled_dot_product_attention",
    "softmax_over_keys",
    "split_heads",
    "weighted_sum",
]
