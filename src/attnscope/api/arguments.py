"""What show() takes beside a place, by name and type; and the checks of arguments that come before anything is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypedDict

from attnscope.errors import InputError
from attnscope.tracing.places import is_number, parse_layer
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
    group: int | str | None
    pooled: bool
    special: str
    sort: str
    thumbs: str
    filter: str
    dim: int | None
    target: int | str | None
    against: int | str | None
    edits: Sequence[str]
    lens: bool


def check_look(look: Mapping[str, Any]) -> None:
    """Raises InputError for a name that no view has."""
    known = [field.name for field in fields(State) if field.name != "why"]
    for name in look:
        if name not in known:
            raise InputError(
                f"show() has no argument {name!r}. It takes {', '.join(sorted(known))}, static, max_mb, steps, exact and roles."
            )


def check_place(layer: Any, query: Any, key: Any) -> None:
    """Raises InputError for what is no layer, or a query or key that is neither a position nor a token."""
    if layer is not None:
        parse_layer(layer)
    for name, value in (("query", query), ("key", key)):
        if not (value is None or is_number(value) or isinstance(value, str)):
            raise InputError(f"expected {name} as a position or a token as written, got {value!r}.")
