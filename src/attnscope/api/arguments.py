"""What show() takes beside a place, by name and type; and the checks of arguments that come before anything is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypedDict

from attnscope.errors import InputError
from attnscope.views.state import State


class Look(TypedDict, total=False):
    """How a view is drawn: the fields of a State that are not arguments by themselves. attnscope.show says what each means."""

    heads: Sequence[int]
    average: str
    queries: Sequence[int]
    combine: str
    threshold: float
    quantity: str
    log: bool
    words: bool
    special: str
    sort: str
    thumbs: str
    filter: str
    dim: int | None


def check_look(look: Mapping[str, Any]) -> None:
    """Raises InputError for a name that no view has."""
    known = [field.name for field in fields(State) if field.name != "why"]
    for name in look:
        if name not in known:
            raise InputError(
                f"show() has no argument {name!r}. It takes {', '.join(sorted(known))}, static, max_mb, steps and exact."
            )


def check_place(layer: Any, query: Any, key: Any) -> None:
    """Raises InputError for a layer that is not a number, or a query or key that is neither a position nor a token."""
    for name, value in (("layer", layer), ("query", query), ("key", key)):
        known = value is None or hasattr(value, "__index__") or (isinstance(value, str) and name != "layer")
        if isinstance(value, bool) or not known:
            kinds = "a number" if name == "layer" else "a position or a token as written"
            raise InputError(f"{name} must be {kinds}, got {value!r}.")
