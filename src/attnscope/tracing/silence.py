"""The silence that fills a sound up: how its positions are named, and that views hide it unless they are told not to."""

from collections.abc import Iterable
from typing import Any

from attnscope.tracing.tokens import Tokens

SILENT = "silence "


def is_filled_up(tokens: Tokens) -> bool:
    """Whether silence stands behind a sound."""
    return bool(len(tokens)) and tokens.special[-1] and tokens.strings[-1].startswith(SILENT)


def chosen_look(tables: Iterable[Tokens]) -> dict[str, Any]:
    """Fields of a view's state that `show` sets by itself for these tokens, where nobody says another value."""
    return {"special": "hide"} if any(map(is_filled_up, tables)) else {}
