"""The parts of a survey, folded in the order of their shards into its tables."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from attnscope.errors import AttnscopeError
from attnscope.surveys import tables
from attnscope.surveys.arrow import arrow, parquet
from attnscope.surveys.examples import FIELDS, Examples
from attnscope.surveys.files import TEMPORARY, failed
from attnscope.surveys.parts import Part, Receipt, read_part

DOCUMENTS = (("document", "string"), ("source", "string"), ("row", "int64"), ("tokens", "int64"), ("text", "string"))
ASIDE = (("source", "string"), ("row", "int64"), ("reason", "string"))


def fold(folder: Path, receipts: list[Receipt], texts: bool) -> None:
    """Read the parts of these shards one after another, and write the tables. Raises OutputError where they cannot be
    written, and AttnscopeError where a part is gone."""
    out = folder / "tables"
    out.mkdir(exist_ok=True)
    total: Part | None = None
    examples, kept = Examples(), _Kept()
    columns = DOCUMENTS if texts else DOCUMENTS[:-1]
    with _writer(out / "documents.parquet", columns) as documents, _writer(out / "set_aside.parquet", ASIDE) as aside:
        for receipt in receipts:
            part = _checked(folder, receipt)
            documents([row[: len(columns)] for row in part.documents])
            aside(part.aside)
            if not part.heads:
                continue
            if total is not None and part.heads != total.heads:
                raise AttnscopeError(
                    "the model has other heads in one shard than in another, so they cannot be added up."
                )
            total = part if total is None else _added(total, part)
            examples.add(Examples(part.examples).renumbered(kept.numbers_of(part)))
            kept.keep_only(np.unique(examples.columns["document"]).tolist())
    if total is not None:
        order = np.lexsort([examples.columns[name] for name in ("hash", "group")])
        chosen = Examples([examples.columns[name][order] for name in FIELDS])
        for name, table in tables.tables_of(total, chosen, kept.documents, kept.pieces).items():
            with _placed(out / f"{name}.parquet") as temporary:
                parquet().write_table(table, temporary, compression="zstd")


def _checked(folder: Path, receipt: Receipt) -> Part:
    try:
        part = read_part(folder, receipt.number)
    except Exception as error:
        raise AttnscopeError(
            f"part {receipt.number} of the survey, which was finished, cannot be read ({type(error).__name__}). Go on with "
            "resume=True, or --resume: it is computed again."
        ) from error
    if part.receipt != receipt:
        raise AttnscopeError(
            f"part {receipt.number} of the survey was exchanged while it ran. Run one survey in a folder."
        )
    return part


def _added(total: Part, part: Part) -> Part:
    total.values = total.values + part.values
    total.counts = total.counts + part.counts
    total.bins = total.bins + part.bins
    largest = np.maximum(total.link[0], part.link[0])
    total.link = np.stack([largest, *(total.link[1:] + part.link[1:])])
    return total


class _Kept:
    """The documents that are examples so far, each under a number of its own."""

    def __init__(self) -> None:
        self.documents: dict[int, str] = {}
        self.pieces: dict[int, tuple[list[str], list[bool]]] = {}
        self._next = 0

    def numbers_of(self, part: Part) -> "np.ndarray":
        """New numbers for the documents of a part."""
        numbers = np.arange(len(part.documents)) + self._next
        self._next += len(part.documents)
        self.documents |= {int(n): row[0] for n, row in zip(numbers, part.documents, strict=True)}
        self.pieces |= {int(numbers[place]): found for place, found in part.pieces.items()}
        return numbers

    def keep_only(self, numbers: list[int]) -> None:
        self.documents = {n: self.documents[n] for n in numbers}
        self.pieces = {n: self.pieces[n] for n in numbers if n in self.pieces}


@contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """A temporary name, which becomes `path` at the end."""
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise failed(path, error) from error


@contextmanager
def _writer(path: Path, columns: tuple[tuple[str, str], ...]) -> Iterator[Any]:
    """Writes rows as they come."""
    pa = arrow()
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in columns])
    with _placed(path) as temporary, parquet().ParquetWriter(temporary, schema, compression="zstd") as file:

        def write(rows: list[tuple]) -> None:
            if rows:
                made = [
                    pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)
                ]
                file.write_table(pa.table(made, schema=schema))

        yield write
