"""A tiny model with random weights and its tokenizer, for the examples of the findings about a model in use."""

from typing import Any

WORDS = "the cat sat on a mat dog ran to in of it air plane flies user im start end".split()
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
SIGNS = [*"<>|[]_/!?.,:"]


def tiny(kind: str, chat_template: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a "bert", "gpt2" or "llama" with two layers and 61 positions, in eval mode.

    BERT's tokenizer puts [CLS] before a text and [SEP] after it, the others put <s> before it.
    """
    import torch
    import transformers

    tokenizer = _tokenizer(kind, chat_template)
    common = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 53}
    if kind == "gpt2":
        common |= {"bos_token_id": 2, "eos_token_id": 3}
        config: Any = transformers.GPT2Config(n_embd=24, n_layer=2, n_head=3, n_positions=61, **common)
    elif kind == "llama":
        config = transformers.LlamaConfig(**sizes, max_position_embeddings=61, **common)
    else:
        config = transformers.BertConfig(**sizes, max_position_embeddings=61, **common)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        model = transformers.AutoModel.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:  # wider than at initialisation, where attention is nearly uniform
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
    return model.eval(), tokenizer


def _tokenizer(kind: str, chat_template: str | None) -> Any:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    bert = kind == "bert"
    names = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]") if bert else ("<unk>", "<pad>", "<s>", "</s>")
    markers = [] if chat_template is None else ["<|im_start|>", "<|im_end|>"]
    pieces = [*names, *markers, *WORDS, *LETTERS, *("##" + letter for letter in LETTERS), *SIGNS]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    raw = Tokenizer(models.WordPiece(vocabulary, unk_token=names[0]))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore[reportAttributeAccessIssue]
    single = "[CLS] $A [SEP]" if bert else "<s> $A"
    raw.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single=single, pair=f"{single} $B", special_tokens=[(names[2], 2), (names[3], 3)]
    )
    roles = (
        "unk_token",
        "pad_token",
        *(("cls_token", "sep_token", "mask_token") if bert else ("bos_token", "eos_token")),
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        additional_special_tokens=markers,
        model_input_names=["input_ids", "attention_mask"],
        **dict(zip(roles, names, strict=True)),
    )
    tokenizer.chat_template = chat_template
    return tokenizer
