"""The tables of a survey, as the pages need them."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attnscope.errors import InputError, UnreadableFile
from attnscope.statistics.definitions import Statistic
from attnscope.statistics.request import EVERY
from attnscope.surveys.arrow import parquet

MORE = {
    "link_mean": Statistic(
        "link_mean", "strongest link, mean", "part", "The strongest link of a text, averaged over the texts."
    ),
}
NOT_SHOWN = ("layer", "head", "queries")
Head = tuple[int, int]


@dataclass(frozen=True)
class Bin:
    """Documents whose number lies from `low` up to `high`. `count`: of one head; `every`: of all heads together."""

    low: float
    high: float
    count: int
    every: int


@dataclass(frozen=True, eq=False)
class Histograms:
    """Of one statistic. `counts`: [heads, bins]; `every`: their sum over the heads."""

    low: "np.ndarray"
    high: "np.ndarray"
    counts: "np.ndarray"
    every: "np.ndarray"


@dataclass(frozen=True)
class Link:
    """An example: a query and a key of a document, with the tokens around them where texts are published."""

    document: str
    query: int
    key: int
    weight: float
    window: tuple[str, ...] = ()
    window_query: int | None = None
    window_key: int | None = None


@dataclass(frozen=True, eq=False)
class Tables:
    """What was found. `names`: the statistics in order; `values`: [heads, statistics], NaN where there is none. `examples`:
    of each head by kind and bin, the strongest bin first, random ones under −1."""

    manifest: Mapping[str, Any]
    heads: tuple[Head, ...]
    statistics: tuple[Statistic, ...]
    values: "np.ndarray"
    bins: Mapping[str, Histograms]
    examples: Mapping[Head, Mapping[int, tuple[Link, ...]]] = field(repr=False)

    @property
    def model(self) -> str:
        """Its name."""
        model = self.manifest.get("model")
        name = model.get("name") if isinstance(model, Mapping) else model
        return str(name or "this model")

    def distribution(self, place: int, name: str) -> tuple[Bin, ...]:
        """Of a head by its place in the list, without the empty ends."""
        if name not in self.bins:
            return ()
        of = self.bins[name]
        filled = np.flatnonzero(of.every)
        if not len(filled):
            return ()
        reach = range(int(filled[0]), int(filled[-1]) + 1)
        return tuple(
            Bin(float(of.low[i]), float(of.high[i]), int(of.counts[place, i]), int(of.every[i])) for i in reach
        )


def example_name(document: str) -> str:
    """The name of a document's page among examples/: the id may hold what no file name can."""
    return f"{hashlib.sha256(document.encode()).hexdigest()[:16]}.html"


def shared_examples(out: Path, most: int) -> list[str]:
    """At most `most` of the documents that are examples: those first that most heads have."""
    examples = _table(out, "examples")
    heads = zip(examples["document"], examples["layer"], examples["head"], strict=True)
    often = Counter(document for document, *_ in set(heads))
    return sorted(often, key=lambda document: (-often[document], example_name(document)))[:most]


def texts_of(out: Path, chosen: list[str]) -> dict[str, str]:
    """The texts of these documents, where the survey publishes them. One shard's rows are in memory at a time."""
    texts: dict[str, str] = {}
    path = out / "tables" / "documents.parquet"
    with _readable(path):
        file = parquet().ParquetFile(path)
        for number in range(file.num_row_groups if "text" in file.schema_arrow.names else 0):
            names = file.read_row_group(number, columns=["document"]).column(0).to_pylist()
            if not {*names}.isdisjoint(chosen):
                texts |= zip(names, file.read_row_group(number, columns=["text"]).column(0).to_pylist(), strict=True)
                texts = {name: text for name, text in texts.items() if name in chosen}
    return {document: texts[document] for document in chosen if texts.get(document)}


def read_tables(out: Path) -> Tables:
    """Raises UnreadableFile where a table is missing or cannot be read, InputError where it holds no heads."""
    manifest = _manifest(out)
    columns = _table(out, "heads")
    if not columns.get("layer"):
        raise InputError(f"the survey in {out} holds no heads, so it has no atlas. Finish it first: --resume.")
    heads = tuple(zip(columns["layer"], columns["head"], strict=True))
    order = {head: place for place, head in enumerate(heads)}
    names = [name for name in columns if name not in NOT_SHOWN]
    statistics = tuple(
        EVERY.get(name) or MORE.get(name) or Statistic(name, name.replace("_", " "), "", "") for name in names
    )
    values = np.array([[math.nan if v is None else float(v) for v in columns[name]] for name in names]).T
    return Tables(
        manifest, heads, statistics, values.reshape(len(heads), len(names)), _bins(out, order), _examples(out)
    )


def _manifest(out: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((out / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{out} holds no survey: its manifest.json cannot be read ({error}).") from error
    return found if isinstance(found, Mapping) else {}


def _table(out: Path, name: str) -> dict[str, list[Any]]:
    path = out / "tables" / f"{name}.parquet"
    with _readable(path):
        return parquet().read_table(path).to_pydict()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise UnreadableFile(
            f"{path} cannot be read: {error}. Run the survey again, or go on with it: --resume."
        ) from error


def _bins(out: Path, order: Mapping[Head, int]) -> dict[str, Histograms]:
    """Histograms by statistic. Bins are the same for every head."""
    rows = _table(out, "distributions")
    names = np.array(rows["statistic"], dtype=object)
    place = np.array([order[head] for head in zip(rows["layer"], rows["head"], strict=True)], dtype=np.int64)
    low, high, count = (np.array(rows[name], dtype=float) for name in ("low", "high", "count"))
    found = {}
    for name in dict.fromkeys(rows["statistic"]):
        here = names == name
        edges, column = np.unique(low[here], return_inverse=True)
        counts = np.zeros((len(order), len(edges)))
        np.add.at(counts, (place[here], column), count[here])
        ends = np.zeros(len(edges))
        ends[column] = high[here]
        found[name] = Histograms(edges, ends, counts, counts.sum(0))
    return found


def _examples(out: Path) -> dict[Head, dict[int, tuple[Link, ...]]]:
    rows = _table(out, "examples")
    found: dict[Head, dict[int, list[Link]]] = {}
    for number in range(len(rows["layer"])):
        row = {name: values[number] for name, values in rows.items()}
        window = tuple(row.get("window") or ())
        link = Link(
            str(row["document"]),
            row["query"],
            row["key"],
            row["weight"],
            window,
            row.get("window_query"),
            row.get("window_key"),
        )
        group = row["bin"] if row["kind"] == "decile" else -1
        found.setdefault((row["layer"], row["head"]), {}).setdefault(group, []).append(link)
    return {head: {group: tuple(of[group]) for group in sorted(of, reverse=True)} for head, of in found.items()}
