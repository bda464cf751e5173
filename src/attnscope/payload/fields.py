"""Values of a description, one at a time: each function returns the value, or raises ValueError and names it."""

import math
from collections.abc import Sequence
from typing import Any

LARGEST = 1 << 53  # whole numbers that every reader of JSON keeps exactly


def entry(table: Any, name: str, what: str) -> Any:
    """The entry `name` of a table that must have it."""
    if not isinstance(table, dict):
        raise ValueError(f"{what} is not a table of entries")
    if name not in table:
        raise ValueError(f"{what} has no entry {name!r}")
    return table[name]


def text(value: Any, what: str) -> str:
    """A string of whole characters."""
    if not isinstance(value, str):
        raise ValueError(f"{what} is {_brief(value)}, and should be text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half of a character") from None
    return value


def whole(value: Any, what: str, low: int = -LARGEST, high: int = LARGEST) -> int:
    """A whole number from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        reach = "" if (low, high) == (-LARGEST, LARGEST) else f" from {low} to {high}"
        raise ValueError(f"{what} is {_brief(value)}, and should be a whole number{reach}")
    return value


def flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{what} is {_brief(value)}, and should be true or false")
    return value


def real(value: Any, what: str) -> float:
    """A number; NaN and infinities are strings in JSON."""
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise ValueError(f"{what} is {_brief(value)}, and should be a number")
    return float(value)


def one_of(value: Any, allowed: Sequence[Any], what: str) -> Any:
    if not any(value is one or (isinstance(value, str) and value == one) for one in allowed):
        raise ValueError(f"{what} is {_brief(value)}, and should be one of {', '.join(map(str, allowed))}")
    return value


def several(value: Any, what: str, count: int | None = None) -> list[Any]:
    """A list, of `count` where that is given."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        got = f"a list of {len(value)}" if isinstance(value, list) else _brief(value)
        raise ValueError(f"{what} is {got}, and should be a list{'' if count is None else f' of {count}'}")
    return value


def plain_values(value: Any, what: str, depth: int = 8) -> Any:
    """Text, numbers, lists and tables, nested at most `depth` deep."""
    if depth == 0:
        raise ValueError(f"{what} is nested too deep")
    if isinstance(value, str):
        text(value, what)
    elif isinstance(value, dict):
        for name, inner in value.items():
            text(name, what)
            plain_values(inner, what, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            plain_values(inner, what, depth - 1)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"{what} has a number that is too large")
    return value


def _brief(value: Any) -> str:
    return f"a list of {len(value)}" if isinstance(value, list) else ascii(value)[:40]
