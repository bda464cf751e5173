"""What the model reads, ready: ids, what each token is, and which units its tokens make."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from attnscope.errors import InputError
from attnscope.head_roles.alignment import Alignment, align
from attnscope.head_roles.treebank import Sentence


@dataclass(frozen=True, eq=False)
class Text:
    """One text for the model. `inputs`: by name, one number a token. `special`: which tokens are special.
    `alignment`: its tokens as words of a treebank; None where it has none. `document`: which document it is of.
    `words`: of a plain text, which word each token is of, where the tokenizer tells. `characters`: how long it is."""

    inputs: dict[str, list[int]]
    special: tuple[bool, ...]
    document: str
    alignment: Alignment | None = None
    sentence: Sentence | None = field(default=None, repr=False)
    words: tuple[int | None, ...] | None = None
    characters: int = 0

    @property
    def ids(self) -> list[int]:
        return self.inputs["input_ids"]

    def __len__(self) -> int:
        return len(self.ids)


def read_sentences(tokenizer: Any, sentences: Sequence[Sentence], limit: int | None) -> tuple[list[Text], list[str]]:
    """Sentences of a treebank as the tokenizer splits them, and one line of prose for each that is left out.

    `limit`: how many tokens the model can read. Raises InputError for a tokenizer that does not say which characters a
    token covers, and where no sentence is left.
    """
    check_offsets(tokenizer)
    sentences = [s for s in sentences if len(s.spans) > 1]  # a word alone looks at nothing
    encoded = tokenizer(
        [s.text for s in sentences], return_offsets_mapping=True, return_special_tokens_mask=True, truncation=False
    )
    texts, left_out = [], []
    for number, sentence in enumerate(sentences):
        row = {name: encoded[name][number] for name in encoded}
        special = tuple(map(bool, row.pop("special_tokens_mask")))
        alignment = align(sentence.text, sentence.spans, row.pop("offset_mapping"), special)
        where = f"line {sentence.line}" if sentence.line else f'"{sentence.text[:40]}"'
        if limit is not None and len(special) > limit:
            left_out.append(f"{where}: {len(special)} tokens, and the model reads {limit}")
        elif alignment.units < 2:
            left_out.append(f"{where}: fewer than two words that its tokens tell apart")
        else:
            length = len(sentence.text)
            texts.append(Text(row, special, sentence.document, alignment, sentence, characters=length))
    if not texts:
        raise InputError(
            f"none of the {len(sentences)} sentences can be used with this tokenizer and model; the first: {left_out[0] if left_out else 'none given'}. "
            "Give a treebank of sentences in the language of the model."
        )
    return texts, left_out


def read_plain(tokenizer: Any, corpus: Any, limit: int | None) -> tuple[list[Text], list[str]]:
    """Texts as the tokenizer splits them, and one line of prose for each that is left out. Each text is a document."""
    if isinstance(corpus, (str, bytes)) or not isinstance(corpus, Iterable):
        corpus = [None]
    corpus = list(corpus)
    if not all(isinstance(text, str) for text in corpus):
        raise InputError('expected corpus as a list of texts, such as ["The cat sat.", …].')
    texts, left_out = [], []
    for number, text in enumerate(corpus):
        encoded: Any = tokenizer(text, return_special_tokens_mask=True) if text.strip() else {"input_ids": []}
        special = tuple(map(bool, encoded.pop("special_tokens_mask", ())))
        words = tuple(encoded.word_ids()) if special and getattr(encoded, "is_fast", False) else None
        if limit is not None and len(special) > limit:
            left_out.append(f"text {number}: {len(special)} tokens, and the model reads {limit}")
        elif len(special) - sum(special) < 2:
            left_out.append(f"text {number}: fewer than two tokens")
        else:
            texts.append(Text(dict(encoded), special, f"text {number}", words=words, characters=len(text)))
    if not texts:
        raise InputError(
            f"expected a corpus of texts, got {len(left_out)} of which none can be used; the first, {left_out[0]}."
            if left_out
            else "expected a corpus of texts, got none: it is empty."
        )
    return texts, left_out


def check_offsets(tokenizer: Any) -> None:
    """Raises InputError unless the tokenizer tells which characters a token covers."""
    if not callable(tokenizer) or not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"roles need a tokenizer that tells which characters each token covers (a fast one), got {type(tokenizer).__name__}. "
            "Load it with AutoTokenizer.from_pretrained(…, use_fast=True)."
        )
