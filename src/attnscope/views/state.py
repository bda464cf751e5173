"""Where a view looks: one table of fields for Python, a page's address, a widget's traits and the page itself.

The fields of `State` are that table. Each says what it may hold (its kind), its default, its choices and what it means.
`tools/generate.py` writes it into frontend/src/generated/state.ts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from attnscope.errors import InputError
from attnscope.views import levels
from attnscope.views.head_edits import parse_edits

LEVELS = levels.NAMES

EXPECTED = {  # kind: what its text in an address must be
    "position": "a whole number from 0",
    "optional position": "a whole number from 0",
    "positions": "whole numbers from 0 with commas between",
    "weight": "a number from 0 to 1",
    "flag": "1 or 0",
    "edits": "edits such as off_L2H8, with commas between",
    "choice": "one of the choices",
    "name": "the name of a statistic",
    "text": "text",
}


def _row(
    kind: str, about: str, *, group: str = "look", choices: Sequence[str] = (), always: bool = False
) -> dict[str, Any]:
    """What the table knows of a field, beside its name and default.

    kind: a key of EXPECTED. group: "place" (which head), "reading" (which tokens of this text) or "look" (how it is
    drawn: a server's page keeps these for the next text). always: it stands in an address even at its default.
    """
    return {"kind": kind, "about": about, "group": group, "choices": tuple(choices), "always": always}


@dataclass(frozen=True)
class State:
    """Where a view looks, and how. What each field means stands beside it; `State.table()` lists them.

    Raises InputError for a value that its field cannot hold.
    """

    level: str = field(default="head", metadata=_row("choice", "the level that is drawn", choices=LEVELS))
    stack: str | None = field(default=None, metadata=_row("text", "the stack, for models with several", group="place"))
    layer: int = field(default=0, metadata=_row("position", "the layer, counted from 0", group="place", always=True))
    head: int = field(default=0, metadata=_row("position", "the head, counted from 0", group="place", always=True))
    query: int = field(default=0, metadata=_row("position", "the query token's position", group="reading", always=True))
    key: int | None = field(
        default=None,
        metadata=_row(
            "optional position",
            "the pinned key; None follows the strongest key of the query, special and sink tokens aside",
            group="reading",
        ),
    )
    theme: str = field(default="auto", metadata=_row("choice", "the page's colours", choices=("auto", "light", "dark")))
    filter: str = field(
        default="all",
        metadata=_row(
            "choice",
            "of a pair of texts: the text of the query, then the text of the keys that are shown",
            choices=("all", "aa", "ab", "ba", "bb"),
            group="reading",
        ),
    )
    heads: Any = field(
        default=(),
        metadata=_row("positions", "heads drawn over each other beside `head`, in this order", group="reading"),
    )
    average: str = field(
        default="none",
        metadata=_row(
            "choice",
            "the mean over the heads of the layer, over this head of all layers, or over all heads",
            choices=("none", "heads", "layers", "all"),
        ),
    )
    queries: Any = field(
        default=(), metadata=_row("positions", "query tokens selected beside `query`", group="reading")
    )
    combine: str = field(
        default="mean", metadata=_row("choice", "how the rows of these queries become one", choices=("mean", "sum"))
    )
    threshold: float = field(default=0.03, metadata=_row("weight", "weights below it are not drawn at the head level"))
    quantity: str = field(
        default="weights", metadata=_row("choice", "what the matrix shows", choices=("weights", "scores", "dot"))
    )
    log: Any = field(default=False, metadata=_row("flag", "whether the matrix is on a logarithmic scale"))
    words: Any = field(default=False, metadata=_row("flag", "whether the pieces of a word are drawn as one"))
    group: int | None = field(
        default=None,
        metadata=_row(
            "optional position",
            "the group of tokens that is looked at, by its number among the groups",
            group="reading",
        ),
    )
    pooled: Any = field(
        default=False,
        metadata=_row("flag", "whether each group of tokens is drawn as one, but for the one that is looked at"),
    )
    special: str = field(
        default="show",
        metadata=_row("choice", "whether special tokens and sink tokens are drawn", choices=("show", "hide")),
    )
    sort: str = field(
        default="layer",
        metadata=_row(
            "name",
            "the order of the heads at the model level: layer, a statistic, pair or pair_write for the chosen pair, group for the group",
        ),
    )
    thumbs: str = field(
        default="matrix", metadata=_row("choice", "how the model level draws a head", choices=("matrix", "lines"))
    )
    dim: int | None = field(
        default=None,
        metadata=_row(
            "optional position", "the dimension that the running dot product of the steps has reached", group="reading"
        ),
    )
    target: int | None = field(
        default=None,
        metadata=_row(
            "optional position",
            "the token or label whose logit the stream adds up to, by its id; None: the most probable",
            group="reading",
        ),
    )
    against: int | None = field(
        default=None,
        metadata=_row(
            "optional position",
            "the one whose logit is subtracted, by its id; None: the most probable other one",
            group="reading",
        ),
    )
    edits: Any = field(
        default=(),
        metadata=_row(
            "edits", "edits that hold while a live view asks for predictions, such as off_L2H8", group="reading"
        ),
    )
    lens: Any = field(
        default=False, metadata=_row("flag", "whether the stream is drawn as a lens grid: positions by layers")
    )
    side: str = field(
        default="a",
        metadata=_row(
            "choice",
            "of a comparison: trace A, trace B, or B − A, whose queries and keys count along the merged row of tokens",
            choices=("a", "b", "difference"),
            group="reading",
        ),
    )
    why: str = field(
        default="",
        metadata=_row("text", "why the view opened here, where you did not choose the place", group="reading"),
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", levels.level_named(self.level))
        for row in self.table():
            value = getattr(self, row.name)
            if row.metadata["kind"] == "positions":
                object.__setattr__(self, row.name, _positions(row.name, value))
            elif row.metadata["kind"] == "edits":
                object.__setattr__(self, row.name, _edits(value))
            else:
                _check(row, value)

    @classmethod
    def table(cls) -> tuple[Field, ...]:
        """Every field with its default and, in `metadata`, its kind, group, choices, and what it is about."""
        return fields(cls)

    @classmethod
    def in_group(cls, *groups: str) -> tuple[str, ...]:
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
        if not isinstance(url, str):
            raise InputError(f"expected the address of a page as text, got {type(url).__name__}.")
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
    if kind == "position" and not whole:
        raise InputError(f"expected {name} as a number counted from 0, got {value!r}.")
    if kind == "weight" and not ((whole or isinstance(value, float)) and 0 <= value <= 1):
        raise InputError(f"{name} is {value!r}; it is a weight, from 0 to 1.")
    if name == "dim" and value is not None and not (whole and value >= 0):
        raise InputError(f"dim is {value!r}; it is a dimension, counted from 0, or None.")
    if name == "group" and value is not None and not (whole and value >= 0):
        raise InputError(f"group is {value!r}; it is the number of a group, counted from 0, its name, or None.")
    if name in ("target", "against") and value is not None and not (whole and value >= 0):
        raise InputError(f"{name} is {value!r}; it is the id of a token or of a label, or None.")
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


def _edits(values: Any) -> tuple[str, ...]:
    """Each once, in the order given, as an address holds them."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"edits is {values!r:.60}; it is a sequence of edits, such as edits=['off_L2H8'].")
    return tuple(str(one) for one in parse_edits([*values]))


def _spell(value: Any) -> str:
    """A value as an address holds it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """With all its digits, as a page writes it: 0.00001 for 1e-05, 1 for 1.0."""
    text = repr(value).removesuffix(".0")
    return format(Decimal(text), "f") if "e" in text and 1e-6 <= abs(value) < 1e21 else text.replace("e-0", "e-")


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
            case "edits":
                return tuple(map(str, parse_edits(text.split(",")))) if text else ()
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
