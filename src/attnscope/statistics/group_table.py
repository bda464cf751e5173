"""GroupTable: a row a group, how much some queries look at it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import Any

from attnscope.errors import InputError
from attnscope.statistics.frames import data_frame
from attnscope.text.format import fixed, percent

SHOWN = 40  # rows that are printed
COLUMNS = ("weight", "even", "ratio", "share", "effect")
ASIDE, SINK = "special and sink tokens", "sink (no token)"


@dataclass(frozen=True)
class GroupRow:
    """What some queries give to a group, in one head or on average over several.

    `name`, `kind`, `start`, `stop`, `depth`: of the group, see attnscope.tracing.groups; kind "aside" are the special and sink tokens of all
        groups, "sink" is a learned sink; both have no place. `text`: how it begins.
    `tokens`: how many of its tokens count. `stack`, `layer`, `head`: None for a mean over several.
    `weight`: the sum of the weights on its tokens, mean over the queries. `even`: what it would get if each query spread its weight on the
        tokens that count evenly over those that it may see; `ratio`: weight / even. `share`: its part of what the head writes (Site.share).
    `effect`: how much the log-probability of the answer falls where nothing behind the group can see it, in nats. `band`: the lowest and the
        highest effect of as many other tokens, drawn at random. All None where they are not known.
    """

    name: str
    kind: str
    start: int | None
    stop: int | None
    depth: int
    text: str
    tokens: int
    weight: float
    even: float | None = None
    share: float | None = None
    stack: str | None = None
    layer: int | None = None
    head: int | None = None
    effect: float | None = None
    band: tuple[float, float] | None = None

    @property
    def ratio(self) -> float | None:
        """weight / even: above 1, the queries look at it more than its length explains."""
        return self.weight / self.even if self.even else None

    @property
    def head_name(self) -> str | None:
        """As views call it, "L2H8"; None for a mean over several."""
        return None if self.head is None else f"{self.stack + ' ' if self.stack else ''}L{self.layer}H{self.head}"

    @property
    def outside_band(self) -> bool | None:
        """Whether the effect lies outside of what other tokens do; None where there is no band."""
        return None if self.band is None or self.effect is None else not self.band[0] <= self.effect <= self.band[1]


@dataclass(frozen=True, eq=False, repr=False)
class GroupTable(Sequence[GroupRow]):
    """How much some queries look at each group of the text. Trace.groups makes one.

    `rows`: a GroupRow a group, in the order of the text; of several heads one head after the other. `query`: whose weights they are, in words. `queries`: the
    positions. `of`: which heads, in words. `notes`: what a reader must know.
    """

    rows: tuple[GroupRow, ...]
    query: str
    queries: tuple[int, ...]
    of: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """A row for a number, a table of some for a slice, the first row of a group for its name."""
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index])
        return self.named(index)[0] if isinstance(index, str) else self.rows[index]

    def __iter__(self) -> Iterator[GroupRow]:
        return iter(self.rows)

    def named(self, name: str) -> "GroupTable":
        """The rows of one group, a head each. `name`: of the group. Raises InputError where it has none."""
        found = tuple(row for row in self.rows if row.name == name)
        if not found:
            names = ", ".join(dict.fromkeys(row.name for row in self.rows))
            raise InputError(f'this table has no group "{name}"; it has {names}.')
        return replace(self, rows=found)

    def sort(self, column: str = "weight", ascending: bool = False) -> "GroupTable":
        """The same rows, the largest first; those without a number last. `column`: "weight", "even", "ratio", "share" or "effect".
        `ascending`: the smallest first. Raises InputError for another column."""
        if column not in COLUMNS:
            raise InputError(f"expected a column of this table ({', '.join(COLUMNS)}), got {column!r}.")
        sign = 1 if ascending else -1
        order = sorted(self.rows, key=lambda row: (getattr(row, column) is None, sign * (getattr(row, column) or 0.0)))
        return replace(self, rows=tuple(order))

    def records(self) -> list[dict[str, Any]]:
        """The rows as mappings."""
        return [{**asdict(row), "ratio": row.ratio, "outside_band": row.outside_band} for row in self.rows]

    def to_json(self) -> str:
        """The rows as a list of objects; positions, layers and heads count from 0."""
        return json.dumps(self.records(), ensure_ascii=False, indent=1)

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame. Raises MissingDependency without pandas."""
        return data_frame(self.records())

    def __repr__(self) -> str:
        titles, lines = self._cells()
        widths = [max(len(line[i]) for line in [titles, *lines]) for i in range(len(titles))]
        words = [
            "  ".join(
                one.rjust(width) if i in self._right(titles) else one.ljust(width)
                for i, (one, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in [titles, *lines]
        ]
        more = [f"… and {len(self.rows) - SHOWN} more rows"] if len(self.rows) > SHOWN else []
        return "\n".join(
            [f"GroupTable: {self.query}, {self.of}", *(line.rstrip() for line in words), *more, *self.notes]
        )

    def _repr_html_(self) -> str:
        titles, lines = self._cells()
        head = "".join(f"<th>{escape(one)}</th>" for one in titles)
        body = "".join(f"<tr>{''.join(f'<td>{escape(one)}</td>' for one in line)}</tr>" for line in lines)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        about = f"<p>{escape(self.query)}, {escape(self.of)}</p>"
        return f"{about}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"

    @staticmethod
    def _right(titles: Sequence[str]) -> set[int]:
        return {i for i, title in enumerate(titles) if title not in ("head", "group", "begins")}

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        """Titles, and the rows as they are printed."""
        heads = any(row.head is not None for row in self.rows)
        effects = any(row.effect is not None for row in self.rows)
        bands = any(row.band is not None for row in self.rows)
        titles = [*(["head"] if heads else []), "group", "tokens", "weight", "even", "ratio", "share"]
        titles += [*(["effect"] if effects else []), *(["band"] if bands else []), "begins"]
        outer = min((row.depth for row in self.rows if row.start is not None), default=0)
        lines = []
        for row in self.rows[:SHOWN]:
            ratio = "" if row.ratio is None else f"{fixed(row.ratio, 1)} ×"
            cells = ["  " * (row.depth - outer) + row.name, str(row.tokens), percent(row.weight)]
            cells += ["" if row.even is None else percent(row.even), ratio]
            cells += ["" if row.share is None else percent(row.share)]
            cells += ["" if row.effect is None else f"{row.effect:+.2f}"] if effects else []
            cells += ["" if row.band is None else f"{row.band[0]:+.2f} to {row.band[1]:+.2f}"] if bands else []
            lines.append([*([row.head_name or ""] if heads else []), *cells, row.text])
        return titles, lines
