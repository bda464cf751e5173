"""Tokens: what the model read, with the words and the text they came from."""

import operator
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from attnscope.errors import InputError
from attnscope.text.pieces import read_pieces
from attnscope.text.spelling import shown_of, visible
from attnscope.text.turns import turns_of
from attnscope.text.words import words_of, written_words
from attnscope.tracing.grids import PatchGrid
from attnscope.tracing.sounds import Sound

# Special tokens as vocabularies write them: [CLS], </s>, <|endoftext|>, <bos>.
_SPECIAL = re.compile(r"\[(CLS|SEP|PAD|MASK|UNK|BOS|EOS)\]|</?s>|<(pad|unk|mask|bos|eos)>|<\|[^|]+\|>")


_MARKER = re.compile(r"<\|[^|]+\|>|<\|?\w*(turn|role|message)\w*\|?>|\[/?INST\]")  # of a chat
_BY_TOKEN = ("strings", "ids", "special", "shown")


@dataclass(frozen=True, repr=False)
class Tokens(Sequence[str]):
    """A sequence of token strings with what is known about them; every field but `strings` may be empty.

    `strings`: as the vocabulary spells them. `ids`: their numbers in it. `special`: True for [CLS], </s> and their
        like.
    `words`: the index of the word each token is a piece of, or None. `word_text`: the words as written.
    `segments`: 0 for the first text of a pair, 1 for the second. `offsets`: (start, end) characters in `text`.
    `text`: what was typed. `border`: index of the first generated token, or None.
    `shown`: each token as people read it: "señor" where the vocabulary has "ĠseÃ±or", "猫 1/3" for a part of a character.
    `turns`: of a chat, the turn that each token is of, from 0; None before the first. `roles`: who speaks in each turn.
    `probability`: what the model gave each token that it generated, from 0 to 1: the softmax of its logits, before any
        temperature, top-k or penalty of generate(); None for tokens that it read.
    `runner_up`: beside it, the most probable other token and its probability.
    `grids`: of images, which tokens are patches and where each lies. `sound`: which positions a sound has, and a small
        picture of it.

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
    shown: tuple[str, ...] = ()
    turns: tuple[int | None, ...] = ()
    roles: tuple[str, ...] = ()
    probability: tuple[float | None, ...] = ()
    runner_up: tuple[tuple[str, float] | None, ...] = ()
    grids: tuple[PatchGrid, ...] = ()
    sound: Sound | None = None

    def __post_init__(self) -> None:
        count = len(self.strings)
        defaults: dict[str, Any] = {"ids": (), "special": (False,) * count, "words": tuple(range(count))}
        defaults |= {
            "segments": (0,) * count,
            "offsets": (),
            "shown": (),
            "turns": (),
            "probability": (),
            "runner_up": (),
        }
        for name, default in defaults.items():
            if not getattr(self, name):
                object.__setattr__(self, name, default)
            elif len(getattr(self, name)) != count:
                raise InputError(f"tokens: {name} has {len(getattr(self, name))} entries for {count} tokens.")
        if self.shown and self.word_text:
            return
        pieces = read_pieces(self.strings, self.special)
        if not self.word_text:
            object.__setattr__(self, "word_text", written_words(pieces, self.words))
        if not self.shown:
            shown = shown_of(pieces, self.special, self.words, self.word_text, self.segments)
            object.__setattr__(self, "shown", shown)

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
        for position, piece in enumerate(self.shown[:48]):
            word = self.words[position]
            text = "" if word is None or word >= len(self.word_text) else self.word_text[word]
            cells.append((str(position), piece, str(self.ids[position]) if self.ids else "", visible(text)))
        rows = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in cells[1:]]
        head = "".join(f"<th>{cell}</th>" for cell in cells[0])
        more = f"<p>and {len(self) - 48} more tokens</p>" if len(self) > 48 else ""
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

    def select(self, positions: Sequence[int]) -> "Tokens":
        """The tokens at these `positions` (from 0), with the words of the whole text."""
        every = list(positions) == list(range(len(self)))
        return replace(
            self,
            grids=self.grids if every else (),
            sound=self.sound if every else None,
            **{
                name: tuple(getattr(self, name)[p] for p in positions)
                for name in (*_BY_TOKEN, "words", "segments", "offsets", "turns", "probability", "runner_up")
                if getattr(self, name)
            },
        )

    def find(self, wanted: Any, what: str = "query") -> int:
        """The position of a token, from 0.

        `wanted`: a number (negative ones count from the end), or a token or word as written, with or without the space before it. A
            string takes its first match: the token itself, else the word it is a piece of.
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
        for candidates in (self.strings, plain, self.shown, [p.casefold() for p in plain]):
            if wanted in candidates:
                return candidates.index(wanted)
        for position, word in enumerate(self.words):
            if word is not None and self.word_text[word].casefold() == wanted.casefold():
                return position
        if (bare := wanted.strip()) and bare != wanted:  # " Mary", as a target is written
            return self.find(bare, what)
        raise InputError(
            f'{what} "{wanted}" is not among the tokens: {" ".join(self.shown[:40])}'
            f"{' …' if len(self) > 40 else ''}. Give one of them, or its position."
        )


def _plain(piece: str) -> str:
    """A piece without the marks of its place in a word."""
    return piece.removeprefix("##").lstrip("Ġ▁ ")


