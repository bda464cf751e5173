"""Which tokens are pieces of one word."""

import unicodedata
from collections.abc import Sequence

from attnscope.text.pieces import Piece

JOINER = "\u200d"


def words_of(
    pieces: Sequence[Piece],
    special: Sequence[bool],
    *,
    given: Sequence[tuple[int, int] | None] | None = None,
    border: int | None = None,
) -> tuple[int | None, ...]:
    """The number of the word of each token, from 0; None for special tokens.

    A word ends at a space or a line break, between letters and other signs, and at the border. A mark belongs to the
    letter before it.

    given: (text, word) of each token as the tokenizer numbers them, None for none; words end there too.
    border: the first token that the model generated.
    """
    found: list[int | None] = []
    count = 0
    last = ""  # the text of the word so far
    for i, piece in enumerate(pieces):
        if special[i] or (given is not None and given[i] is None):
            found.append(None)
            continue
        goes_on = bool(found) and found[-1] is not None and i != border
        if goes_on and not piece.inside and not _is_mark(piece.text[:1]):
            goes_on = _one_word(last[-1:], piece.text[:1]) and (given is None or given[i] == given[i - 1])
        count += not goes_on
        last = piece.text or last
        found.append(count - 1)
    return tuple(found)


def written_words(pieces: Sequence[Piece], words: Sequence[int | None]) -> tuple[str, ...]:
    """The text of each word, from its pieces."""
    text: dict[int, str] = {}
    for piece, word in zip(pieces, words, strict=True):
        if word is not None:
            text[word] = text.get(word, "") + piece.text
    return tuple(text.get(index, "").strip() for index in range(max(text, default=-1) + 1))


def _one_word(before: str, after: str) -> bool:
    if not before or not after or before.isspace() or after.isspace():
        return False
    return _is_mark(before) or _is_letter(before) == _is_letter(after)


def _is_mark(character: str) -> bool:
    """What stands on the letter before it, or joins it to the next."""
    return character == JOINER or (character != "" and unicodedata.category(character)[0] == "M")


def _is_letter(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LN"
