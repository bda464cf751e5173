"""Kinds of tokens on which heads rest: newlines and punctuation."""

import string
import unicodedata

from attnscope.text.pieces import read_pieces
from attnscope.tracing.tokens import Tokens

_ASCII = set(string.punctuation)  # "$" and "+" too, which Unicode calls symbols


def newlines(tokens: Tokens) -> list[bool]:
    """True at tokens that are a line break, with spaces around it or not. Special tokens are none."""
    return [_is_line(text) for text in _texts(tokens)]


def punctuation(tokens: Tokens) -> list[bool]:
    """True at tokens of nothing but punctuation marks. Special tokens and line breaks are none."""
    return [not _is_line(text) and bool(text.strip()) and all(map(_is_mark, text.strip())) for text in _texts(tokens)]


def _texts(tokens: Tokens) -> list[str]:
    pieces = read_pieces(tokens.strings, tokens.special)
    return ["" if special else piece.text for piece, special in zip(pieces, tokens.special, strict=True)]


def _is_line(text: str) -> bool:
    return not text.strip() and any(mark in text for mark in "\n\r\u2028\u2029")


def _is_mark(character: str) -> bool:
    return character in _ASCII or unicodedata.category(character).startswith("P")
