"""What a tokenizer, and the encoding that a fast one makes of a text, say about tokens."""

import re
from collections.abc import Sequence
from typing import Any

_MARKER = re.compile(r"<\|[^|]+\|>|<\|?\w*(turn|role|message)\w*\|?>|\[/?INST\]")  # of a chat


def special_ids(tokenizer: Any) -> set[int]:
    """Ids of [CLS], </s> and their like, and of a chat's markers, which some tokenizers do not count among them."""
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    markers = {i for i, token in added.items() if getattr(token, "special", False) and _MARKER.fullmatch(str(token))}
    return {*getattr(tokenizer, "all_special_ids", ())} | markers


def alphabet_of(tokenizer: Any) -> str:
    """How the vocabulary writes bytes (text/pieces.py), as far as the tokenizer says; "" where it does not."""
    if getattr(tokenizer, "_utf_vocab_size", None) == 256:  # ByT5, Perceiver
        return "bytes"
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return "byte-level" if hasattr(tokenizer, "byte_decoder") else ""
    states = [_state(part) for part in (backend.decoder, backend.pre_tokenizer)]
    if any("ByteLevel" in state for state in states):
        return "byte-level"
    return "pieces" if states[0] else ""


def _state(part: Any) -> str:
    """A part of a tokenizer as JSON; "" where there is none, or one written in Python."""
    try:
        return "" if part is None else bytes(part.__getstate__()).decode()
    except Exception:  # tokenizers raises plain Exception for a custom part
        return ""


def spelling_of(tokenizer: Any, token_id: int, piece: str | bytes) -> str:
    """The token as the vocabulary spells it, byte-level pieces decoded to the characters they stand for."""
    if isinstance(piece, bytes):
        return piece.decode("utf-8", "replace")
    if any(ord(c) > 127 for c in piece):
        decoded = tokenizer.decode([token_id])
        if decoded and "\ufffd" not in decoded:
            return (
                "Ġ" + decoded[1:]
                if piece.startswith("Ġ") and decoded.startswith(" ")
                else ("▁" + decoded.lstrip() if piece.startswith("▁") else decoded)
            )
    return piece


def encoded_segments(encoding: Any) -> tuple[int, ...]:
    """A special token belongs to no sequence; it closes the one before it."""
    found, current = [], 0
    for sequence in encoding.sequence_ids:
        current = sequence if sequence is not None else current
        found.append(current)
    return tuple(found)


def encoded_words(encoding: Any) -> list[tuple[int, int] | None]:
    """The sequence and the word of each token, as the tokenizer numbers them."""
    return [
        None if word is None or sequence is None else (sequence, word)
        for word, sequence in zip(encoding.word_ids, encoding.sequence_ids, strict=True)
    ]


def written_in(texts: Sequence[str], encoding: Any, words: Sequence[int | None]) -> dict[int, str]:
    """The words, cut out of what was typed."""
    spans: dict[int, tuple[int, int, int]] = {}
    for word, sequence, (start, end) in zip(words, encoding.sequence_ids, encoding.offsets, strict=True):
        if word is not None and sequence is not None:
            _, first, last = spans.get(word, (sequence, start, end))
            spans[word] = sequence, min(first, start), max(last, end)
    return {word: texts[sequence][start:end].strip() for word, (sequence, start, end) in spans.items()}
