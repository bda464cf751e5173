"""Which edges are cut in turn: from one query to each of some keys."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attnscope.editing.rules import Cut
from attnscope.errors import InputError
from attnscope.head_effects.asked import Watched, reads_left_to_right
from attnscope.head_effects.cases import Case
from attnscope.head_effects.units import Edge
from attnscope.models.inputs import prepare
from attnscope.tracing.places import is_number

MOST = 4096
CUT = Cut(None, None, reference="no weight")


def edges_of(
    watched: Watched, cases: Sequence[Case], query: Any, key: Any, layers: Sequence[int] | None, stack: str | None
) -> tuple[Edge, ...]:
    """The edges of a call, the same in each layer. `query`, `key`, `layers`, `stack`: as of `effects`. Raises InputError for what names none, and for too many."""
    counts = watched.addresses.layers
    if stack is None and len(counts) > 1:
        raise InputError(
            f"positions of one stack are none of another, so edges are of one: say stack={' or stack='.join(map(repr, counts))}."
        )
    end = _end(query, "query")
    if key is None:
        if len(cases) > 1:
            raise InputError(
                "several texts have no positions in common, so their keys need names: give key= as tokens or names of groups that each text has."
            )
        count = _length(watched, cases[0][0], end)
        keys: list[int | str] = [*range(count)]
    else:
        several = isinstance(key, Iterable) and not isinstance(key, str)
        keys = list(dict.fromkeys(_end(one, "key") for one in (key if several else [key])))
    if not keys:
        raise InputError("key names nothing: give a position, a token as written or the name of a group, or several.")
    edges = len(keys) * max(1, counts.get(stack, sum(counts.values())) if layers is None else len(layers))
    if edges > MOST:
        raise InputError(
            f"{len(keys)} keys in {edges // len(keys)} layers are {edges} edges, and at most {MOST} are cut in turn: name fewer with key=, such as groups of tokens."
        )
    return tuple((end, one) for one in keys)


def _end(given: Any, what: str) -> int | str:
    if isinstance(given, str):
        return given
    if is_number(given):
        return int(given)
    raise InputError(
        f"expected {what} of edges as a position, a token as written or the name of a group, got {given!r:.40}."
    )


def _length(watched: Watched, text: Any, query: int | str) -> int:
    """How many tokens a text has; of a causal model, up to the query."""
    given = isinstance(text, Mapping)
    prepared = prepare(watched.model, watched.tokenizer, text=None if given else text, inputs=text if given else None)
    ids = prepared.inputs.get("input_ids")
    if ids is None:
        raise InputError("these inputs have no tokens that could be named: give key= as positions.")
    count = ids.shape[1]
    if not reads_left_to_right(watched.model, prepared.inputs):
        return count
    if isinstance(query, str):
        raise InputError(
            "which keys come before a query that is given by name is not known: give key=, or the query's position."
        )
    return (query % count) + 1
