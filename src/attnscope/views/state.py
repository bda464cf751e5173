"""Where a view looks: one table of fields for Python, a page's address, a widget's traits and the page itself.

The fields of `State` are that table. Each says what it may hold (its kind), its default, its choices and what it means.
`tools/generate.py` writes it into frontend/src/generated/state.ts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from attnscope.errors import InputError
from attnscope.views import levels

LEVELS = levels.NAMES

EXPECTED = {  # kind: what its text in an address must be
    "position": "a whole number from 0",
    "optional position": "a whole number from 0",
    "positions": "whole numbers from 0 with commas between",
    "weight": "a number from 0 to 1",
    "flag": "1 or 0",
    "choice": "one of the choices",
    "name": "the name of a statistic",
    "text": "text",
}


def _field(
    kind: str, default: Any, about: str, *, group: str = "look", choices: Sequence[str] = (), always: bool = False
) -> Any:
    """One row of the table.

    kind: a key of EXPECTED. group: "place" (which head), "reading" (which tokens of this text) or "look" (how it is
    drawn: a server's page keeps these for the next text). always: it stands in an address even at its default.
    """
    assert kind in EXPECTED
    more = {"kind": kind, "about": about, "group": group, "choices": tuple(choices), "always": always}
    return field(default=default, metadata=more)


@dataclass(frozen=True)
class State:
    """Where a view looks, and how. What each field means stands beside it; `State.table()` lists them.

    Raises InputError for a value that its field cannot hold.
    """

    level: str = _field("choice", "neuron", "the level that is drawn", choices=LEVELS)
    stack: str | None = _field("text", None, "the stack, for models with several", group="place")
    layer: int = _field("position", 0, "the layer, counted from 0", group="place", always=True)
    head: int = _field("position", 0, "the head, counted from 0", group="place", always=True)
    query: int = _field("position", 0, "the query token's position", group="reading", always=True)
    key: int | None = _field(
        "optional position", None, "the pinned key; None follows the strongest key of the query", group="reading"
    )
    theme: str = _field("choice", "auto", "the page's colours", choices=("auto", "light", "dark"))
    filter: str = _field(
        "choice",
        "all",
        "of a pair of texts: the text of the query, then the text of the keys that are shown",
        choices=("all", "aa", "ab", "ba", "bb"),
        group="reading",
    )
    heads: Any = _field("positions", (), "heads drawn over each other beside `head`, in this order", group="reading")
    average: str = _field(
        "choice",
        "none",
        "the mean over the heads of the layer, over this head of all layers, or over all heads",
        choices=("none", "heads", "layers", "all"),
    )
    queries: Any = _field("positions", (), "query tokens selected beside `query`", group="reading")
    combine: str = _field("choice", "mean", "how the rows of these queries become one", choices=("mean", "sum"))
    threshold: float = _field("weight", 0.0, "weights below it are not drawn at the head level")
    quantity: str = _field("choice", "weights", "what the matrix shows", choices=("weights", "scores", "dot"))
    log: Any = _field("flag", False, "whether the matrix is on a logarithmic scale")
    words: Any = _field("flag", False, "whether the pieces of a word are drawn as one")
    special: str = _field("choice", "show", "whether special tokens are drawn", choices=("show", "hide"))
    sort: str = _field("name", "layer", "the order of the heads at the model level: layer, or a statistic")
    thumbs: str = _field("choice", "matrix", "how the model level draws a head", choices=("matrix", "lines"))
    dim: int | None = _field(
        "optional position",
        None,
        "the dimension that the running dot product of the steps has reached",
        group="reading",
    )
    side: str = _field(
        "choice",
        "a",
        "of a comparison: trace A, trace B, or B − A, whose queries and keys count along the merged row of tokens",
        choices=("a", "b", "difference"),
        group="reading",
    )
    why: str = _field("text", "", "why the view opened here, where you did not choose the place", group="reading")

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", levels.level_named(self.level))
        for row in self.table():
            value = getattr(self, row.name)
            if row.metadata["kind"] == "positions":
                object.__setattr__(self, row.name, _positions(row.name, value))
            else:
                _check(row, value)

    @classmethod
    def table(cls) -> tuple[Field, ...]:
        """Every field with its default and, in `metadata`, its kind, group, choices, and what it is about."""
        return fields(cls)

    @classmethod
    def group(cls, *groups: str) -> tuple[str, ...]:
        """Names of the fields in these groups: "place", "reading" or "look"."""
        return tuple(row.name for row in cls.table() if row.metadata["group"] in groups)

    @property
    def fragment(self) -> str:
        """The text after the # of a page's address. Defaults are left out, except for layer, head and query."""
        entries = [
            (row.name, _spell(getattr(self, row.name)))
            for row in self.table()
            if row.name != "why" and (row.metadata["always"] or getattr(self, row.name) != row.default)
        ]
        return urlencode(entries)

    @classmethod
    def from_url(cls, url: str) -> "State":
        """The state in a page's address, or in the part after its #. Raises InputError for what it cannot read."""
        text = urlsplit(url).fragment if "#" in url else url
        given: dict[str, Any] = {}
        known = {row.name: row for row in cls.table()}
        for name, value in parse_qsl(text.lstrip("#"), keep_blank_values=True):
            if name in known and name != "why":
                given[name] = _read(known[name], value)
        return cls(**given)


CHOICES = {row.name: row.metadata["choices"] for row in State.table() if row.metadata["choices"]}


def _check(row: Field, value: Any) -> None:
    """Raises InputError for a value that is not of the field's kind."""
    name, kind = row.name, row.metadata["kind"]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind == "choice" and value not in row.metadata["choices"]:
        raise InputError(f"{name} {value!r} is not one of {', '.join(map(repr, row.metadata['choices']))}.")
    if kind == "weight" and not ((whole or isinstance(value, float)) and 0 <= value <= 1):
        raise InputError(f"{name} is {value!r}; it is a weight, from 0 to 1.")
    if name == "dim" and value is not None and not (whole and value >= 0):
        raise InputError(f"dim is {value!r}; it is a dimension, counted from 0, or None.")
    if kind == "flag" and not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; it is True or False.")


def _positions(name: str, values: Any) -> tuple[int, ...]:
    """Each once, in the order given."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name} is {values!r}; it is a sequence of numbers, such as {name}=[3, 5].")
    found = []
    for value in values:
        if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 0:
            raise InputError(f"{name} holds {value!r}; numbers from 0 were expected, such as {name}=[3, 5].")
        found.append(value.__index__())
    return tuple(dict.fromkeys(found))


def _spell(value: Any) -> str:
    """A value as an address holds it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _read(row: Field, text: str) -> Any:
    """The value of a text in an address. Raises InputError where it is not of the field's kind."""
    kind = row.metadata["kind"]
    try:
        match kind:
            case "position":
                return _whole(text)
            case "optional position":
                return _whole(text) if text else None
            case "positions":
                return tuple(_whole(part) for part in text.split(",")) if text else ()
            case "weight":
                return float(text)
            case "flag":
                return {"1": True, "true": True, "0": False, "false": False}[text]
    except (ValueError, KeyError):
        raise InputError(f"{row.name}={text[:40]} in this address: expected {EXPECTED[kind]}.") from None
    return (text or None) if row.default is None else text


def _whole(text: str) -> int:
    if not text.strip().isdecimal() or len(text) > 9:
        raise ValueError
    return int(text)
