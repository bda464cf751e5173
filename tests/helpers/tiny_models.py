"""Tiny models with random weights, one per architecture, and a tokenizer for texts.

Sizes are primes, all different where the architecture lets them be, so that no axis can be taken for another; head
sizes of rotary models are twice a prime. Weights are spread widely: the attention of a freshly initialised model is
nearly uniform, and then almost any mistake would agree with it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import transformers
from torch import Tensor, nn

VOCABULARY = 97
PAD = 1


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


_BERT = {
    "vocab_size": VOCABULARY, "hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 53,
    "max_position_embeddings": 61, "pad_token_id": PAD,
}  # fmt: skip
_LLAMA = {
    "vocab_size": VOCABULARY, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
    "head_dim": 10, "intermediate_size": 53, "max_position_embeddings": 61, "pad_token_id": PAD,
    "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip

KINDS: dict[str, Kind] = {
    "bert": Kind("BertConfig", "BertModel", _BERT, "encoder.layer.{i}.attention.output.dense"),
    "roberta": Kind("RobertaConfig", "RobertaModel", _BERT, "encoder.layer.{i}.attention.output.dense"),
    "xlm_roberta": Kind("XLMRobertaConfig", "XLMRobertaModel", _BERT, "encoder.layer.{i}.attention.output.dense"),
    "distilbert": Kind(
        "DistilBertConfig", "DistilBertModel",
        {"vocab_size": VOCABULARY, "dim": 21, "n_layers": 2, "n_heads": 3, "hidden_dim": 53, "max_position_embeddings": 61,
         "pad_token_id": PAD},
        "transformer.layer.{i}.attention.out_lin",
    ),
    "albert": Kind(
        "AlbertConfig", "AlbertModel", {**_BERT, "embedding_size": 13, "num_hidden_layers": 3, "num_hidden_groups": 1},
        "encoder.albert_layer_groups.0.albert_layers.0.attention.dense", layers=3,
    ),
    "electra": Kind(
        "ElectraConfig", "ElectraModel", {**_BERT, "embedding_size": 13}, "encoder.layer.{i}.attention.output.dense"
    ),
    "modernbert": Kind(
        "ModernBertConfig", "ModernBertModel",
        {"vocab_size": VOCABULARY, "hidden_size": 42, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 53,
         "max_position_embeddings": 61, "local_attention": 6, "global_attn_every_n_layers": 3, "pad_token_id": PAD,
         "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3},
        "layers.{i}.attn.Wo", layers=3,
    ),
    "t5": Kind(
        "T5Config", "T5Model",
        {"vocab_size": VOCABULARY, "d_model": 19, "d_kv": 7, "d_ff": 53, "num_layers": 2, "num_heads": 3,
         "relative_attention_num_buckets": 11, "relative_attention_max_distance": 23, "pad_token_id": PAD,
         "decoder_start_token_id": PAD, "eos_token_id": 3},
        reads="pair",
    ),
    "gpt2": Kind(
        "GPT2Config", "GPT2LMHeadModel",
        {"vocab_size": VOCABULARY, "n_embd": 21, "n_layer": 2, "n_head": 3, "n_inner": 53, "n_positions": 61,
         "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": PAD},
        "transformer.h.{i}.attn.c_proj", causal=True,
    ),
    "gpt_neox": Kind(
        "GPTNeoXConfig", "GPTNeoXForCausalLM",
        {"vocab_size": VOCABULARY, "hidden_size": 66, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 53,
         "max_position_embeddings": 61, "rotary_pct": 0.5, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": PAD},
        "gpt_neox.layers.{i}.attention.dense", causal=True,
    ),
    "opt": Kind(
        "OPTConfig", "OPTForCausalLM",
        {"vocab_size": VOCABULARY, "hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3, "ffn_dim": 53,
         "max_position_embeddings": 61, "word_embed_proj_dim": 21, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": PAD},
        "model.decoder.layers.{i}.self_attn.out_proj", causal=True,
    ),
    "llama": Kind("LlamaConfig", "LlamaForCausalLM", _LLAMA, "model.layers.{i}.self_attn.o_proj", causal=True),
    "mistral": Kind(
        "MistralConfig", "MistralForCausalLM", {**_LLAMA, "head_dim": 14, "sliding_window": 5},
        "model.layers.{i}.self_attn.o_proj", causal=True,
    ),
    "qwen3": Kind("Qwen3Config", "Qwen3ForCausalLM", {**_LLAMA, "head_dim": 22}, "model.layers.{i}.self_attn.o_proj", causal=True),
    "gemma2": Kind(
        "Gemma2Config", "Gemma2ForCausalLM",
        {**_LLAMA, "head_dim": 14, "sliding_window": 5, "query_pre_attn_scalar": 11, "attn_logit_softcapping": 2.0},
        "model.layers.{i}.self_attn.o_proj", causal=True, implementations=("eager",),
    ),
    "gpt_oss": Kind(
        "GptOssConfig", "GptOssForCausalLM",
        {**_LLAMA, "sliding_window": 5, "num_local_experts": 3, "num_experts_per_tok": 2, "layer_types": ["sliding_attention", "full_attention"]},
        "model.layers.{i}.self_attn.o_proj", causal=True, implementations=("eager",), extras=frozenset({"sinks"}),
    ),
    "vit": Kind(
        "ViTConfig", "ViTModel",
        {"hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 53, "image_size": 15,
         "patch_size": 3, "num_channels": 3},
        reads="image",
    ),
}  # fmt: skip

# For generate(): the same as T5, with a language-model head.
VARIANTS = {"t5_generates": replace(KINDS["t5"], model="T5ForConditionalGeneration")}

TEXT = tuple(name for name, kind in KINDS.items() if kind.reads == "text")
CAUSAL = tuple(name for name, kind in KINDS.items() if kind.causal)


@functools.cache
def model(name: str, implementation: str = "eager", dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """The tiny model of a kind, in eval mode; the same weights for every implementation. One per session: leave it as it is."""
    return fresh_model(name, implementation, dtype, **changes)


def fresh_model(name: str, implementation: str = "eager", dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """The same, built anew: for tests that change it."""
    kind = (KINDS | VARIANTS)[name]
    config = getattr(transformers, kind.config)(**{**kind.options, **changes})
    config._attn_implementation = implementation
    config._experts_implementation = "eager"  # the others want sizes that are multiples of 16 bytes
    with torch.random.fork_rng():
        torch.manual_seed(sum(map(ord, name)))
        built = getattr(transformers, kind.model)(config)
        spread(built)
    return built.to(dtype).eval()


@torch.no_grad()
def spread(module: nn.Module) -> None:
    """Weights large enough that attention is far from uniform, and biases and norms that are not trivial."""
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    for name, parameter in sorted(module.named_parameters()):
        if parameter.ndim >= 2:
            parameter.normal_(0, 1.0 if id(parameter) in tables else 1.3 * parameter.shape[-1] ** -0.5)
        elif "norm" in name.lower() or ".ln_" in name:
            parameter.add_(torch.randn_like(parameter) * 0.1)
        else:
            parameter.normal_(0, 0.3)


@functools.cache
def ids(rows: int = 1, length: int = 13, seed: int = 0) -> Tensor:
    """[rows, length] ordinary token ids."""
    return torch.randint(5, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def inputs(name: str, length: int = 13) -> dict[str, Tensor]:
    """Inputs of one row that fit the kind."""
    match KINDS[name].reads:
        case "image":
            return {"pixel_values": torch.randn(1, 3, 15, 15, generator=torch.Generator().manual_seed(5))}
        case "pair":
            return {"input_ids": ids(1, length), "decoder_input_ids": ids(1, 7, seed=1)}
    return {"input_ids": ids(1, length)}


def padded_batch(side: str, length: int = 13, shorter: int = 8) -> dict[str, Tensor]:
    """A row of `length` and one of `shorter` tokens, padded on one side."""
    token_ids = ids(2, length, seed=2).clone()
    mask = torch.ones_like(token_ids)
    padding = slice(shorter, None) if side == "right" else slice(None, length - shorter)
    token_ids[1, padding], mask[1, padding] = PAD, 0
    return {"input_ids": token_ids, "attention_mask": mask}


def projection_paths(name: str) -> list[str]:
    """The module path of W_O of every attention call, in order."""
    kind = KINDS[name]
    assert kind.projection is not None
    return [kind.projection.format(i=i) for i in range(kind.layers)]


def watch(module: nn.Module, paths: list[str]) -> tuple[dict[str, list[tuple[Tensor, Tensor]]], Callable[[], None]]:
    """(input, output) of these modules at every call, by path, seen through hooks of the test's own."""
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {path: [] for path in paths}
    handles = [
        module.get_submodule(path).register_forward_hook(
            lambda _, args, output, path=path: seen[path].append((args[0].detach(), output.detach()))
        )
        for path in seen
    ]

    def stop() -> None:
        for handle in handles:
            handle.remove()

    return seen, stop


@functools.cache
def tokenizer(model_max_length: int = 10**9) -> Any:
    """A WordPiece tokenizer of 97 entries with [CLS] … [SEP] … [SEP] and token types, as BERT's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    words = "the cat sat on mat dog ran to a of in it air plane flies high low . , ! ?".split()
    pieces = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    entries = [*special, *dict.fromkeys([*words, *pieces, *("##" + piece for piece in pieces), "##s", "##ing"])]
    vocabulary = {entry: number for number, entry in enumerate(entries[:VOCABULARY])}
    raw = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
        model_max_length=model_max_length, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
