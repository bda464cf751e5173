"""Sentences of a treebank in CoNLL-U, with the characters of each word and who depends on whom."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnscope.errors import InputError, MissingDependency, UnreadableFile


@dataclass(frozen=True)
class Sentence:
    """One sentence. `spans`: (start, end) characters of each word in `text`; the words of a contraction that is not
    written word by word ("du" for "de le") share theirs. `arcs`: (dependent, head, relation), words counted from 0, without
    the root. `document`: which document it is of. `line`: where it begins in its file, from 1."""

    text: str
    spans: tuple[tuple[int, int], ...]
    arcs: tuple[tuple[int, int, str], ...]
    document: str
    line: int = 0


@dataclass(frozen=True)
class Treebank:
    """The sentences that could be read, and one sentence of prose for each that could not."""

    sentences: tuple[Sentence, ...]
    set_aside: tuple[str, ...] = ()


def read_treebank(treebank: Any) -> Treebank:
    """A treebank from CoNLL-U: a path, several of them, or a Treebank as it is.

    Sentences with broken lines are set aside, each with the number of its line. Raises InputError where nothing is left,
    UnreadableFile for a path that cannot be read, MissingDependency without conllu.
    """
    if isinstance(treebank, Treebank):
        return treebank
    paths = [treebank] if isinstance(treebank, (str, os.PathLike)) else list(treebank)
    sentences: list[Sentence] = []
    aside: list[str] = []
    for path in paths:
        name = os.fspath(path)
        document = f"{name}:0"
        for line, block in _blocks(_read(name)):
            document = _document(block, name) or document
            try:
                sentences.append(_sentence(block, document, line))
            except _Broken as error:
                aside.append(f"{name}, line {line + error.after}: {error}")
    if not sentences:
        reasons = "; ".join(aside[:3]) or "there is no sentence in it"
        raise InputError(
            f"expected a treebank in CoNLL-U, got nothing that could be used from {', '.join(map(str, paths)) or 'no file'}: "
            f"{reasons}. Give a file of universaldependencies.org, such as en_ewt-ud-dev.conllu."
        )
    return Treebank(tuple(sentences), tuple(aside))


class _Broken(Exception):
    """Why a sentence cannot be used; `after`: how many lines after its first one that shows."""

    def __init__(self, reason: str, after: int = 0) -> None:
        super().__init__(reason)
        self.after = after


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{path} is not text in UTF-8 (byte {error.start}); a treebank in CoNLL-U is.") from error
    except OSError as error:
        raise UnreadableFile(f"the treebank {path} cannot be read: {error.strerror or error}.", error) from error


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The sentences of a file, which blank lines part: number of the first line, and the lines."""
    block: list[str] = []
    for number, line in enumerate([*text.removeprefix("\ufeff").splitlines(), ""], 1):
        if line.strip():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def _document(block: Iterable[str], path: str) -> str | None:
    """The document that begins with this sentence."""
    for line in block:
        if line.startswith("# newdoc"):
            return f"{path}:{line.partition('=')[2].strip() or line}"
    return None


def _sentence(block: list[str], document: str, line: int) -> Sentence:
    rows = [(number, text) for number, text in enumerate(block) if not text.startswith("#")]
    for number, text in rows:
        if (columns := text.count("\t") + 1) != 10:
            raise _Broken(f"expected 10 columns parted by tabs, got {columns}", number)
    words = _parsed(block)
    plain = [word for word in words if isinstance(word["id"], int)]
    if [word["id"] for word in plain] != list(range(1, len(plain) + 1)):
        raise _Broken("its words are not numbered 1, 2, 3 …")
    if not plain:
        raise _Broken("it has no words")
    text, spans = _placed(words, str(words.metadata.get("text") or ""))
    arcs = []
    for word in plain:
        head, relation = word["head"], word["deprel"]
        if head is None or not relation or relation == "_":
            raise _Broken(f"word {word['id']} has no head or no relation")
        if not 0 <= head <= len(plain) or head == word["id"]:
            raise _Broken(f"the head of word {word['id']} is {head}, which is no other word of the sentence")
        if head:
            arcs.append((word["id"] - 1, head - 1, relation))
    return Sentence(text, spans, tuple(arcs), document, line)


def _parsed(block: list[str]) -> Any:
    try:
        import conllu
    except ImportError:
        raise MissingDependency("treebanks need conllu", "roles") from None
    try:
        (words,) = conllu.parse("\n".join(block) + "\n\n")
    except Exception as error:  # conllu raises its own, and ValueErrors for numbers
        raise _Broken(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    return words


def _placed(words: Any, text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text, and where each word stands in it. Where the words are not those of the text, it is put together from them."""
    written = _written(words)
    places = _found([form for form, _, _ in written], text)
    if places is None:
        text = "".join(form + (" " if space else "") for form, space, _ in written).rstrip()
        places = _found([form for form, _, _ in written], text)
    if places is None:
        raise _Broken("its words cannot be found in its text")
    spans: list[tuple[int, int]] = []
    for (start, stop), (_, _, inside) in zip(places, written, strict=True):
        parts = _found(inside, text[start:stop]) if len(inside) > 1 else None
        whole = parts is not None and sum(b - a for a, b in parts) == len("".join(text[start:stop].split()))
        if parts is None or not whole:
            spans += [(start, stop)] * len(inside)
        else:
            spans += [(start + a, start + b) for a, b in parts]
    return text, tuple(spans)


def _written(words: Any) -> list[tuple[str, bool, list[str]]]:
    """What is written: form, whether a space follows, and the words in it."""
    written: list[tuple[str, bool, list[str]]] = []
    last = 0  # the last word of the contraction that is open
    for word in words:
        number, form = word["id"], word["form"]
        space = (word["misc"] or {}).get("SpaceAfter") != "No"
        if isinstance(number, int):
            if number <= last:
                written[-1][2].append(form)
            else:
                written.append((form, space, [form]))
        elif number[1] == "-":
            written.append((form, space, []))
            last = number[2]
    return written


def _found(forms: list[str], text: str) -> list[tuple[int, int]] | None:
    """Where the forms stand in the text, one after another with nothing but spaces between; None where they do not."""
    places, at = [], 0
    for form in forms:
        while at < len(text) and text[at].isspace():
            at += 1
        if not text.startswith(form, at):
            return None
        places.append((at, at + len(form)))
        at += len(form)
    return places