def tokens_of(
    tokenizer: Any,
    ids: Sequence[int],
    *,
    encoding: Any = None,
    texts: Sequence[str] = (),
    border: int | None = None,
    segments: Sequence[int] = (),
) -> Tokens:
    """Tokens for ids that a model read. `encoding` (a tokenizers.Encoding, where the tokenizer is a fast one) adds
    words, offsets and segments; without it words are read from the tokens, and `segments` tells the texts of a pair
    apart."""
    ids = [int(i) for i in ids]
    told = tuple(segments) if len(segments) == len(ids) else (0,) * len(ids)
    if not hasattr(tokenizer, "convert_ids_to_tokens"):  # None, or one that only encodes
        return Tokens(tuple(f"#{i}" for i in ids), ids=tuple(ids), border=border, segments=told)
    given = [tokenizer.convert_ids_to_tokens(i) for i in ids]
    raw = [f"#{i}" if piece is None else piece for i, piece in zip(ids, given, strict=True)]
    alphabet = "bytes" if any(isinstance(piece, bytes) for piece in raw) else alphabet_of(tokenizer)
    strings = tuple(_string(tokenizer, i, piece) for i, piece in zip(ids, raw, strict=True))
    special = tuple(i in markers for i in ids) if (markers := special_ids(tokenizer)) else (False,) * len(ids)
    segments, offsets = told, ()
    if encoding is not None and len(encoding.ids) != len(ids):
        encoding = None
    known = encoding is not None
    if encoding is not None:
        # The tokenizer says which tokens it added; markers that stand in the text, as in a chat, are special as well.
        written = markers - {getattr(tokenizer, name, None) for name in ("mask_token_id", "unk_token_id")}
        special = tuple(bool(flag) or i in written for i, flag in zip(ids, encoding.special_tokens_mask, strict=True))
        segments, offsets = _segments(encoding), tuple(encoding.offsets)
    pieces = read_pieces(raw if alphabet else strings, special, alphabet, apart=not known)
    words = words_of(pieces, special, given=_numbered(encoding) if known else None, border=border)
    word_text = written_words(pieces, words)
    if known and texts:
        cut = _cut(texts, encoding, words)
        word_text = tuple(own and (cut.get(word) or own) for word, own in enumerate(word_text))
    shown = shown_of(pieces, special, words, word_text, segments)
    text = texts[0] if texts else ""
    turns, roles = turns_of(shown, special)
    return Tokens(strings, tuple(ids), special, words, word_text, segments, offsets, text, border, shown, turns, roles)


def special_ids(tokenizer: Any) -> set[int]:
    """Ids of [CLS], </s> and their like, and of a chat's markers, which some tokenizers do not count among them."""
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    markers = {i for i, token in added.items() if getattr(token, "special", False) and _MARKER.fullmatch(str(token))}
    return {*getattr(tokenizer, "all_special_ids", ())} | markers


def continued_by(tokens: Tokens, tokenizer: Any, ids: Sequence[int]) -> Tokens:
    """The tokens of a prompt and those that the model added to it, with a border between them."""
    added, border = tokens_of(tokenizer, ids, border=0), len(tokens)
    first = len(tokens.word_text)
    both = {name: getattr(tokens, name) + getattr(added, name) for name in (*_BY_TOKEN, "word_text")}
    both["turns"], both["roles"] = turns_of(both["shown"], both["special"])
    last = tokens.segments[-1] if tokens.segments else 0
    return replace(
        tokens,
        **both,
        words=tokens.words + tuple(None if word is None else first + word for word in added.words),
        segments=tokens.segments + (last,) * len(added),
        offsets=tokens.offsets and tokens.offsets + ((len(tokens.text),) * 2,) * len(added),
        border=border,
    )


def padded_with(tokens: Tokens, ids: Sequence[int]) -> Tokens:
    """The tokens of a text, and the padding that a model put behind them, named "[PAD]"."""
    count = len(ids)
    fills = {"strings": "[PAD]", "shown": "[PAD]", "special": True, "words": None, "turns": None, "probability": None}
    fills |= {"runner_up": None, "segments": tokens.segments[-1:] and tokens.segments[-1]}
    fills |= {"offsets": (len(tokens.text),) * 2}
    more = {name: own + (fill,) * count for name, fill in fills.items() if (own := getattr(tokens, name))}
    return replace(tokens, **more, ids=tokens.ids and tokens.ids + tuple(ids))


def tokens_of_strings(strings: Sequence[str]) -> Tokens:
    """Tokens of which nothing but their spelling is known: [CLS] and its like are taken for special by their brackets,
    and pieces are joined into words by their own marks."""
    special = tuple(bool(_SPECIAL.fullmatch(s)) for s in strings)
    return Tokens(tuple(strings), special=special, words=words_of(read_pieces(strings, special), special))


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


def _string(tokenizer: Any, token_id: int, piece: str | bytes) -> str:
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


def _segments(encoding: Any) -> tuple[int, ...]:
    """A special token belongs to no sequence; it closes the one before it."""
    found, current = [], 0
    for sequence in encoding.sequence_ids:
        current = sequence if sequence is not None else current
        found.append(current)
    return tuple(found)


def _numbered(encoding: Any) -> list[tuple[int, int] | None]:
    """The sequence and the word of each token, as the tokenizer numbers them."""
    return [
        None if word is None or sequence is None else (sequence, word)
        for word, sequence in zip(encoding.word_ids, encoding.sequence_ids, strict=True)
    ]


def _cut(texts: Sequence[str], encoding: Any, words: Sequence[int | None]) -> dict[int, str]:
    """The words, cut out of what was typed."""
    spans: dict[int, tuple[int, int, int]] = {}
    for word, sequence, (start, end) in zip(words, encoding.sequence_ids, encoding.offsets, strict=True):
        if word is not None and sequence is not None:
            _, first, last = spans.get(word, (sequence, start, end))
            spans[word] = sequence, min(first, start), max(last, end)
    return {word: texts[sequence][start:end].strip() for word, (sequence, start, end) in spans.items()}
