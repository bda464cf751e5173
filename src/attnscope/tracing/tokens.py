"""Tokens: what the model read, with the words and the text they came from."""

import operator
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from attnscope.errors import InputError
from attnscope.text.spelling import visible

# Special tokens as vocabularies write them: [CLS], </s>, <|endoftext|>, <bos>.
_SPECIAL = re.compile(r"\[(CLS|SEP|PAD|MASK|UNK|BOS|EOS)\]|</?s>|<(pad|unk|mask|bos|eos)>|<\|[^|]+\|>")


@dataclass(frozen=True, repr=False)
class Tokens(Sequence[str]):
    """A sequence of token strings with what is known about them; every field but `strings` may be empty.

    `strings`: as the vocabulary spells them. `ids`: their numbers in it. `special`: True for [CLS], </s> and their
        like.
    `words`: the index of the word each token is a piece of, or None. `word_text`: the words as written.
    `segments`: 0 for the first text of a pair, 1 for the second. `offsets`: (start, end) characters in `text`.
    `text`: what was typed. `border`: index of the first generated token, or None.

    Raises InputError where the fields have different lengths.
    """

    strings: tuple[str, ...]
    ids: tuple[int, ...] = ()
    special: tuple[bool, ...] = ()
    words: tuple[int | None, ...] = ()
    word_text: tuple[str, ...] = ()
    segments: tuple[int, ...] = ()
    offsets: tuple[tuple[int, int], ...] = ()
    text: str = ""
    border: int | None = None

    def __post_init__(self) -> None:
        count = len(self.strings)
        defaults: dict[str, Any] = {"ids": (), "special": (False,) * count, "words": tuple(range(count))}
        defaults |= {"segments": (0,) * count, "offsets": ()}
        for name, default in defaults.items():
            if not getattr(self, name):
                object.__setattr__(self, name, default)
            elif len(getattr(self, name)) != count:
                raise InputError(f"tokens: {name} has {len(getattr(self, name))} entries for {count} tokens.")
        if not self.word_text:
            object.__setattr__(self, "word_text", _words_from_pieces(self.strings, self.words))

    def __len__(self) -> int:
        return len(self.strings)

    def __getitem__(self, index):  # a str for an int, a tuple of str for a slice
        return self.strings[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.strings)

    def __repr__(self) -> str:
        shown = " ".join(f'"{visible(piece)}"' for piece in self.strings[:12])
        return f"Tokens({len(self)}: {shown}{' …' if len(self) > 12 else ''})"

    def _repr_html_(self) -> str:
        """A small table, for notebooks: position, token, id and word; of long texts the first 48."""
        cells = [("position", "token", "id", "word")]
        for position, piece in enumerate(self.strings[:48]):
            word = self.words[position]
            text = "" if word is None or word >= len(self.word_text) else self.word_text[word]
            cells.append((str(position), visible(piece), str(self.ids[position]) if self.ids else "", visible(text)))
        rows = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in cells[1:]]
        head = "".join(f"<th>{cell}</th>" for cell in cells[0])
        more = f"<p>and {len(self) - 48} more tokens</p>" if len(self) > 48 else ""
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

    def select(self, positions: Sequence[int]) -> "Tokens":
        """The tokens at these `positions` (from 0), with the words of the whole text."""
        return replace(
            self,
            **{
                name: tuple(getattr(self, name)[p] for p in positions)
                for name in ("strings", "ids", "special", "words", "segments", "offsets")
                if getattr(self, name)
            },
        )

    def find(self, wanted: Any, what: str = "query") -> int:
        """The position of a token, from 0.

        `wanted`: a number (negative ones count from the end), or a token or word as written. A string takes its first
            match: the token itself, else the word it is a piece of.
        `what`: what the caller calls it, for the error.

        Raises InputError where there is no such token.
        """
        if not isinstance(wanted, str):
            if isinstance(wanted, bool) or not hasattr(wanted, "__index__"):
                raise InputError(f"expected {what} as a position or a token as written, got {wanted!r}.")
            wanted = operator.index(wanted)
            if not -len(self) <= wanted < len(self):
                raise InputError(
                    f"{what} {wanted} is out of range: the text has {len(self)} tokens, so {what} goes from 0 to "
                    f"{len(self) - 1} (or from -{len(self)} to -1, from the end)."
                )
            return wanted % len(self)
        plain = [_plain(piece) for piece in self.strings]
        for candidates in (list(self.strings), plain, [p.casefold() for p in plain]):
            if wanted in candidates:
                return candidates.index(wanted)
        for position, word in enumerate(self.words):
            if word is not None and self.word_text[word].casefold() == wanted.casefold():
                return position
        raise InputError(
            f'{what} "{wanted}" is not among the tokens: {" ".join(self.strings[:40])}'
            f"{' …' if len(self) > 40 else ''}. Give one of them, or its position."
        )


