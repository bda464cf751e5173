"""Names of the tokens along one axis, as people give them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnscope.errors import InputError
from attnscope.tracing.tokens import Tokens


def token_names(what: str, given: Any, count: int, axis: str, query: Any = None) -> Tokens:
    """Tokens of `count` strings, or of their numbers where nothing was given. Raises InputError, which calls them `what`.

    `query`: what was given as query; it shows where the axes stand in another order.
    """
    if given is None:
        return Tokens(tuple(map(str, range(count))))
    if isinstance(given, str) or not isinstance(given, (Sequence, np.ndarray)):
        raise InputError(
            f"expected {what} as a list of strings, one for each of the {axis}, got {type(given).__name__}. A tokenizer gives them: "
            "tokenizer.convert_ids_to_tokens(ids)."
        )
    if len(given) != count:
        shape = tuple(getattr(query, "shape", ()))
        turned = len(shape) >= 3 and shape[-3] == len(given)
        hint = " The tensors look like [T, H, D]: give x.swapaxes(-3, -2)." if turned else ""
        raise InputError(f"{len(given)} {what} were given for {count} {axis}; give one name for each.{hint}")
    return given if isinstance(given, Tokens) else Tokens(tuple(map(str, given)))
