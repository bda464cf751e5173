"""Where a view looks: the same names, values and spelling here, in a page's address and in a widget's traits."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from attnscope.errors import InputError

LEVELS = ("model", "head", "matrix", "neuron", "steps")
THEMES = ("auto", "light", "dark")
FILTERS = ("all", "aa", "ab", "ba", "bb")  # sentence of the query, then of the key
CHOICES = {
    "level": LEVELS,
    "theme": THEMES,
    "filter": FILTERS,
    "average": ("none", "heads", "layers", "all"),
    "combine": ("mean", "sum"),
    "quantity": ("weights", "scores", "dot"),
    "special": ("show", "hide"),
    "thumbs": ("matrix", "lines"),
    "side": ("a", "b", "difference"),
}
_ALWAYS = ("layer", "head", "query")  # in every address


@dataclass(frozen=True)
class State:
    """Where a view looks, and how.

    `heads`: heads drawn over each other beside `head`; `average`: the mean over the heads of the layer, over this head of
    all layers, or over all; `queries`: tokens selected beside `query`, and `combine` how their rows become one;
    `threshold`: weights below it are not drawn at the head level; `quantity` and `log`: what the matrix shows; `words`:
    pieces of a word drawn as one; `special`: special tokens shown or hidden; `sort` and `thumbs`: the model level; `dim`:
    the dimension that the running dot product of the steps has come to; `side`: in a comparison, which of the two traces,
    or B − A. `query` and `key` count the tokens of that side: for B − A those of both texts, merged into one row.
    """

    level: str = "neuron"
    stack: str | None = None
    layer: int = 0
    head: int = 0
    query: int = 0
    key: int | None = None
    theme: str = "auto"
    filter: str = "all"
    heads: Any = ()  # a tuple of int, as `queries`; like the flags, checked below
    average: str = "none"
    queries: Any = ()
    combine: str = "mean"
    threshold: float = 0.0
    quantity: str = "weights"
    log: Any = False
    words: Any = False
    special: str = "show"
    sort: str = "layer"
    thumbs: str = "matrix"
    dim: int | None = None
    side: str = "a"
    why: str = ""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} {getattr(self, name)!r} is not one of {', '.join(map(repr, choices))}.")
        for name in ("heads", "queries"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        if (
            isinstance(self.threshold, bool)
            or not isinstance(self.threshold, int | float)
            or not 0 <= self.threshold <= 1
        ):
            raise InputError(f"threshold is {self.threshold!r}; it is a weight, from 0 to 1.")
        if self.dim is not None and (isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim < 0):
            raise InputError(f"dim is {self.dim!r}; it is a dimension, counted from 0, or None.")
        for name in ("log", "words"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}; it is True or False.")

    @property
    def fragment(self) -> str:
        """As a page writes it after the # of its address. Defaults are left out; layer, head and query always stand in it."""
        default = type(self)()
        entries = [
            (f.name, _spell(getattr(self, f.name)))
            for f in fields(self)
            if f.name != "why" and (f.name in _ALWAYS or getattr(self, f.name) != getattr(default, f.name))
        ]
        return urlencode(entries)

    @classmethod
    def from_url(cls, url: str) -> "State":
        """The state in a page's address, or in the part after its #. Raises InputError for what it cannot read."""
        text = urlsplit(url).fragment if "#" in url else url
        given: dict[str, Any] = {}
        known = {f.name: f for f in fields(cls)}
        for name, value in parse_qsl(text.lstrip("#"), keep_blank_values=True):
            if name in known and name != "why":
                given[name] = _read(name, value)
        return cls(**given)


def _spell(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _read(name: str, text: str) -> Any:
    try:
        if name in ("layer", "head", "query"):
            return _whole(text)
        if name in ("key", "dim"):
            return _whole(text) if text else None
        if name in ("heads", "queries"):
            return tuple(_whole(part) for part in text.split(",")) if text else ()
        if name == "threshold":
            return float(text)
        if name in ("log", "words"):
            return {"1": True, "true": True, "0": False, "false": False}[text]
    except (ValueError, KeyError):
        raise InputError(f"{name}={text[:40]} in this address cannot be read; {_EXPECTED.get(name, 'a whole number from 0')} was expected.") from None  # fmt: skip
    return (text or None) if name == "stack" else text


_EXPECTED = {
    "threshold": "a number from 0 to 1",
    "log": "1 or 0",
    "words": "1 or 0",
    "heads": "whole numbers with commas between",
    "queries": "whole numbers with commas between",
}


def _whole(text: str) -> int:
    if not text.strip().isdecimal() or len(text) > 9:
        raise ValueError
    return int(text)


def _numbers(name: str, values: Any) -> tuple[int, ...]:
    """Each once, in the order given."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name} is {values!r}; it is a sequence of numbers, such as {name}=[3, 5].")
    found = []
    for value in values:
        if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 0:
            raise InputError(f"{name} holds {value!r}; numbers from 0 were expected, such as {name}=[3, 5].")
        found.append(value.__index__())
    return tuple(dict.fromkeys(found))
