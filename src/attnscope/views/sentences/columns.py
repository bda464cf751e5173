"""The columns of the neuron level, in the order in which page, picture, figure and terminal have them.

`tools/generate.py` writes this table into frontend/src/generated/. Each of them draws the columns that it has room for.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column. title: its heading; short: the heading where there is little room."""

    name: str
    title: str
    short: str = ""


# What the reader comes for stands first: the key, its weight, its share. The vectors that give them stand beside.
COLUMNS = (
    Column("token", "key"),
    Column("weight", "weight"),
    Column("share", "share of output", "share"),
    Column("k", "k"),
    Column("product", "q × k"),
    Column("dot", "q · k"),
    Column("score", "score"),
    Column("v", "v"),
)
TITLES = {column.name: column.title for column in COLUMNS}
SHORT = {column.name: column.short or column.title for column in COLUMNS}
NUMBERS = tuple(
    column.name for column in COLUMNS if column.name not in ("k", "product", "v")
)  # a word or a number a key
