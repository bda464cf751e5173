"""Tokens: what the model read, with the words and the text they came from."""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from typing import Any

from attnscope.errors import InputError
from attnscope.text.pieces import read_pieces
from attnscope.text.running import RunningText, running_text
from attnscope.text.spelling import shown_of, visible
from attnscope.text.turns import turns_of
from attnscope.text.words import words_of, written_words
from attnscope.tracing.find_groups import Known, find_groups
from attnscope.tracing.given_groups import given_groups
from attnscope.tracing.grids import PatchGrid
from attnscope.tracing.groups import Group, Groups
from attnscope.tracing.sounds import Sound
from attnscope.tracing.tokenizer_facts import (
    alphabet_of,
    encoded_segments,
    encoded_words,
    special_ids,
    spelling_of,
    written_in,
)

# Special tokens as vocabularies write them: [CLS], </s>, <|endoftext|>, <bos>.
_SPECIAL = re.compile(r"\[(CLS|SEP|PAD|MASK|UNK|BOS|EOS)\]|</?s>|<(pad|unk|mask|bos|eos)>|<\|[^|]+\|>")


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
    `rank`: how many tokens were at least as probable, itself among them: 1 for the most probable; None for tokens that it read.
    `runner_up`: beside it, the most probable other token and its probability.
    `grids`: of images, which tokens are patches and where each lies. `sound`: which positions a sound has, and a small
        picture of it.
    `own_groups`: the groups that you named, see `with_groups`; `groups` has all of them.

    Raises InputError where the fields have different lengths.
    """

    strings: tuple[str, ...]
    ids: tuple[int, ...] = ()
    special: tuple[bool, ...] = ()
    words: tuple[int | None, ...] = field(default_factory=tuple)
    word_text: tuple[str, ...] = field(default_factory=tuple)
    segments: tuple[int, ...] = ()
    offsets: tuple[tuple[int, int], ...] = ()
    text: str = ""
    border: int | None = None
    shown: tuple[str, ...] = field(default_factory=tuple)
    turns: tuple[int | None, ...] = field(default_factory=tuple)
    roles: tuple[str, ...] = field(default_factory=tuple)
    probability: tuple[float | None, ...] = ()
    runner_up: tuple[tuple[str, float] | None, ...] = ()
    grids: tuple[PatchGrid, ...] = ()
    sound: Sound | None = None
    own_groups: tuple[Group, ...] = ()
    rank: tuple[int | None, ...] = ()

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
            "rank": (),
        }
        for name, default in defaults.items():
            if not getattr(self, name):
                object.__setattr__(self, name, default)
            elif len(getattr(self, name)) != count:
                raise InputError(f"tokens: {name} has {len(getattr(self, name))} entries for {count} tokens.")
        missing = [name for name in ("word_text", "shown") if not getattr(self, name)]
        if missing:
            own = self.strings, self.special, self.words, self.word_text, self.segments
            self._find_later(missing, lambda: _spelled(*own))

    def _find_later(self, names: Sequence[str], find: Callable[[], Mapping[str, Any]]) -> None:
        """Let `find` give these fields when one of them is first read: a short text's trace should not wait for words that nobody
        reads."""
        for name in names:
            self.__dict__.pop(name, None)
        self.__dict__["_later"] = frozenset(names), find

    def __getattr__(self, name: str) -> Any:  # asked for what is not there yet
        names, find = self.__dict__.get("_later", ((), dict))
        if name in self.__dict__:  # another thread has just found it
            return self.__dict__[name]
        if name not in names:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = find()
        self.__dict__.update((one, found[one]) for one in names)
        self.__dict__.pop("_later", None)
        return found[name]

    def __getstate__(self) -> dict[str, Any]:
        for name in self.__dict__.get("_later", ((), dict))[0]:
            getattr(self, name)
        return dict(self.__dict__)

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
            own_groups=self.own_groups if every else (),
            **{
                name: tuple(getattr(self, name)[p] for p in positions)
                for name in (*_BY_TOKEN, "words", "segments", "offsets", "turns", "probability", "runner_up", "rank")
                if getattr(self, name)
            },
        )

    @cached_property
    def running(self) -> RunningText:
        """The tokens as one text, and where each stands in it."""
        return running_text(self)

    @cached_property
    def groups(self) -> Groups:
        """Named runs of tokens within each other: messages of a chat, the texts of a pair, prompt and answer, images, documents of a
        retrieval prompt, paragraphs, sentences; or your own (`with_groups`), and the passages in them. What no group holds is "other".
        """
        return find_groups(
            Known(
                self.running.text,
                self.running.starts,
                self.special,
                self.segments,
                self.border,
                self.turns,
                self.roles,
                self.grids,
                0 if self.sound is None else self.sound.positions,
                self.own_groups,
            )
        )

    def with_groups(self, groups: Any) -> "Tokens":
        """The same tokens, with groups of your own in the place of messages and the like.

        `groups`: by name, (start, stop), a slice, several of these, or a regular expression that `running.text` is searched for. They may
            lie within each other.

        Raises InputError for groups that overlap, lie beyond the text or find nothing in it.
        """
        running = self.running
        return replace(self, own_groups=given_groups(groups, running.text, running.starts, running.ends))

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


def _spelled(
    strings: Sequence[str],
    special: Sequence[bool],
    words: Sequence[int | None],
    word_text: Sequence[str],
    segments: Sequence[int],
) -> dict[str, Any]:
    """The words of tokens as written, unless they are given, and each token as people read it."""
    pieces = read_pieces(strings, special)
    written = tuple(word_text) or written_words(pieces, words)
    return {"word_text": written, "shown": shown_of(pieces, special, words, written, segments)}


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
    strings = tuple(spelling_of(tokenizer, i, piece) for i, piece in zip(ids, raw, strict=True))
    special = tuple(i in markers for i in ids) if (markers := special_ids(tokenizer)) else (False,) * len(ids)
    segments, offsets = told, ()
    if encoding is not None and len(encoding.ids) != len(ids):
        encoding = None
    known = encoding is not None
    if encoding is not None:
        # The tokenizer says which tokens it added; markers that stand in the text, as in a chat, are special as well.
        written = markers - {getattr(tokenizer, name, None) for name in ("mask_token_id", "unk_token_id")}
        special = tuple(bool(flag) or i in written for i, flag in zip(ids, encoding.special_tokens_mask, strict=True))
        segments, offsets = encoded_segments(encoding), tuple(encoding.offsets)
    text = texts[0] if texts else ""
    made = Tokens(strings, tuple(ids), special, segments=segments, offsets=offsets, text=text, border=border)
    segments = made.segments

    def find() -> Mapping[str, Any]:
        pieces = read_pieces(raw if alphabet else strings, special, alphabet, apart=not known)
        words = words_of(pieces, special, given=encoded_words(encoding) if known else None, border=border)
        word_text = written_words(pieces, words)
        if known and texts:
            cut = written_in(texts, encoding, words)
            word_text = tuple(own and (cut.get(word) or own) for word, own in enumerate(word_text))
        shown = shown_of(pieces, special, words, word_text, segments)
        turns, roles = turns_of(shown, special)
        return {"words": words, "word_text": word_text, "shown": shown, "turns": turns, "roles": roles}

    made._find_later(("words", "word_text", "shown", "turns", "roles"), find)
    return made


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
    if not count:
        return tokens
    fills = {"strings": "[PAD]", "shown": "[PAD]", "special": True, "words": None, "turns": None, "probability": None}
    fills |= {"runner_up": None, "rank": None, "segments": tokens.segments[-1:] and tokens.segments[-1]}
    fills |= {"offsets": (len(tokens.text),) * 2}
    more = {name: own + (fill,) * count for name, fill in fills.items() if (own := getattr(tokens, name))}
    return replace(tokens, **more, ids=tokens.ids and tokens.ids + tuple(ids))


def tokens_of_strings(strings: Sequence[str]) -> Tokens:
    """Tokens of which nothing but their spelling is known: [CLS] and its like are taken for special by their brackets,
    and pieces are joined into words by their own marks."""
    special = tuple(bool(_SPECIAL.fullmatch(s)) for s in strings)
    return Tokens(tuple(strings), special=special, words=words_of(read_pieces(strings, special), special))
