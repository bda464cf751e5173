"""Tokens as a page shows them: without the marks of their place in a word, hidden characters made visible."""

import re
import unicodedata
from itertools import groupby

from attnscope.tracing.tokens import Tokens

_END_MARKS = re.compile(r"</w>$|@@$")
_SYMBOLS = {"\n": "↵", "\t": "⇥"}
_INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Cs"}


def visible(text: str) -> str:
    """One line on which every character can be seen."""
    if not text:
        return "⟨empty⟩"
    if not text.strip(" "):
        return "␣" * min(len(text), 8)
    return "".join(
        _SYMBOLS.get(c, f"⟨U+{ord(c):04X}⟩") if unicodedata.category(c) in _INVISIBLE and c != "\u200d" else c
        for c in text
    )


def names(tokens: Tokens) -> tuple[str, ...]:
    """What is written for each token; pieces of a word have the capitals of the text where they spell it."""
    found: list[str] = []
    for (word, _), group in groupby(range(len(tokens)), lambda i: (tokens.words[i], tokens.segments[i])):
        places = list(group)
        if word is None:
            found += [tokens[i] if tokens.special[i] else _plain(tokens[i], False) for i in places]
            continue
        pieces = [_plain(tokens[i], n > 0) for n, i in enumerate(places)]
        written = tokens.word_text[word] if word < len(tokens.word_text) else ""
        if written and "".join(pieces).casefold() == written.casefold() and len("".join(pieces)) == len(written):
            ends = [sum(map(len, pieces[: n + 1])) for n in range(len(pieces))]
            pieces = [written[end - len(piece) : end] for end, piece in zip(ends, pieces, strict=True)]
        found += [tokens[i] if tokens.special[i] else piece for i, piece in zip(places, pieces, strict=True)]
    return tuple(map(visible, found))


def _plain(piece: str, continues: bool) -> str:
    if continues and len(piece) > 2:
        piece = piece.removeprefix("##")
    if len(piece) > 1:
        piece = piece[1:] if piece[0] in "▁" else piece
    piece = piece.replace("Ġ", " ").replace("Ċ", "\n")
    return _END_MARKS.sub("", piece[1:] if len(piece) > 1 and piece[0] == " " and piece[1] != " " else piece)


def cut(text: str, most: int) -> str:
    """At most so many characters, the last of them … where some were cut off."""
    return text if len(text) <= most else text[: max(1, most - 1)] + "…"
