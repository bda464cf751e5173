"""StatisticsTable: a row a head, a column a statistic."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from jaxtyping import Float
from torch import Tensor

from attnscope.errors import InputError
from attnscope.statistics.definitions import Statistic
from attnscope.statistics.frames import data_frame

SHOWN = 24  # rows of the table in a notebook


@dataclass(frozen=True)
class HeadStatistics:
    """The numbers of one head. `stack`: None where the model has one. `layer`, `head`: from 0. `values`: by name, None where
    the head has no such number."""

    stack: str | None
    layer: int
    head: int
    values: Mapping[str, float | None]

    @property
    def name(self) -> str:
        """As views call it: "L2H8"."""
        return f"{self.stack + ' ' if self.stack else ''}L{self.layer}H{self.head}"

    def __getitem__(self, name: str) -> float | None:
        return self.values[name]


@dataclass(frozen=True, eq=False, repr=False)
class StatisticsTable(Sequence[HeadStatistics]):
    """Statistics of every head of a trace. Trace.statistics makes one.

    `rows`: a head each. `columns`: what each number is, with its formula and source. `by_key`: of statistics of single keys
    ("received_most", "share_most"), what every key receives on average, [H, K], by (stack, layer). `notes`: what a reader
    must know.
    """

    rows: tuple[HeadStatistics, ...]
    columns: tuple[Statistic, ...]
    by_key: Mapping[str, Mapping[tuple[str | None, int], Float[Tensor, "H K"]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):  # a HeadStatistics for an int, a tuple of them for a slice
        return self.rows[index]

    def __iter__(self) -> Iterator[HeadStatistics]:
        return iter(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the statistics."""
        return tuple(column.name for column in self.columns)

    def sort(self, name: str, ascending: bool = False) -> "StatisticsTable":
        """The same table by a statistic, the largest first; heads without a number last. `name`: of the statistic.
        `ascending`: the smallest first. Raises InputError for a statistic that the table does not have."""
        if name not in self.names:
            raise InputError(
                f"expected the name of a statistic of this table, got {name!r}; it has {', '.join(self.names)}."
            )
        sign = 1 if ascending else -1
        order = sorted(self.rows, key=lambda row: (row[name] is None, sign * (row[name] or 0.0)))
        return replace(self, rows=tuple(order))

    def records(self) -> list[dict[str, Any]]:
        """The rows as mappings: stack, layer, head, and the statistics by name."""
        return [{"stack": row.stack, "layer": row.layer, "head": row.head, **row.values} for row in self.rows]

    def to_json(self) -> str:
        """The rows as a list of objects. Layers and heads count from 0."""
        return json.dumps(self.records(), ensure_ascii=False, indent=1)

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame. Raises MissingDependency without pandas."""
        return data_frame(self.records(), columns=["stack", "layer", "head", *self.names])

    def __repr__(self) -> str:
        return f"StatisticsTable({len(self.rows)} heads, {', '.join(self.names)})"

    def _repr_html_(self) -> str:
        titles = "".join(f'<th title="{escape(column.words)}">{escape(column.title)}</th>' for column in self.columns)
        rows = [
            f"<tr><th>{escape(row.name)}</th>{''.join(f'<td>{_number(row[name])}</td>' for name in self.names)}</tr>"
            for row in self.rows[:SHOWN]
        ]
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        more = f"<p>and {len(self.rows) - SHOWN} more heads</p>" if len(self.rows) > SHOWN else ""
        return (
            f"<table><thead><tr><th>head</th>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table>{more}{notes}"
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
