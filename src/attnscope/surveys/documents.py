"""The documents of a corpus, one after another: nothing is read before it is needed."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnscope.errors import InputError, MissingDependency, UnreadableFile
from attnscope.text.characters import half_character


@dataclass(frozen=True)
class Document:
    """One text of a corpus. `source`: the file it is of. `row`: its place there, from 0. `reason`: why it cannot be used;
    empty where it can. `path`: of a picture or a recording, where it is."""

    source: str
    row: int
    text: str
    reason: str = ""
    path: str = ""

    @property
    def name(self) -> str:
        """Its id: it does not depend on the order of the files."""
        return f"{self.source}:{self.row}"


_Row = tuple[int, Any]  # its number, and a text, a mapping that holds one, or a _Broken


class _Broken(str):
    """Why a row cannot be used."""


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
        yield from _made(path.name, _rows_of(path, field), field)
    elif (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        yield from _made(path.name, enumerate(_dataset(given, folder=True)), field)
    elif path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in {*READERS, ".txt"} and p.is_file())
        if not files:
            raise InputError(
                f"the folder {path} holds no file that can be read as a corpus: expected {', '.join(['.txt', *READERS])}."
            )
        for file in files:
            source = file.relative_to(path).as_posix()
            rows = _whole(file) if file.suffix.lower() == ".txt" else _rows_of(file, field)
            yield from _made(source, rows, field)
    elif path.suffix or given.startswith((".", "~", "/")) or given.count("/") > 1:
        raise UnreadableFile(f"the corpus {path} cannot be read: there is no such file or folder.")
    else:
        yield from _made(given, enumerate(_dataset(given, folder=False)), field)


def _made(source: str, rows: Iterable[_Row], field: str) -> Iterator[Document]:
    for number, row in rows:
        text = row.get(field) if isinstance(row, Mapping) else row
        if isinstance(text, _Broken):
            yield Document(source, number, "", str(text))
        elif not isinstance(text, str):
            got = f"has no text in {field!r}" if isinstance(row, Mapping) else f"is no text but {type(row).__name__}"
            yield Document(source, number, "", f"it {got}")
        elif half_character(text) is not None:
            yield Document(source, number, "", "it is not text in UTF-8: a part of a character stands alone in it")
        elif not text.strip():
            yield Document(source, number, "", "it is empty")
        else:
            yield Document(source, number, text)


def _rows_of(path: Path, field: str) -> Iterator[_Row]:
    try:
        yield from READERS.get(path.suffix.lower(), _lines)(path, field)
    except OSError as error:
        raise UnreadableFile(f"the corpus {path} cannot be read: {error.strerror or error}.", error) from error


def _text_lines(path: Path) -> Iterator[str]:
    # a byte that is no UTF-8 becomes half of a character, which sets its row aside and no other
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        for line in file:
            yield line.rstrip("\r\n")


def _lines(path: Path, _: str) -> Iterator[_Row]:
    """A text a line; empty lines are none."""
    return ((number, line) for number, line in enumerate(_text_lines(path)) if line.strip())


def _whole(path: Path) -> Iterator[_Row]:
    """A text a file."""
    try:
        yield 0, path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise UnreadableFile(f"the corpus {path} cannot be read: {error.strerror or error}.", error) from error


def _json_lines(path: Path, _: str) -> Iterator[_Row]:
    for number, line in enumerate(_text_lines(path)):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, _Broken(f"it is no JSON: {str(error)[:80]}")


def _csv(path: Path, field: str) -> Iterator[_Row]:
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        _check_column(path, field, rows.fieldnames or ())
        number = 0
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                row = _Broken(f"it is no row of CSV: {error}")
            yield number, row
            number += 1


def _parquet(path: Path, field: str) -> Iterator[_Row]:
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


def _sentences(path: Path, _: str) -> Iterator[_Row]:
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
                _Broken("its lines have not 10 columns, and no '# text'") if broken else text or " ".join(words),
            )
            number, text, words = number + 1, "", []


def _then_blank(lines: Iterable[str]) -> Iterator[str]:
    yield from lines
    yield ""


def _dataset(name: str, folder: bool) -> Iterable[Any]:
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        what = (
            "it was saved by datasets"
            if folder
            else "there is no such file or folder, so it is taken for a dataset's name"
        )
        raise MissingDependency(f"the corpus {name!r} needs datasets ({what})", "datasets") from None
    try:
        found = datasets.load_from_disk(name) if folder else datasets.load_dataset(name, streaming=True)
    except Exception as error:  # of the hub, of its files, of their code
        raise UnreadableFile(f"the dataset {name!r} cannot be read: {str(error).splitlines()[0]}") from error
    if isinstance(found, Mapping):  # by split
        found = found.get("train", next(iter(found.values())))
    return found


READERS: dict[str, Callable[[Path, str], Iterator[_Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".conllu": _sentences,
}
