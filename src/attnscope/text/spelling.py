"""How a token is spelled where people read it: on the page, in figures, terminals, tables and sentences.

Readers see the words as the text has them, with its capitals and accents, cut into the tokens. This is worked out once
(text/pieces.py decodes); the page and every other face read the result. tests/cases/spelling.json holds cases.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Protocol, runtime_checkable

from attnscope.text.pieces import Piece

HIDDEN = {"Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Cs"}  # categories without a shape of their own
SYMBOLS = {"\n": "↵", "\t": "⇥"}  # in most fonts; the control pictures of Unicode are in few
_PICTURE = "\u00a9\u00ae\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_JOINED = re.compile(f"(?<=[{_PICTURE}\ufe0f])\u200d(?=[{_PICTURE}])")
_PART = re.compile(r"\S \d+/\d+(?= |$)")  # "猫 1/3"
_CLOSING = re.compile("[.,;:!?%)\\]}…’”]|['’]\\w{0,2}$")
_BEGINS, _ENDS = re.compile("[\\sĠĊĉ▁]"), re.compile("(\\s|[ĠĊĉ▁]|</w>)$")  # a space, by the vocabulary's marks
_UNSEEN = "\ufe0e\ufe0f"  # choose between a letter's form and a picture's
_RIGHT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")


@runtime_checkable
class Table(Protocol):
    """What the rule reads of attnscope.Tokens."""

    @property
    def strings(self) -> Sequence[str]: ...
    @property
    def shown(self) -> Sequence[str]: ...
    @property
    def special(self) -> Sequence[bool]: ...
    @property
    def words(self) -> Sequence[int | None]: ...
    @property
    def word_text(self) -> Sequence[str]: ...
    @property
    def segments(self) -> Sequence[int]: ...
    @property
    def offsets(self) -> Sequence[tuple[int, int]]: ...


@dataclass(frozen=True)
class Label:
    """text: what is shown for the token. before, after: the rest of its word, where its tokens spell it. word: its word,
    where they do not, as parts of a character. tight: no space stands between the token before and this one.
    """

    text: str
    before: str = ""
    after: str = ""
    special: bool = False
    word: str = ""
    tight: bool = False

    @property
    def whole(self) -> str:
        """Its word; empty where the token is all of it."""
        return self.word or (f"{self.before}{self.text}{self.after}" if self.before or self.after else "")


def visible(text: str) -> str:
    """One line on which every character can be seen; letters and their marks are joined (NFC)."""
    if text.isascii() and text.isprintable() and text.strip():
        return text
    text = _JOINED.sub("\ue000", unicodedata.normalize("NFC", text))
    shown = "".join(_shown(c) for c in text)
    if not shown:
        return "⟨empty⟩"
    if unicodedata.category(shown[0])[0] == "M":  # a mark without its letter
        shown = f"⟨U+{ord(shown[0]):04X}⟩{shown[1:]}" if shown[0] in _UNSEEN else f"◌{shown}"
    return shown if shown.strip() else "␣" * min(len(shown), 8)


def _shown(c: str) -> str:
    if c == "\ue000":
        return "\u200d"  # a joiner inside an emoji does its work unseen
    if unicodedata.category(c) not in HIDDEN:
        return c
    return SYMBOLS.get(c, f"⟨U+{ord(c):04X}⟩")


def shown_of(
    pieces: Sequence[Piece],
    special: Sequence[bool],
    words: Sequence[int | None],
    word_text: Sequence[str],
    segments: Sequence[int],
) -> tuple[str, ...]:
    """What is shown for each token: its piece with the capitals and accents of the text, every character visible.

    pieces: the tokens as text (text/pieces.py). special, words, word_text, segments: as in attnscope.Tokens.
    """
    found: list[str] = []
    for word, places in _groups(special, words, segments):
        parts = [pieces[i].shown for i in places]
        if word is not None and word < len(word_text):
            parts = _as_written(parts, word_text[word])
        found += map(visible, parts)
    return tuple(found)


@lru_cache(maxsize=64)
def labels(tokens: Table) -> tuple[Label, ...]:
    """A label for each token."""
    found: list[Label] = []
    marked = any(map(_BEGINS.match, tokens.strings))
    for word, places in _groups(tokens.special, tokens.words, tokens.segments):
        shown = [tokens.shown[i] for i in places]
        split = len(places) > 1 and any(map(_PART.search, shown))
        text = tokens.word_text[word] if split and word is not None and word < len(tokens.word_text) else ""
        found += [
            Label(
                shown[n],
                "" if split else "".join(shown[:n]),
                "" if split else "".join(shown[n + 1 :]),
                bool(tokens.special[i]),
                visible(text) if text else "",
                _is_tight(tokens, i, marked),
            )
            for n, i in enumerate(places)
        ]
    return tuple(found)


def _groups(
    special: Sequence[bool], words: Sequence[int | None], segments: Sequence[int]
) -> Iterator[tuple[int | None, list[int]]]:
    """Each word and its tokens, in order; a token of no word stands alone."""
    word_of = [None if skip else word for skip, word in zip(special, words, strict=True)]
    for (word, _), group in groupby(range(len(special)), lambda i: (word_of[i], segments[i])):
        if word is None:
            yield from ((None, [i]) for i in group)
        else:
            yield word, list(group)


def _is_tight(tokens: Table, i: int, marked: bool) -> bool:
    """By the offsets in the text where there are some, else by the marks of the vocabulary, else as punctuation stands."""
    if i == 0 or tokens.special[i] or tokens.special[i - 1] or tokens.segments[i] != tokens.segments[i - 1]:
        return False
    apart = _BEGINS.match(tokens.strings[i]) or _ENDS.search(tokens.strings[i - 1])
    if tokens.offsets and tokens.offsets[i][1] > tokens.offsets[i][0]:
        return tokens.offsets[i][0] <= tokens.offsets[i - 1][1] and not apart
    same = tokens.words[i] is not None and tokens.words[i] == tokens.words[i - 1]
    return not apart and (marked or same or bool(_CLOSING.match(tokens.shown[i])))


def spelled(tokens: Table) -> tuple[str, ...]:
    """What is shown for each token."""
    return tuple(tokens.shown)


def named(label: Label) -> str:
    """A token in a sentence: "happy (in unhappy)"."""
    whole = label.whole
    name = f"{label.text} (in {whole})" if whole else label.text
    if len(name) > 60:
        return name[:57] + "…"
    return f"{isolated(label.text)} (in {isolated(whole)})" if whole else name


def isolated(text: str) -> str:
    """A token within a line of text: what is written from the right keeps its place, and numbers after it theirs."""
    return f"\u2068{text}\u2069" if _RIGHT.search(text) else text


def _as_written(pieces: list[str], written: str) -> list[str]:
    """The pieces with the capitals and accents of the text, where they spell its word."""
    if not written:
        return pieces
    if len(pieces) == 1:
        return pieces if pieces[0] != pieces[0].strip() or _PART.search(pieces[0]) else [written]
    letters = _letters(unicodedata.normalize("NFC", written))
    folded, wanted = [_folded(one) for one in letters], [_folded(piece) for piece in pieces]
    if "".join(folded) != "".join(wanted) or not all(wanted):
        return pieces
    shown, at = [], 0
    for want in wanted:
        start, size = at, 0
        while size < len(want):
            size += len(folded[at])
            at += 1
        if size > len(want):
            return pieces  # a letter of the text stands in two pieces
        shown.append("".join(letters[start:at]))
    return shown


def _letters(text: str) -> list[str]:
    """Characters, each with the marks that follow it."""
    found: list[str] = []
    for c in text:
        if found and unicodedata.category(c) in ("Mn", "Mc", "Me"):
            found[-1] += c
        else:
            found.append(c)
    return found


def _folded(text: str) -> str:
    """Without accents and capitals."""
    bare = (c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return "".join(c.lower() for c in bare)
