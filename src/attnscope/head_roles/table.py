"""RoleTable: what was found, as rows, sentences, JSON, a data frame, a page."""

import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from attnscope.errors import InputError
from attnscope.head_roles.report_html import Report, fragment
from attnscope.head_roles.rows import RoleRow, flat
from attnscope.head_roles.saved import read_rows
from attnscope.head_roles.sentence import sentence
from attnscope.payload.atomic_write import write_atomically
from attnscope.statistics.frames import data_frame

FIGURES = (".svg", ".pdf", ".png")
KINDS = (".json", ".csv", ".html", *FIGURES)


@dataclass(frozen=True, eq=False, repr=False)
class RoleTable(Sequence[RoleRow]):
    """The roles of a model's heads: one row a relation and direction, or another rule, for the head that does it best.

    `rows`: of the head that one half of the data names, with what it does on the other half. `by_head`: one row a head and
    rule, best first; of relations only where they were asked for. `model`: its name. `data`: what was read. `notes`: what a
    reader must know. `source`: the model and its tokenizer, for pages of the examples; not in a pickle.
    """

    rows: tuple[RoleRow, ...]
    by_head: tuple[RoleRow, ...] = ()
    model: str = ""
    data: str = ""
    notes: tuple[str, ...] = ()
    source: tuple[Any, Any] | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "source": None}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):  # a RoleRow for an int, a tuple of them for a slice
        return self.rows[index]

    def __iter__(self) -> Iterator[RoleRow]:
        return iter(self.rows)

    @property
    def claimed(self) -> tuple[RoleRow, ...]:
        """The rows whose evidence carries a claim."""
        return tuple(row for row in self.rows if row.claimed)

    @property
    def badges(self) -> dict[tuple[int, int], tuple[str, ...]]:
        """Of each (layer, head) that has one: its roles by name, those with the most evidence first."""
        found: dict[tuple[int, int], list[str]] = defaultdict(list)
        for row in (*self.rows, *self.by_head):
            if row.claimed and row.layer is not None and row.head is not None:
                name = row.relation if row.task.kind not in ("relation", "link") else f"{row.relation}, {row.direction}"
                if name not in found[row.layer, row.head]:
                    found[row.layer, row.head].append(name)
        return {place: tuple(names) for place, names in found.items()}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "RoleTable":
        """The rows that save("….json") wrote to `path`, to show them. Raises UnreadableFile for a file that cannot be read, InputError
        for one that holds no rows."""
        return cls(read_rows(path), data="", notes=())

    def records(self, every: bool = False) -> list[dict[str, Any]]:
        """The rows as mappings by the keys of the JSON. `every`: those of every head."""
        return [row.as_json() for row in (self.by_head if every else self.rows)]

    def to_json(self, every: bool = False) -> str:
        """A list of rows: layer, head, relation, direction, accuracy, low, high, n, baseline_offset, … Layers and heads count
        from 0. `every`: the rows of every head."""
        return json.dumps(self.records(every), ensure_ascii=False, indent=1)

    def to_frame(self, every: bool = False) -> Any:
        """The rows as a pandas DataFrame, each measure a column of its own; `every`: those of every head. Raises
        MissingDependency without pandas."""
        records, keys = flat(self.records(every))
        return data_frame(records, columns=keys)

    def save(self, path: str | os.PathLike[str], every: bool = False, examples: bool = False) -> Path:
        """Write the table to `path`: .json, .csv, .html, a report on one page, or .svg, .pdf, .png, a figure of the claims.

        `every`: the rows of every head, in .json and .csv. `examples`: beside the report, in a folder of its name with
        "_examples", a page for each example sentence, which opens on its head. Raises InputError for another ending, and for
        examples of a table that no longer has its model; OutputError where something cannot be written; MissingDependency
        for a figure without matplotlib.
        """
        ending = Path(path).suffix.lower()
        if ending == ".json":
            data = self.to_json(every)
        elif ending == ".csv":
            data = _csv(self.records(every))
        elif ending == ".html":
            data = self._page(Path(path), examples)
        elif ending in FIGURES:
            from attnscope.head_roles.figure import figure_bytes

            return write_atomically(path, figure_bytes(self.rows, self.model, ending[1:]))
        else:
            raise InputError(f"expected a file that ends in {', '.join(KINDS)}, got {os.fspath(path)!r}.")
        return write_atomically(path, data.encode("utf-8"))

    def _page(self, path: Path, examples: bool) -> str:
        from attnscope.head_roles.report_page import document

        links = None
        if examples:
            from attnscope.head_roles.example_pages import write_examples

            links = write_examples(self.claimed, self, path.expanduser().with_name(f"{path.stem}_examples"))
        return document(self._report(), links)

    def sentences(self) -> list[str]:
        """What can be said, one sentence a row that carries a claim."""
        return [sentence(row) for row in self.claimed]

    def __str__(self) -> str:
        return "\n".join([self.heading, *self.sentences(), *self.notes])

    def __repr__(self) -> str:
        return f"RoleTable({self.model}: {len(self.rows)} rows, {len(self.claimed)} carry a claim)"

    def _repr_html_(self) -> str:
        return fragment(self._report())

    def _report(self) -> Report:
        return Report(self.model, self.heading, self.sentences(), self.rows, self.notes)

    @property
    def heading(self) -> str:
        """What was looked at, and how."""
        heads = max((row.looked_at for row in self.rows), default=0)
        return (
            f"{self.model}: {len(self.claimed)} of {len(self.rows)} roles are carried by the evidence. {self.data} "
            f"Each head was chosen among {heads} on one half of the documents and is reported on the other; "
            "p-values are corrected for all rows (Holm). Layers and heads count from 0."
        )

    def with_effects(
        self, effects: Mapping[tuple[int, int], tuple[float, float, float]], kinds: Collection[str] | None = None
    ) -> "RoleTable":
        """With `effects`, what switching each head off does: (effect, band_low, band_high) by (layer, head). `kinds`: of the tasks whose rows get
        them; None: all."""

        def filled(row: RoleRow) -> RoleRow:
            if row.layer is None or row.head is None or (row.layer, row.head) not in effects:
                return row
            if kinds is not None and row.task.kind not in kinds:
                return row
            effect, low, high = effects[row.layer, row.head]
            return replace(row, effect=effect, band_low=low, band_high=high)

        return replace(self, rows=tuple(map(filled, self.rows)), by_head=tuple(map(filled, self.by_head)))


def _csv(records: Sequence[dict[str, Any]]) -> str:
    import csv
    import io

    out = io.StringIO()
    rows, keys = flat(records)
    writer = csv.DictWriter(out, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
