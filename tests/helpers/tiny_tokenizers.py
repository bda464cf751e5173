"""A tokenizer that begins every text with <s>, as Llama's, and a chat template for it."""

from typing import Any

import transformers

import tiny_models as tiny

CHATML = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def begins(chat: str | None = None, known: tuple[str, ...] = (), **options: Any) -> Any:
    """A tokenizer that begins every text with <s>, as Llama's: words, letters and signs, 97 entries at most."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["<unk>", "<pad>", "<s>", "</s>", *known]
    words = "the cat sat on mat dog ran to a of in it user im start end".split()
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    entries = list(dict.fromkeys([*special, *words, *letters, *("##" + x for x in letters), *"<>|[]_/!?.,:"]))
    raw = Tokenizer(models.WordPiece({e: i for i, e in enumerate(entries[: tiny.VOCABULARY])}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 2)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(known),
        model_input_names=["input_ids", "attention_mask"],
        **{"pad_token": "<pad>", **options},
    )
    tokenizer.chat_template = chat
    return tokenizer
