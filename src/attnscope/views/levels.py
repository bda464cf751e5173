"""The levels: how code, an address and the page call them, and what each one shows.

`tools/generate.py` writes this table into frontend/src/generated/, where the switch and the help sheet read it.
"""

from dataclasses import dataclass

from attnscope.errors import InputError


@dataclass(frozen=True)
class Level:
    """One level. name: as code and addresses spell it; `aliases` are read as well.

    group: its button on the switch; levels of one group draw the same thing, and their `title` tells them apart. about: what
    it shows, in a few words; help: in a sentence, for the help sheet.
    """

    name: str
    group: str
    title: str
    about: str
    help: str
    aliases: tuple[str, ...] = ()


# From far to near: Enter goes to the next one, Escape to the one before.
REGISTRY = (
    Level(
        name="stream",
        group="stream",
        title="stream",
        about="from the text to the prediction",
        help="From the text to the prediction: what each block adds to a logit, and what the model would predict after each layer.",
    ),
    Level(
        name="model",
        group="model",
        title="model",
        about="every head of every layer",
        help="Every head of every layer as a small picture. Choose one.",
    ),
    Level(
        name="head",
        group="head",
        title="lines",
        about="its weights as lines between tokens",
        help="Queries on the left, keys on the right, a line for each weight.",
        aliases=("lines",),
    ),
    Level(
        name="matrix",
        group="head",
        title="grid",
        about="its weights as a grid",
        help="The same head: a row for each query, a column for each key.",
        aliases=("grid",),
    ),
    Level(
        name="neuron",
        group="neuron",
        title="neuron",
        about="one query against every key, number by number",
        help="One query against every key: q, k and their product, dimension by dimension.",
    ),
    Level(
        name="steps",
        group="steps",
        title="steps",
        about="the arithmetic written out",
        help="The arithmetic of one query and one key, written out.",
    ),
)
NAMES = tuple(level.name for level in REGISTRY)
# Those that every trace has; the stream is there where the trace keeps it.
ALWAYS_THERE = tuple(name for name in NAMES if name != "stream")
ALIASES = {alias: level.name for level in REGISTRY for alias in level.aliases}


def level_named(name: str) -> str:
    """The level's own name, for a name or an alias. Raises InputError, which names all of them."""
    if isinstance(name, str) and name in NAMES:
        return name
    if isinstance(name, str) and name in ALIASES:
        return ALIASES[name]
    there = ", ".join(" or ".join(map(repr, (level.name, *level.aliases))) for level in REGISTRY)
    raise InputError(f"level {name!r} is not one of {there}.")
