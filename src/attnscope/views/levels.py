"""The levels: how code, an address and the page call them, and what each one shows.

`tools/generate.py` writes this table into frontend/src/generated/, where the switch and the help sheet read it.
"""

from dataclasses import dataclass

from attnscope.errors import InputError


@dataclass(frozen=True)
class Level:
    """One level. `name` is how code and addresses spell it; `aliases` are read as well.

    title: what the page calls it. tip: what its button says when you hover over it. about: one sentence for the help sheet.
    """

    name: str
    title: str
    tip: str
    about: str
    aliases: tuple[str, ...] = ()


# From far to near.
REGISTRY = (
    Level(
        "model",
        "model",
        "model: every head of every layer",
        "Every head of every layer as a small picture. Choose one.",
    ),
    Level(
        "head",
        "head, lines",
        "head: its weights as lines between tokens",
        "Queries on the left, keys on the right, a line for each weight.",
        ("lines",),
    ),
    Level(
        "matrix",
        "head, grid",
        "head: its weights as a grid",
        "The same head: a row for each query, a column for each key.",
        ("grid",),
    ),
    Level(
        "neuron",
        "neuron",
        "neuron: one query against every key, number by number",
        "One query against every key: q, k and their product, dimension by dimension.",
    ),
    Level(
        "steps",
        "steps",
        "steps: the arithmetic written out",
        "The arithmetic of one query and one key, written out.",
    ),
)
NAMES = tuple(level.name for level in REGISTRY)
ALIASES = {alias: level.name for level in REGISTRY for alias in level.aliases}


def level_named(name: str) -> str:
    """The level's own name, for a name or an alias. Raises InputError, which names all of them."""
    if name in NAMES:
        return name
    if name in ALIASES:
        return ALIASES[name]
    there = ", ".join(" or ".join(map(repr, (level.name, *level.aliases))) for level in REGISTRY)
    raise InputError(f"level {name!r} is not one of {there}.")
