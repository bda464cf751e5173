"""The architectures of tests/helpers/tiny_models.py: how to build each, and where its output projections are.

Sizes are primes, all different where the architecture lets them be, so that no axis can be taken for another; head
sizes of rotary models are twice a prime.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import transformers

VOCABULARY = 97
PAD = 1
# In older releases of transformers these attend in code of their own, and not through its interface.
OWN_CODE = frozenset() if transformers.T5Model._supports_sdpa else frozenset({"modernbert", "t5"})


@dataclass(frozen=True)
class Kind:
    """An architecture: how to build it, and where its output projections are (a path with {i} for the layer)."""

    config: str
    model: str
    options: dict[str, Any]
    projection: str | None = None
    layers: int = 2
    implementations: tuple[str, ...] = ("eager", "sdpa")
    reads: str = "text"  # or "image", "pair" (encoder and decoder)
    causal: bool = False
    extras: frozenset[str] = field(default_factory=frozenset)

    @property
    def runs(self) -> tuple[str, ...]:
        """The implementations that the installed transformers has for it: T5 was without sdpa for long."""
        sdpa = getattr(getattr(transformers, self.model), "_supports_sdpa", True)
        return tuple(one for one in self.implementations if one != "sdpa" or sdpa)


_BERT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 21,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 53,
    "max_position_embeddings": 61,
    "pad_token_id": PAD,
}
_LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 18,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "intermediate_size": 53,
    "max_position_embeddings": 61,
    "pad_token_id": PAD,
    "bos_token_id": 2,
    "eos_token_id": 3,
}

KINDS: dict[str, Kind] = {
    "bert": Kind("BertConfig", "BertModel", _BERT, "encoder.layer.{i}.attention.output.dense"),
    "roberta": Kind("RobertaConfig", "RobertaModel", _BERT, "encoder.layer.{i}.attention.output.dense"),
    "xlm_roberta": Kind("XLMRobertaConfig", "XLMRobertaModel", _BERT, "encoder.layer.{i}.attention.output.dense"),
    "distilbert": Kind(
        "DistilBertConfig",
        "DistilBertModel",
        {
            "vocab_size": VOCABULARY,
            "dim": 21,
            "n_layers": 2,
            "n_heads": 3,
            "hidden_dim": 53,
            "max_position_embeddings": 61,
            "pad_token_id": PAD,
        },
        "transformer.layer.{i}.attention.out_lin",
    ),
    "albert": Kind(
        "AlbertConfig",
        "AlbertModel",
        {**_BERT, "embedding_size": 13, "num_hidden_layers": 3, "num_hidden_groups": 1},
        "encoder.albert_layer_groups.0.albert_layers.0.attention.dense",
        layers=3,
    ),
    "electra": Kind(
        "ElectraConfig", "ElectraModel", {**_BERT, "embedding_size": 13}, "encoder.layer.{i}.attention.output.dense"
    ),
    "modernbert": Kind(
        "ModernBertConfig",
        "ModernBertModel",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 42,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "intermediate_size": 53,
            "max_position_embeddings": 61,
            "local_attention": 6,
            "global_attn_every_n_layers": 3,
            "pad_token_id": PAD,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "cls_token_id": 2,
            "sep_token_id": 3,
        },
        "layers.{i}.attn.Wo",
        layers=3,
    ),
    "t5": Kind(
        "T5Config",
        "T5Model",
        {
            "vocab_size": VOCABULARY,
            "d_model": 19,
            "d_kv": 7,
            "d_ff": 53,
            "num_layers": 2,
            "num_heads": 3,
            "relative_attention_num_buckets": 11,
            "relative_attention_max_distance": 23,
            "pad_token_id": PAD,
            "decoder_start_token_id": PAD,
            "eos_token_id": 3,
        },
        reads="pair",
    ),
    "gpt2": Kind(
        "GPT2Config",
        "GPT2LMHeadModel",
        {
            "vocab_size": VOCABULARY,
            "n_embd": 21,
            "n_layer": 2,
            "n_head": 3,
            "n_inner": 53,
            "n_positions": 61,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "pad_token_id": PAD,
        },
        "transformer.h.{i}.attn.c_proj",
        causal=True,
    ),
    "gpt_neox": Kind(
        "GPTNeoXConfig",
        "GPTNeoXForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 66,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 53,
            "max_position_embeddings": 61,
            "rotary_pct": 0.5,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "pad_token_id": PAD,
        },
        "gpt_neox.layers.{i}.attention.dense",
        causal=True,
    ),
    "opt": Kind(
        "OPTConfig",
        "OPTForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 21,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "ffn_dim": 53,
            "max_position_embeddings": 61,
            "word_embed_proj_dim": 21,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "pad_token_id": PAD,
        },
        "model.decoder.layers.{i}.self_attn.out_proj",
        causal=True,
    ),
    "llama": Kind("LlamaConfig", "LlamaForCausalLM", _LLAMA, "model.layers.{i}.self_attn.o_proj", causal=True),
    "mistral": Kind(
        "MistralConfig",
        "MistralForCausalLM",
        {**_LLAMA, "head_dim": 14, "sliding_window": 5},
        "model.layers.{i}.self_attn.o_proj",
        causal=True,
    ),
    "qwen3": Kind(
        "Qwen3Config", "Qwen3ForCausalLM", {**_LLAMA, "head_dim": 22}, "model.layers.{i}.self_attn.o_proj", causal=True
    ),
    "gemma2": Kind(
        "Gemma2Config",
        "Gemma2ForCausalLM",
        {**_LLAMA, "head_dim": 14, "sliding_window": 5, "query_pre_attn_scalar": 11, "attn_logit_softcapping": 2.0},
        "model.layers.{i}.self_attn.o_proj",
        causal=True,
        implementations=("eager",),
    ),
    "gpt_oss": Kind(
        "GptOssConfig",
        "GptOssForCausalLM",
        {
            **_LLAMA,
            "sliding_window": 5,
            "num_local_experts": 3,
            "num_experts_per_tok": 2,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        "model.layers.{i}.self_attn.o_proj",
        causal=True,
        implementations=("eager",),
        extras=frozenset({"sinks"}),
    ),
    "vit": Kind(
        "ViTConfig",
        "ViTModel",
        {
            "hidden_size": 21,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 53,
            "image_size": 15,
            "patch_size": 3,
            "num_channels": 3,
        },
        reads="image",
    ),
}

_WIDE = {**_LLAMA, "hidden_size": 60}  # of these the head size is the width over the heads

# The same with a head, and architectures whose blocks write into the stream in other ways: in parallel, with norms behind them, with factors.
VARIANTS = {
    "t5_generates": replace(KINDS["t5"], model="T5ForConditionalGeneration"),
    "bert_fills": replace(KINDS["bert"], model="BertForMaskedLM"),
    "llama_labels": replace(
        KINDS["llama"],
        model="LlamaForSequenceClassification",
        options={**KINDS["llama"].options, "num_labels": 5, "pad_token_id": 0},
    ),
    "vit_labels": replace(
        KINDS["vit"], model="ViTForImageClassification", options={**KINDS["vit"].options, "num_labels": 5}
    ),
    "bert_labels": replace(KINDS["bert"], model="BertForSequenceClassification"),
    "olmo2": Kind("Olmo2Config", "Olmo2ForCausalLM", _WIDE, "model.layers.{i}.self_attn.o_proj", causal=True),
    "granite": Kind(
        "GraniteConfig",
        "GraniteForCausalLM",
        {
            **_WIDE,
            "residual_multiplier": 0.22,
            "embedding_multiplier": 3.0,
            "logits_scaling": 4.0,
            "attention_multiplier": 0.3,
        },
        causal=True,
    ),
    "cohere": Kind("CohereConfig", "CohereForCausalLM", {**_WIDE, "logit_scale": 0.25}, causal=True),
    "gptj": Kind(
        "GPTJConfig",
        "GPTJForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "n_embd": 30,
            "n_layer": 2,
            "n_head": 3,
            "rotary_dim": 4,
            "n_inner": 53,
            "n_positions": 61,
            "bos_token_id": 2,
            "eos_token_id": 3,
        },
        causal=True,
        implementations=("eager",),
    ),
    "falcon": Kind(
        "FalconConfig",
        "FalconForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 60,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
            "alibi": False,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "pad_token_id": PAD,
        },
        causal=True,
    ),
    "deepseek": Kind(
        "DeepseekV3Config",
        "DeepseekV3ForCausalLM",
        {
            **_LLAMA,
            "num_key_value_heads": 6,
            "q_lora_rank": 11,
            "kv_lora_rank": 13,
            "head_dim": 6,
            "qk_rope_head_dim": 6,
            "qk_nope_head_dim": 10,
            "v_head_dim": 7,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 17,
            "n_shared_experts": 1,
        },
        causal=True,
    ),
    "gated": Kind(
        "Qwen3NextConfig",
        "Qwen3NextForCausalLM",
        {
            **_WIDE,
            "num_experts": 3,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 17,
            "layer_types": ["full_attention", "full_attention"],
            "use_cache": False,  # its cache looks for a linear layer in transformers 5.1
        },
        causal=True,
    ),
}

TEXT = tuple(name for name, kind in KINDS.items() if kind.reads == "text")
CAUSAL = tuple(name for name, kind in KINDS.items() if kind.causal)
