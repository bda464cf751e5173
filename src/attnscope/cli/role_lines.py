"""A role table in a terminal."""

from typing import Any

from attnscope.head_roles.sentence import baseline, shares, word_baseline
from attnscope.head_roles.table import RoleTable
from attnscope.text.format import percent


def print_roles(console: Any, table: RoleTable, every: bool) -> None:
    """A heading, one row a role, the sentences of those that carry a claim, and the notes."""
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("head", "role", "direction"):
        drawn.add_column(title)
    for title in ("right", "fixed offset", "fixed word", "p", ""):
        drawn.add_column(title, justify="right" if title else "left")
    for row in table.by_head if every else table.rows:
        drawn.add_row(
            row.name or "none",
            row.relation,
            row.direction,
            f"{percent(row.weight)} of weight" if row.task.by_weight and row.weight is not None else shares(row),
            baseline(row),
            word_baseline(row),
            "" if row.p_adjusted is None else f"{row.p_adjusted:.3g}",
            "✓" if row.claimed else "",
        )  # fmt: skip
    console.print(table.heading, highlight=False)
    console.print(drawn)
    for text in (*table.sentences(), *table.notes):
        console.print(text, highlight=False, markup=False)
