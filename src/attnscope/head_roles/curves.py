"""Roles over the checkpoints of a training run: a curve a head."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attnscope.errors import InputError
from attnscope.head_roles.rows import RoleRow, flat
from attnscope.head_roles.table import RoleTable
from attnscope.statistics.frames import data_frame
from attnscope.text.format import percent


@dataclass(frozen=True, eq=False, repr=False)
class RoleCurves:
    """The roles of one model's heads at several checkpoints, in the order given. `tables`: by the checkpoint's name."""

    tables: Mapping[str, RoleTable]

    @property
    def last(self) -> RoleTable:
        """The table of the last checkpoint, whose choosing half names the heads that are followed."""
        return [*self.tables.values()][-1]

    def curve(self, relation: str, direction: str | None = None, head: str | None = None) -> tuple[RoleRow, ...]:
        """One row a checkpoint of one head: the one that the last checkpoint names, or "L2H8".

        `direction`: needed for relations, which have two. Raises InputError for what the tables do not have.
        """
        rows = [row for row in self.last if row.relation == relation and direction in (None, row.direction)]
        if len(rows) != 1:
            known = sorted({f"{row.relation} ({row.direction})" for row in self.last})
            raise InputError(
                f"expected one role, got {relation!r}{f' ({direction})' if direction else ''}, which fits {len(rows)}. "
                f"There are {', '.join(known)}."
            )
        wanted = rows[0].name if head is None else head
        found = []
        for name, table in self.tables.items():
            here = [row for row in table.by_head if row.task == rows[0].task and row.name == wanted]
            if not here:
                raise InputError(
                    f"checkpoint {name} has no head {wanted!r}. Heads are written as L2H8, counted from 0."
                )
            found.append(here[0])
        return tuple(found)

    def to_frame(self, every: bool = False) -> Any:
        """All rows as a pandas DataFrame with a column `checkpoint`. `every`: of every head."""
        records = [
            {"checkpoint": name, **record} for name, table in self.tables.items() for record in table.records(every)
        ]
        rows, keys = flat(records)
        return data_frame(
            [{"checkpoint": record["checkpoint"], **row} for record, row in zip(records, rows, strict=True)],
            columns=["checkpoint", *keys],
        )

    def sentences(self) -> list[str]:
        """Of each role that the last checkpoint's evidence carries: how its head came to it."""
        return [
            f"{row.name} {row.task.does}: "
            + ", ".join(
                f"{name} {percent((at.weight if row.task.by_weight else at.accuracy) or 0.0)}"
                for name, at in zip(self.tables, self.curve(row.relation, row.direction), strict=True)
            )
            for row in self.last.claimed
        ]

    def __str__(self) -> str:
        return "\n".join([f"{len(self.tables)} checkpoints: {', '.join(self.tables)}.", *self.sentences()])

    def __repr__(self) -> str:
        return f"RoleCurves({', '.join(self.tables)})"
