"""A toy for docs/gallery: a very small T5 that learns, in some seconds, to write words backwards."""

from typing import Any

import torch

WORDS = "the a small old big dog cat bird child teacher sees hears follows likes helps and today".split()
START, END = 0, 1  # <pad>, which T5's decoder starts with, and </s>
STEPS, LENGTHS = 700, (3, 9)


def backwards() -> tuple[Any, Any]:
    """(a T5 of one layer and four heads on each side, trained; its tokenizer, one token a word).

    The seed is fixed and one thread works, so that it learns the same each time on one machine.
    """
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=2 + len(WORDS), d_model=64, d_kv=16, d_ff=128, num_layers=1, num_decoder_layers=1, num_heads=4,
        dropout_rate=0.0, pad_token_id=START, eos_token_id=END, relative_attention_max_distance=32,
    )  # fmt: skip
    config.decoder_start_token_id = START
    config._name_or_path = "a toy T5"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = T5ForConditionalGeneration(config)
            _train(model)
    finally:
        torch.set_num_threads(threads)
    return model.eval(), _tokenizer()


def _train(model: Any) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS, pct_start=0.1)
    end = torch.full((64, 1), END)
    for _ in range(STEPS):
        words = torch.randint(2, 2 + len(WORDS), (64, int(torch.randint(*LENGTHS, ()))))
        loss = model(input_ids=torch.cat([words, end], 1), labels=torch.cat([words.flip(1), end], 1)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = {"<pad>": START, "</s>": END, **{word: 2 + i for i, word in enumerate(WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(names, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