def _plain(piece: str) -> str:
    """A piece without the marks of its place in a word."""
    return piece.removeprefix("##").lstrip("Ġ▁ ")


def _words_from_pieces(strings: Sequence[str], words: Sequence[int | None]) -> tuple[str, ...]:
    """Words spelled from their pieces, where the text as written is not at hand."""
    text: dict[int, str] = {}
    for piece, word in zip(strings, words, strict=True):
        if word is not None:
            text[word] = text.get(word, "") + _plain(piece)
    return tuple(text.get(index, "") for index in range(max(text, default=-1) + 1))


def tokens_of(
    tokenizer: Any, ids: Sequence[int], *, encoding: Any = None, texts: Sequence[str] = (), border: int | None = None
) -> Tokens:
    """Tokens for ids that a model read. `encoding` (a tokenizers.Encoding, where the tokenizer is a fast one) adds
    words, offsets and segments; without it words are spelled from the pieces."""
    ids = [int(i) for i in ids]
    if tokenizer is None:
        return Tokens(tuple(f"#{i}" for i in ids), ids=tuple(ids), border=border)
    strings = tuple(_string(tokenizer, i) for i in ids)
    special_ids = set(getattr(tokenizer, "all_special_ids", ()))
    special = tuple(i in special_ids for i in ids)
    if encoding is None or len(encoding.ids) != len(ids):
        words, word_text = _guess_words(strings, special)
        return Tokens(strings, tuple(ids), special, words, word_text, text=texts[0] if texts else "", border=border)
    special = tuple(bool(flag) for flag in encoding.special_tokens_mask)
    segments = tuple(sequence or 0 for sequence in encoding.sequence_ids)
    # A special token belongs to no sequence; it closes the one before it.
    closing, current = [], 0
    for sequence in encoding.sequence_ids:
        current = sequence if sequence is not None else current
        closing.append(current)
    segments = tuple(closing)
    words, word_text = _words_of(encoding, texts)
    if _words_run_together(strings, words):  # sentencepiece without a pre-tokenizer reports one word for everything
        words, word_text = _guess_words(strings, special)
    return Tokens(
        strings,
        tuple(ids),
        special,
        words,
        word_text,
        segments,
        tuple(encoding.offsets),
        texts[0] if texts else "",
        border,
    )


def tokens_of_strings(strings: Sequence[str]) -> Tokens:
    """Tokens of which nothing but their spelling is known: [CLS] and its like are taken for special by their brackets,
    and pieces are joined into words by their own marks."""
    special = tuple(bool(_SPECIAL.fullmatch(s)) for s in strings)
    words, word_text = _guess_words(strings, special)
    return Tokens(tuple(strings), special=special, words=words, word_text=word_text)


def _string(tokenizer: Any, token_id: int) -> str:
    """The token as the vocabulary spells it, byte-level pieces decoded to the characters they stand for."""
    piece = tokenizer.convert_ids_to_tokens(token_id)
    if piece is None:
        return f"#{token_id}"
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


def _words_of(encoding: Any, texts: Sequence[str]) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
    """Number the words of all sequences in one row, and cut their text out of what was typed."""
    index: dict[tuple[int, int], int] = {}
    spans: list[tuple[int, int, int]] = []
    words: list[int | None] = []
    for word, sequence, (start, end) in zip(encoding.word_ids, encoding.sequence_ids, encoding.offsets, strict=True):
        if word is None or sequence is None:
            words.append(None)
            continue
        key = (sequence, word)
        if key not in index:
            index[key] = len(spans)
            spans.append((sequence, start, end))
        number = index[key]
        spans[number] = (sequence, min(spans[number][1], start), max(spans[number][2], end))
        words.append(number)
    if not texts:
        return tuple(words), ()
    return tuple(words), tuple(texts[sequence][start:end].strip() for sequence, start, end in spans)


def _words_run_together(strings: Sequence[str], words: Sequence[int | None]) -> bool:
    """True when a piece that begins a word by its mark is numbered into the word before it."""
    return any(
        words[i] is not None and words[i] == words[i - 1] and strings[i].startswith("▁") for i in range(1, len(strings))
    )


def _guess_words(strings: Sequence[str], special: Sequence[bool]) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
    """Words from the pieces' own marks: ## continues a word; Ġ and ▁ begin one."""
    marked = any(s.startswith(("Ġ", "▁")) for s in strings)
    words: list[int | None] = []
    count = 0
    for position, (piece, is_special) in enumerate(zip(strings, special, strict=True)):
        if is_special:
            words.append(None)
            continue
        begins = not piece.startswith("##") and (not marked or piece.startswith(("Ġ", "▁")))
        if begins or position == 0 or words[-1] is None:
            count += 1
        words.append(count - 1)
    return tuple(words), ()
