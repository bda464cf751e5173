"""EffectTable: what was measured, a row a head, as words, JSON, a data frame, a figure."""

import json
import math
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from attnscope.errors import InputError
from attnscope.head_effects.band import band_of
from attnscope.head_effects.rows import JSON_KEYS, EffectRow
from attnscope.head_effects.units import Unit
from attnscope.payload.atomic_write import write_atomically
from attnscope.statistics.frames import data_frame
from attnscope.text.format import count

FIGURES = (".svg", ".pdf", ".png")
KINDS = (".json", ".csv", *FIGURES)
SHOWN = 10
TOLD = ("measure", "reference", "asked", "model", "notes", "stopped", "key", "approximate")


@dataclass(frozen=True, eq=False, repr=False)
class EffectTable(Sequence[EffectRow]):
    """The effect of each head of a model on a prediction: one row a head, in the order of layers and heads.

    `rows`: see EffectRow. `measure`: the score, in words. `reference`: what stood in the place of what a head writes. `asked`: of which prediction. `model`: its
    name. `clean`: the score of each text without edits. `notes`: what a reader must know. `stopped`: whether some heads or texts are missing. `totals`: of each
    unit its effect in every text, NaN where it was not measured. `key`: tells calls apart, for resume=. `approximate`: whether effects are
    gradients; `exact`: then the effects of the largest in every text, measured.
    """

    rows: tuple[EffectRow, ...]
    measure: str
    reference: str
    asked: str
    model: str
    clean: tuple[float, ...]
    notes: tuple[str, ...] = ()
    stopped: bool = False
    totals: Mapping[Unit, Sequence[float]] | None = None
    key: str = ""
    approximate: bool = False
    exact: Mapping[Unit, Sequence[float]] | None = None

    @classmethod
    def of(
        cls, totals: Mapping[Unit, Sequence[float]], exact: Mapping[Unit, Sequence[float]] | None = None, **more: Any
    ) -> "EffectTable":
        """The table of what was measured. `totals`: of each unit its effect in every text; `exact`: of some, beside an approximation. `more`: the other fields."""
        found = {unit: [one for one in row if not math.isnan(one)] for unit, row in sorted(totals.items())}
        effects = {unit: statistics.fmean(row) for unit, row in found.items() if row}
        rows = tuple(
            EffectRow(
                unit.stack,
                unit.layer,
                unit.heads,
                unit.name,
                effect,
                statistics.stdev(found[unit]) if len(found[unit]) > 1 else None,
                len(found[unit]),
                band_of(unit, effects),
                None if not exact or unit not in exact else _mean(exact[unit]),
                unit.place,
                unit.edge,
            )
            for unit, effect in effects.items()
        )
        return cls(rows, totals=totals, exact=exact, **more)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:  # an EffectRow for an int or a name, a tuple of them for a slice
        if isinstance(index, str):
            found = next((row for row in self.rows if row.name == index), None)
            if found is None:
                raise InputError(
                    f"there is no {index!r} in this table, which has {self.rows[0].name} to {self.rows[-1].name}."
                )
            return found
        return self.rows[index]

    def __iter__(self) -> Iterator[EffectRow]:
        return iter(self.rows)

    @property
    def strongest(self) -> tuple[EffectRow, ...]:
        """The rows by the size of their effects, largest first."""
        return tuple(sorted(self.rows, key=lambda row: -abs(row.effect)))

    @property
    def outside(self) -> tuple[EffectRow, ...]:
        """The rows outside of their band, largest effects first."""
        return tuple(row for row in self.strongest if row.outside_band)

    # --- as data ------------------------------------------------------------------------------------------------------

    def records(self) -> list[dict[str, Any]]:
        """The rows as mappings by the keys of the JSON."""
        return [row.as_json() for row in self.rows]

    @property
    def _told(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in TOLD}

    def to_json(self) -> str:
        """The table as JSON: what was asked, and "rows", with "totals", the effect in each text. Layers and heads count from 0."""
        rows = self.records()
        totals, exact = (_listed(one or {}) for one in (self.totals, self.exact))
        return json.dumps(
            {
                **self._told,
                "clean": [_stored(one) for one in self.clean],
                "rows": rows,
                "totals": totals,
                "exact": exact,
            },
            ensure_ascii=False,
            indent=1,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "EffectTable":
        """The table that save("….json") wrote to `path`, to show it or to go on (resume=). Raises UnreadableFile for a file that cannot be read, InputError
        for one that is no such table."""
        from attnscope.head_effects.saved import read_table

        totals, more = read_table(path)
        return cls.of(totals, **more)

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame. Raises MissingDependency without pandas."""
        return data_frame(self.records(), columns=list(JSON_KEYS))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table to `path`: .json, .csv, or .svg, .pdf, .png, a figure of heads × layers.

        Raises InputError for another ending; OutputError where it cannot be written; MissingDependency for a figure without matplotlib.
        """
        ending = Path(path).suffix.lower()
        if ending == ".json":
            data = self.to_json().encode()
        elif ending == ".csv":
            data = _csv(self.records()).encode()
        elif ending in FIGURES:
            from attnscope.head_effects.figure import figure_bytes

            data = figure_bytes(self.rows, self._told, len(self.clean), ending[1:])
        else:
            raise InputError(f"expected a file that ends in {', '.join(KINDS)}, got {os.fspath(path)!r}.")
        return write_atomically(path, data)

    # --- in words -----------------------------------------------------------------------------------------------------

    @property
    def heading(self) -> str:
        """What was asked, of how many, and how many leave their band."""
        kinds = "heads" if all(len(row.heads) == 1 for row in self.rows) else "edits of several heads"
        kinds = "edges" if any(row.edge for row in self.rows) else kinds
        return (
            f"{self.model}: {self.measure} of {self.asked}, {count(len(self.clean), 'text')}; {len(self.rows)} {kinds} in turn, "
            f"each with {self.reference} in its place. {len(self.outside)} are outside of the band of the others near them; by chance alone about "
            f"{_by_chance(self.rows)} would be. Layers and heads count from 0."
        )

    def __str__(self) -> str:
        lines = [self.heading, *(f"  {row}" for row in self.strongest[:SHOWN])]
        if len(self) > SHOWN:
            lines.append(f"  … and {len(self) - SHOWN} smaller ones")
        if self.approximate:
            lines.append(self.error)
        if self.stopped:
            lines.append(self._missing)
        return "\n".join([*lines, *self.notes])

    @property
    def error(self) -> str:
        """How far an approximation is off, in words."""
        pairs = [(row.effect, row.exact) for row in self.rows if row.exact is not None and not math.isnan(row.exact)]
        said = "The effects are gradients: to first order (attribution patching, Nanda 2023)."
        if not pairs:
            return f"{said} None was measured exactly, so nobody knows how far off they are: give top=10."
        wrong = [abs(effect - exact) for effect, exact in pairs]
        signs = sum(effect * exact > 0 for effect, exact in pairs)
        largest = max(abs(exact) for _, exact in pairs)
        return (
            f"{said} Of the {len(pairs)} largest, measured exactly too, they are off by {statistics.fmean(wrong):.3f} on average and {max(wrong):.3f} at "
            f"most, where the largest effect is {largest:.3f}; {signs} have the right sign. Of smaller ones nothing is known."
        )

    @property
    def _missing(self) -> str:
        done = sum(not math.isnan(one) for row in (self.totals or {}).values() for one in row)
        whole = sum(len(row) for row in (self.totals or {}).values())
        return f"Stopped after {done} of {whole} effects. Go on with the same call and resume=table."

    def __repr__(self) -> str:
        stopped = ", stopped" if self.stopped else ""
        return f"EffectTable({self.model}: {len(self)} effects on {self.asked}, {len(self.outside)} outside the band{stopped})"

    def _repr_html_(self) -> str:
        """The lines, for notebooks."""
        return "".join(f"<div>{escape(line)}</div>" for line in str(self).splitlines())


def _by_chance(rows: Sequence[EffectRow]) -> int:
    """How many would lie outside if all did the same: of n + 1 heads the first and the last."""
    return round(sum(2 / (row.band.n + 1) for row in rows if row.band is not None))


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def _listed(totals: Mapping[Unit, Sequence[float]]) -> list[dict[str, Any]]:
    return [
        {
            "stack": u.stack,
            "layer": u.layer,
            "heads": u.heads,
            "each": u.each,
            **({} if u.edge is None else {"place": u.place, "edge": u.edge}),
            "totals": [_stored(one) for one in row],
        }
        for u, row in totals.items()
    ]


def _stored(value: float) -> float | None:
    return None if math.isnan(value) else value


def _csv(records: Sequence[dict[str, Any]]) -> str:
    import csv
    import io

    out = io.StringIO()
    writer = csv.DictWriter(out, list[str](JSON_KEYS), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**record, "heads": " ".join(map(str, record["heads"]))} for record in records)
    return out.getvalue()
