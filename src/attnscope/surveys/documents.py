"""The documents of a corpus, one after another: nothing is read before it is needed."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnscope.errors import InputError, UnreadableFile
from attnscope.surveys.datasets_rows import dataset_at
from attnscope.surveys.readers import READERS, Broken, Row, Section, rows_of, sections, whole
from attnscope.text.characters import half_character


@dataclass(frozen=True)
class Document:
    """One text of a corpus. `source`: the file it is of. `row`: its place there, from 0. `reason`: why it cannot be used;
    empty where it can. `start`: the character of the row at which it begins, where a long one is taken in sections.
    `medium`: a picture or a recording, or where it is; `size`: the bytes that it takes in memory."""

    source: str
    row: int
    text: str
    reason: str = ""
    start: int = 0
    medium: Any = field(default=None, compare=False)
    size: int = 0

    @property
    def name(self) -> str:
        """Its id: it does not depend on the order of the files."""
        return f"{self.source}:{self.row}{f'@{self.start}' if self.start else ''}"


def documents_of(corpus: Any, field: str = "text") -> Iterator[Document]:
    """The documents of a file, a folder, a dataset's name, or an iterable of texts or mappings; `field` names the text of
    a mapping, a column, a key of JSON.

    Raises InputError for anything else and for a column that is not there, UnreadableFile for what cannot be read, and
    MissingDependency where a package is needed.
    """
    if isinstance(corpus, (str, os.PathLike)):
        yield from _of_path(Path(corpus).expanduser(), str(corpus), field)
    elif isinstance(corpus, (bytes, Mapping)) or not isinstance(corpus, Iterable):
        raise InputError(
            f'expected corpus as a path or an iterable of texts, such as ["The cat sat.", …], got {type(corpus).__name__}.'
        )
    else:
        yield from _made("given", enumerate(corpus), field)


def _of_path(path: Path, given: str, field: str) -> Iterator[Document]:
    if path.is_file():
        yield from _made(path.name, rows_of(path, field), field)
    elif (rows := dataset_at(path, given)) is not None:
        yield from _made(path.name if path.exists() else given, enumerate(rows), field)
    elif path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in {*READERS, ".txt"} and p.is_file())
        if not files:
            raise InputError(
                f"the folder {path} holds no file that can be read as a corpus: expected {', '.join(['.txt', *READERS])}."
            )
        for file in files:
            source = file.relative_to(path).as_posix()
            rows = whole(file) if file.suffix.lower() == ".txt" else rows_of(file, field)
            yield from _made(source, rows, field)
    else:
        raise UnreadableFile(f"the corpus {path} cannot be read: there is no such file or folder.")


def _made(source: str, rows: Iterable[Row], field: str) -> Iterator[Document]:
    for number, row in rows:
        text = row.get(field) if isinstance(row, Mapping) else row
        if isinstance(text, Section):
            yield _document(source, number, text)
        elif isinstance(text, Broken):
            yield Document(source, number, "", str(text))
        elif not isinstance(text, str):
            got = f"has no text in {field!r}" if isinstance(row, Mapping) else f"is no text but {type(row).__name__}"
            yield Document(source, number, "", f"it {got}")
        elif not text.strip():
            yield Document(source, number, "", "it is empty")
        else:
            yield from (_document(source, number, section) for section in sections([text]))


def _document(source: str, row: int, section: Section) -> Document:
    if half_character(section.text) is not None:
        reason = "it is not text in UTF-8: a part of a character stands alone in it"
        return Document(source, row, "", reason, section.start)
    return Document(source, row, section.text, start=section.start)
