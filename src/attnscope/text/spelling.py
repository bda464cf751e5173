"""How a token is spelled where people read it: in figures, terminals and tables as on the page (scene/labels.ts).

A vocabulary marks the place of a piece in its word ("##happy", "Ġflies", "▁flies"), and an uncased one drops capitals and
accents. Readers see the word as the text has it, cut into the same pieces. tests/cases/spelling.json holds the cases that
both languages must pass.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Protocol, runtime_checkable

HIDDEN = {"Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Cs"}  # categories without a shape of their own
SYMBOLS = {"\n": "↵", "\t": "⇥"}  # in most fonts; the control pictures of Unicode are in few
_PICTURE = "\u00a9\u00ae\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_JOINED = re.compile(f"(?<=[{_PICTURE}\ufe0f])\u200d(?=[{_PICTURE}])")
_LINES = re.compile("[ĠĊĉ]+")
_RIGHT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")


@runtime_checkable
class Table(Protocol):
    """What the rule reads of attnscope.Tokens."""

    @property
    def strings(self) -> Sequence[str]: ...
    @property
    def special(self) -> Sequence[bool]: ...
    @property
    def words(self) -> Sequence[int | None]: ...
    @property
    def word_text(self) -> Sequence[str]: ...
    @property
    def segments(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class Label:
    """text: what is shown for the token. before, after: the rest of its word; empty for a whole word."""

    text: str
    before: str = ""
    after: str = ""
    special: bool = False


def visible(text: str) -> str:
    """One line on which every character can be seen; letters and their marks are joined (NFC)."""
    text = _JOINED.sub("\ue000", unicodedata.normalize("NFC", text))
    shown = "".join(_shown(c) for c in text)
    if not shown:
        return "⟨empty⟩"
    return shown if shown.strip() else "␣" * min(len(shown), 8)


def _shown(c: str) -> str:
    if c == "\ue000":
        return "\u200d"  # a joiner inside an emoji does its work unseen
    if unicodedata.category(c) not in HIDDEN:
        return c
    return SYMBOLS.get(c, f"⟨U+{ord(c):04X}⟩")


@lru_cache(maxsize=64)
def labels(tokens: Table) -> tuple[Label, ...]:
    """A label for each token."""
    strings, special = tokens.strings, tokens.special
    byte_level = any(text.startswith("Ġ") or _LINES.fullmatch(text) for text in strings)
    pieces = [text if special[i] else _plain(tokens, i, byte_level) for i, text in enumerate(strings)]
    word_of = [None if special[i] else tokens.words[i] for i in range(len(strings))]
    found: list[Label] = []
    for (word, _), group in groupby(range(len(strings)), lambda i: (word_of[i], tokens.segments[i])):
        places = list(group)
        if word is None:
            found += [Label(visible(pieces[i]), special=bool(special[i])) for i in places]
            continue
        written = tokens.word_text[word] if word < len(tokens.word_text) else ""
        shown = [visible(piece) for piece in _as_written([pieces[i] for i in places], written)]
        found += [Label(text, "".join(shown[:n]), "".join(shown[n + 1 :])) for n, text in enumerate(shown)]
    return tuple(found)


def spelled(tokens: Table) -> tuple[str, ...]:
    """What is shown for each token."""
    return tuple(label.text for label in labels(tokens))


def named(label: Label) -> str:
    """A token in a sentence: "happy (in unhappy)"."""
    whole = f"{label.before}{label.text}{label.after}"
    name = label.text if whole == label.text else f"{label.text} (in {whole})"
    return name if len(name) <= 60 else name[:57] + "…"


def isolated(text: str) -> str:
    """A token within a line of text: what is written from the right keeps its place, and numbers after it theirs."""
    return f"\u2068{text}\u2069" if _RIGHT.search(text) else text


def _plain(tokens: Table, i: int, byte_level: bool) -> str:
    """The piece without the marks of its place in a word."""
    text, words = tokens.strings[i], tokens.words
    if text.startswith("##") and len(text) > 2 and i and words[i] is not None and words[i] == words[i - 1]:
        text = text[2:]
    if byte_level:
        text = _from_byte_level(text)
        return text[1:] if re.match(r" \S", text) else text
    text = re.sub(r"</w>$|@@$", "", text)
    text = text.replace("\u2581", " ")
    return text[1:] if len(text) > 1 and text[0] == " " and text.strip(" ") else text


def _byte_of() -> dict[str, int]:
    """The alphabet of byte-level tokenizers, where Ġ is a space: character -> byte."""
    found, extra = {}, 256
    for byte in range(256):
        printable = 32 < byte < 127 or (byte > 160 and byte != 173)
        found[chr(byte if printable else extra)] = byte
        extra += not printable
    return found


_BYTE_OF = _byte_of()


def _from_byte_level(text: str) -> str:
    octets = [_BYTE_OF.get(c) for c in text]
    try:
        return bytes(octets).decode()  # type: ignore[arg-type]
    except (TypeError, UnicodeDecodeError):  # decoded before, or a part of a character
        return text.replace("Ġ", " ").replace("Ċ", "\n").replace("ĉ", "\t")


def _as_written(pieces: list[str], written: str) -> list[str]:
    """The pieces with the capitals and accents of the text, where they spell its word."""
    if not written:
        return pieces
    if len(pieces) == 1:
        return [written]
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
