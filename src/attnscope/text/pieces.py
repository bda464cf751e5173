"""From the pieces of a vocabulary to the text that they stand for: the only place where a token is decoded.

Vocabularies write bytes as letters ("ĠseÃ±or"), bytes by number ("<0xE7>"), spaces as marks ("▁flies", "flies</w>") and
what continues a word as "##happy". A character may be split over several tokens; each then shows the character and
its own part of it: "猫 1/3".
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

_MARKED = re.compile("Ġ|[ĠĊĉ]+$")
_LINES = str.maketrans("ĠĊĉ", " \n\t")
_BY_NUMBER = re.compile("<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class Piece:
    """One token as text. `text`: the characters that begin in it, with the spaces around them. `shown`: what it has of
    them, parts of characters included, without the space before a word. `inside`: it begins within a character."""

    text: str
    shown: str
    inside: bool = False


def read_pieces(
    strings: Sequence[str | bytes], special: Sequence[bool], alphabet: str = "", apart: bool = True
) -> list[Piece]:
    """Each token as text.

    strings: as the vocabulary writes them. special: tokens that stand for no text; they stay as they are.
    alphabet: how the vocabulary writes bytes: "byte-level" (a letter for each byte, as in GPT-2), "bytes" (the character
        of the same number, as in ByT5), "pieces" (as text, or as <0xE7>); "": to be found out from the strings.
    apart: a string without any mark is a word of its own, with a space before it.
    """
    kind = alphabet or _alphabet_of([s for s, skip in zip(strings, special, strict=True) if not skip])
    parts = list(_parts(strings, special, kind, bool(alphabet), " " if apart else ""))
    to_bytes = _TO_BYTES[kind]
    octets = [
        None if skip else part.body if isinstance(part.body, bytes) else to_bytes(part.body)
        for part, skip in zip(parts, special, strict=True)
    ]
    found: list[Piece] = []
    for alone, group in groupby(range(len(parts)), lambda i: _alone(octets[i])):
        places = list(group)
        if alone:
            found += [_piece(parts[i].body, octets[i], bool(special[i]), kind) for i in places]
        else:
            found += _joined([octets[i] or b"" for i in places], [parts[i].body for i in places], bool(alphabet))
    return [
        replace(piece, text=f"{part.before}{piece.text}{part.after}") if part.before or part.after else piece
        for piece, part in zip(found, parts, strict=True)
    ]


def _alphabet_of(strings: Sequence[str | bytes]) -> str:
    """How a vocabulary writes bytes, by some of its strings."""
    texts = [s.removesuffix("</w>") for s in strings if isinstance(s, str)]
    if any(_MARKED.match(text) for text in texts):
        return "byte-level"
    if all(text.isascii() for text in texts) or any(text.startswith(("▁", "##")) for text in texts):
        return "pieces"
    octets = [_byte_level(text) for text in texts]
    if None in octets:
        return "pieces"
    try:  # no text of people reads as UTF-8 a second time
        b"".join(octets).decode()  # type: ignore[arg-type]
    except UnicodeDecodeError:
        return "pieces"
    return "byte-level"


def _alphabet() -> dict[str, int]:
    """The alphabet of byte-level vocabularies, where Ġ is a space: character -> byte."""
    found, extra = {}, 256
    for byte in range(256):
        printable = 32 < byte < 127 or (byte > 160 and byte != 173)
        found[chr(byte if printable else extra)] = byte
        extra += not printable
    return found


_BYTE_OF = _alphabet()


def _byte_level(text: str) -> bytes | None:
    if text.isascii() and text.isprintable() and " " not in text:
        return text.encode()
    octets = [_BYTE_OF.get(c) for c in text]
    return None if None in octets else bytes(octets)  # type: ignore[arg-type]


def _same_number(text: str) -> bytes | None:
    return text.encode("latin-1") if len(text) == 1 and ord(text) < 256 else None


def _by_number(text: str) -> bytes | None:
    found = _BY_NUMBER.fullmatch(text)
    return bytes([int(found[1], 16)]) if found else None


_TO_BYTES: dict[str, Callable[[str], bytes | None]] = {
    "byte-level": _byte_level,
    "bytes": _same_number,
    "pieces": _by_number,
}


class _Part(NamedTuple):
    """A string without the marks of its place in a word, and the spaces that they stand for."""

    body: str | bytes
    before: str = ""
    after: str = ""


def _parts(
    strings: Sequence[str | bytes], special: Sequence[bool], kind: str, exact: bool, space: str
) -> Iterator[_Part]:
    texts = [s for s, skip in zip(strings, special, strict=True) if isinstance(s, str) and not skip]
    pieces = kind == "pieces"
    spaces = pieces and any("▁" in text for text in texts)
    ends = any(text.endswith("</w>") for text in texts)
    after_text = unended = False  # the token before is text; it ends in "@@"
    for s, skip in zip(strings, special, strict=True):
        begins = "" if ends or unended else space
        unended = False
        if isinstance(s, bytes) or skip:
            yield _Part(s)
        elif spaces:
            yield _Part(s.replace("▁", " "))
        elif ends and s.endswith("</w>"):
            yield _Part(s.removesuffix("</w>"), after=" ")
        elif s.startswith("##") and len(s) > 2 and after_text and (pieces or not exact):
            yield _Part(s[2:])
        elif not pieces or _BY_NUMBER.fullmatch(s):
            yield _Part(s)
        else:
            unended = s.endswith("@@") and len(s) > 2
            yield _Part(s[:-2] if unended else s, begins)
        after_text = not skip


def _alone(octets: bytes | None) -> bool:
    """True where a token is whole characters."""
    try:
        return octets is None or octets.decode() is not None
    except UnicodeDecodeError:
        return False


def _piece(given: str | bytes, octets: bytes | None, special: bool, kind: str) -> Piece:
    if octets is not None:
        text = octets.decode()
    else:
        text = given.decode("utf-8", "replace") if isinstance(given, bytes) else given
        if kind == "byte-level" and not special:
            text = text.translate(_LINES)
    return Piece(text, text if special else _bare(text))


def _bare(text: str) -> str:
    """Without the space that stands before a word."""
    return text[1:] if text[:1] == " " and text.strip(" ") else text


def _joined(run: list[bytes], given: Sequence[str | bytes], exact: bool) -> list[Piece]:
    """Tokens that share characters with their neighbours. `exact`: False where their bytes are a guess."""
    data = b"".join(run)
    owner = [i for i, octets in enumerate(run) for _ in octets]
    texts, shown = [""] * len(run), [""] * len(run)
    was_split = [False] * len(run)  # what stands last in it is a part of a character
    middles: set[int] = set()  # bytes that are not the first of their character
    at, broken = 0, False
    while at < len(data):
        size = _size_of_character(data, at)
        character = data[at : at + size].decode() if size else f"<0x{data[at]:02X}>"
        broken = broken or not size
        holders = list(dict.fromkeys(owner[at : at + max(size, 1)]))
        for number, i in enumerate(holders, 1):
            split = len(holders) > 1
            gap = " " if (split or was_split[i]) and shown[i].strip() else ""
            shown[i] += f"{gap}{character} {number}/{len(holders)}" if split else f"{gap}{character}"
            was_split[i] = split
        texts[holders[0]] += character
        middles.update(range(at + 1, at + size))
        at += max(size, 1)
    starts = [owner.index(i) for i in range(len(run))]
    pieces = [Piece(text, _bare(one), start in middles) for text, one, start in zip(texts, shown, starts, strict=True)]
    if exact or not broken:
        return pieces
    # decoded before, as traces of older versions are: without a letter that stands for an unprintable byte it is text
    return [
        piece
        if isinstance(one, bytes) or any(ord(c) > 255 for c in one.translate(_LINES))
        else _piece(one, None, False, "byte-level")
        for piece, one in zip(pieces, given, strict=True)
    ]


def _size_of_character(data: bytes, at: int) -> int:
    """The number of bytes of the character that begins here; 0 where none does."""
    for size in range(1, 5):
        try:
            data[at : at + size].decode()
        except UnicodeDecodeError:
            continue
        return size if at + size <= len(data) else 0
    return 0
