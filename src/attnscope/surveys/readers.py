"""The rows of a file by its ending, one after another; of what cannot be read, the reason."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, TextIO

from attnscope.errors import InputError, UnreadableFile

SECTION = 1 << 20  # characters: a longer text is taken in sections, so that memory stays small

Row = tuple[int, Any]  # its number, and a text, a mapping that holds one, a Section or a Broken


class Broken(str):
    """Why a row cannot be used."""


@dataclass(frozen=True)
class Section:
    """A part of a long row, from this character on."""

    start: int
    text: str


def sections(chunks: Iterable[str]) -> Iterator[Section]:
    """A text that comes in chunks, as sections that end with a word where one ends in their second half. White space alone is
    none."""
    start, held = 0, ""
    for chunk in chunks:
        held += chunk
        while len(held) > SECTION:
            cut = 1 + max(held.rfind(space, SECTION // 2, SECTION) for space in " \n\t")
            cut = cut or SECTION
            if held[:cut].strip():
                yield Section(start, held[:cut])
            start, held = start + cut, held[cut:]
    if held.strip():
        yield Section(start, held)


@contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableFile(f"the corpus {path} cannot be read: {error.strerror or error}.", error) from error


def rows_of(path: Path, field: str) -> Iterator[Row]:
    with _unreadable(path):
        yield from READERS.get(path.suffix.lower(), _lines)(path, field)


def _opened(path: Path, newline: str = "\n") -> TextIO:
    # a byte that is no UTF-8 becomes half of a character, which sets its row aside and no other
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _text_lines(path: Path) -> Iterator[str]:
    with _opened(path) as file:
        for line in file:
            yield line.rstrip("\r\n")


def _lines(path: Path, _: str) -> Iterator[Row]:
    """A text a line; empty lines are none."""
    with _opened(path) as file:
        for number in count():
            line = file.readline(SECTION)
            if not line:
                return
            rest = () if line.endswith("\n") else _to_newline(iter(lambda: file.readline(SECTION), ""))
            chunks = (chunk.rstrip("\r\n") if chunk.endswith("\n") else chunk for chunk in chain([line], rest))
            yield from ((number, section) for section in sections(chunks))


def _to_newline(chunks: Iterable[str]) -> Iterator[str]:
    for chunk in chunks:
        yield chunk
        if chunk.endswith("\n"):
            return


def whole(path: Path) -> Iterator[Row]:
    """A text a file."""
    with _unreadable(path), _opened(path, "") as file:
        empty = True
        for section in sections(iter(lambda: file.read(SECTION), "")):
            empty = False
            yield 0, section
        if empty:
            yield 0, ""


def _json_lines(path: Path, _: str) -> Iterator[Row]:
    for number, line in enumerate(_text_lines(path)):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, Broken(f"it is no JSON: {str(error)[:80]}")


def _csv(path: Path, field: str) -> Iterator[Row]:
    with _opened(path, "") as file:
        rows = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        _check_column(path, field, rows.fieldnames or ())
        number = 0
        while True:
            try:
                with _fields_of_any_length():
                    row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                row = Broken(f"it is no row of CSV: {error}")
            yield number, row
            number += 1


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """Python's limit of 131,072 characters is one for the whole process, so it is put back."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path, field: str) -> Iterator[Row]:
    from attnscope.surveys.arrow import parquet

    try:
        file = parquet().ParquetFile(path)
    except Exception as error:  # of pyarrow, which has its own kinds
        raise UnreadableFile(f"the corpus {path} cannot be read as Parquet: {str(error).splitlines()[0]}.") from error
    _check_column(path, field, file.schema_arrow.names)
    number = 0
    for batch in file.iter_batches(1024, columns=[field]):
        for text in batch.column(0).to_pylist():
            yield number, text
            number += 1


def _check_column(path: Path, field: str, names: Iterable[str]) -> None:
    if field not in (names := [*names]):
        raise InputError(
            f"{path} has no column {field!r}: its columns are {', '.join(map(repr, names[:20])) or 'none'}. Name the one that "
            "holds the text: field=…, or --field."
        )


def _sentences(path: Path, _: str) -> Iterator[Row]:
    """The sentences of a treebank in CoNLL-U: their "# text", or their words with a space between."""
    number, text, words = 0, "", []
    for line in _then_blank(_text_lines(path)):
        if line.startswith("#"):
            name, _, value = line[1:].partition("=")
            text = value.strip() if name.strip() == "text" else text
        elif line.strip():
            columns = line.split("\t")
            if "-" not in columns[0] and "." not in columns[0]:
                words.append(columns[1] if len(columns) == 10 else "")
        elif text or words:
            broken = not text and not all(words)
            yield (
                number,
                Broken("its lines have not 10 columns, and no '# text'") if broken else text or " ".join(words),
            )
            number, text, words = number + 1, "", []


def _then_blank(lines: Iterable[str]) -> Iterator[str]:
    yield from lines
    yield ""


READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".conllu": _sentences,
}
