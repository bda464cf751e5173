"""What a shard comes to, as one file: its sums, its examples, its documents and those set aside."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attnscope.surveys.arrow import arrow, parquet
from attnscope.surveys.bins import WIDEST
from attnscope.surveys.files import write_whole

FORMAT = 1
ABOUT = b"attnscope"


@dataclass(frozen=True)
class Receipt:
    """What a worker hands back for a shard. `digest`: of its documents. `settings`: the hash of the configuration.
    `windowed`: documents that were read in windows. `special`, `unknown`: of the tokens, those that are special, and those that stand for
    what the tokenizer does not know."""

    number: int
    source: str
    first: int
    count: int
    digest: str
    settings: str
    documents: int
    set_aside: int
    tokens: int
    characters: int
    windowed: int
    special: int = 0
    unknown: int = 0


@dataclass
class Part:
    """Of one shard. `names`: its statistics. `values`, `counts`: [heads, statistics], sums over queries and of how many. `bins`:
    [statistics and the strongest link, heads, bins] counts of documents. `link`: [3, heads], the largest strongest link, their sum over documents and how many.
    `examples`: columns. `documents`: (id, source, row, tokens, text). `pieces`: by the place of a document among them, its
    tokens and which of them are special. `aside`: (source, row, reason)."""

    receipt: Receipt
    names: tuple[str, ...]
    heads: tuple[tuple[int, int], ...]
    values: "np.ndarray"
    counts: "np.ndarray"
    bins: "np.ndarray"
    link: "np.ndarray"
    examples: "list[np.ndarray]"
    documents: list[tuple[str, str, int, int, str]]
    pieces: dict[int, tuple[list[str], list[bool]]] = field(default_factory=dict)
    aside: list[tuple[str, int, str]] = field(default_factory=list)


def part_path(folder: Path, number: int) -> Path:
    return folder / "parts" / f"part-{number:05d}.parquet"


def write_part(folder: Path, part: Part) -> None:
    """Raises OutputError where it cannot be written."""
    pa = arrow()
    columns: dict[str, Any] = {name: getattr(part, name).ravel() for name in ("values", "counts", "bins", "link")}
    columns |= {f"example_{place}": column for place, column in enumerate(part.examples)}
    kinds = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.string())
    columns |= {f"document_{n}": pa.array([d[n] for d in part.documents], kind) for n, kind in enumerate(kinds)}
    columns |= {f"aside_{n}": pa.array([one[n] for one in part.aside], kinds[n + 1]) for n in range(2)}
    columns["aside_2"] = pa.array([reason for *_, reason in part.aside], pa.string())
    columns["piece_place"] = pa.array([*part.pieces], pa.int64())
    columns["pieces"] = pa.array([pieces for pieces, _ in part.pieces.values()], pa.list_(pa.string()))
    columns["special"] = pa.array([special for _, special in part.pieces.values()], pa.list_(pa.bool_()))
    about = {"format": FORMAT, "receipt": asdict(part.receipt), "names": part.names, "heads": part.heads}
    rows = {name: _one_row(pa, values) for name, values in columns.items()}
    table = pa.table(rows).replace_schema_metadata({ABOUT: json.dumps(about)})
    buffer = pa.BufferOutputStream()
    parquet().write_table(table, buffer, compression="zstd")
    write_whole(part_path(folder, part.receipt.number), memoryview(buffer.getvalue()))


def _one_row(pa: Any, values: Any) -> Any:
    values = pa.array(values)
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)


def read_receipt(folder: Path, number: int) -> Receipt | None:
    """That of a finished shard; None where there is none, or where the file is damaged."""
    path = part_path(folder, number)
    if not path.exists():
        return None
    try:
        about = _about(parquet().read_schema(path))
        parquet().read_table(path, columns=["link"])
        return Receipt(**about["receipt"]) if about["format"] == FORMAT else None
    except Exception:  # of pyarrow, of JSON: whatever it is, the shard is computed again
        return None


def read_part(folder: Path, number: int) -> Part:
    table = parquet().read_table(part_path(folder, number))
    about = _about(table.schema)
    names: tuple[str, ...] = tuple(about["names"])
    heads = tuple((layer, head) for layer, head in about["heads"])

    def column(name: str) -> Any:
        return table.column(name).chunk(0).flatten()

    def numbers(name: str, *shape: int) -> "np.ndarray":
        return column(name).to_numpy(zero_copy_only=False).reshape(shape)

    count = len(heads)
    return Part(
        Receipt(**about["receipt"]),
        names,
        heads,
        numbers("values", count, -1) if count else np.zeros((0, 0)),
        numbers("counts", count, -1) if count else np.zeros((0, 0)),
        numbers("bins", len(names) + 1, count, WIDEST),
        numbers("link", 3, count),
        [column(f"example_{place}").to_numpy(zero_copy_only=False) for place in range(6)],
        [*zip(*(column(f"document_{n}").to_pylist() for n in range(5)), strict=True)],
        {
            place: (pieces, special)
            for place, pieces, special in zip(
                *(column(name).to_pylist() for name in ("piece_place", "pieces", "special")), strict=True
            )
        },
        [*zip(*(column(f"aside_{n}").to_pylist() for n in range(3)), strict=True)],
    )


def _about(schema: Any) -> dict[str, Any]:
    return json.loads(schema.metadata[ABOUT])
