"""Whether a tokenizer was made for the language of some texts, as far as their tokens show it."""

from collections.abc import Iterable, Sequence
from typing import Any

from attnscope.text.format import percent

MANY = 0.1  # of the tokens


def unknown_in(tokenizer: Any, ids: Iterable[Sequence[int]]) -> int:
    """How many of the tokens stand for what the tokenizer does not know."""
    unknown = getattr(tokenizer, "unk_token_id", None)
    # tokenizers of bytes know everything, and name their end of text as the unknown token
    if unknown is None or unknown in (
        getattr(tokenizer, "eos_token_id", None),
        getattr(tokenizer, "bos_token_id", None),
    ):
        return 0
    return sum(one.count(unknown) for one in ids)


def language_note(tokens: int, unknown: int, characters: int) -> str:
    """What a reader must know where the texts seem to be in another language than the tokenizer's; else nothing. `tokens`: those
    that are not special."""
    if unknown > MANY * tokens:
        what = f"{percent(unknown / tokens)} of the tokens are unknown to the tokenizer"
    elif tokens > characters > 0:
        what = f"The tokenizer makes {tokens:,} tokens of {characters:,} characters"
    else:
        return ""
    return f"{what}: the texts may be in another language than the model's, and then what its heads do in them says little."
