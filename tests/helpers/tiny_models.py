"""Tiny models with random weights, one per architecture, and a tokenizer for texts.

Sizes are primes, all different where the architecture lets them be, so that no axis can be taken for another; head
sizes of rotary models are twice a prime. Weights are spread widely: the attention of a freshly initialised model is
nearly uniform, and then almost any mistake would agree with it.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from tiny_kinds import (
    CAUSAL as CAUSAL,
    KINDS as KINDS,
    OWN_CODE as OWN_CODE,
    PAD as PAD,
    TEXT as TEXT,
    VARIANTS as VARIANTS,
    VOCABULARY as VOCABULARY,
    Kind as Kind,
)


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
    match (KINDS | VARIANTS)[name].reads:
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
    kind = (KINDS | VARIANTS)[name]
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
        tokenizer_object=raw,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=model_max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
