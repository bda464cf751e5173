"""What the compiled pass asks of a site beside its numbers: plain arrays, the same for every head."""

from typing import NamedTuple

import numpy as np

from attnscope.statistics.pairs import Pairs
from attnscope.statistics.patches import edges_of
from attnscope.tracing.masks import MaskRule

# The statistics that are summed up for each head, in the order of its sums; and those that follow from what keys receive.
VALUES = ("entropy", "confidence", "sink", "distance", "itself", "previous", "next", "same", "induction")
NAMES = (*VALUES, "first", "special")


class Table(NamedTuple):
    """By query: the keys that it may look at, and the lists in which its pairs stand.

    `low`, `high`: [Q], the keys from low up to high; of these, those with `hidden` [K] below 0 are hidden too where `holes`
        is True. `sees`: [Q], whether any key is left. `spreads`: whether a query without one has 1/K on each.
    `offset`: the place of query 0 among the keys. `crossing`: keys of another text.
    `by_name`, `by_spelling`, `by_word`: keys in the order of their number; `name`, `spelling`, `word`: [Q, 2], from where to
        where in these lists the keys stand that have the query's token, its word's spelling, its own or a next word.
    `special`: the special keys. `is_special`: [K]. `query_special`, `query_wordless`: [Q].
    `row_edges`, `column_edges`: of the patches of the pictures.
    """

    low: "np.ndarray"
    high: "np.ndarray"
    hidden: "np.ndarray"
    holes: bool
    sees: "np.ndarray"
    spreads: bool
    offset: int
    crossing: bool
    by_name: "np.ndarray"
    name: "np.ndarray"
    by_spelling: "np.ndarray"
    spelling: "np.ndarray"
    by_word: "np.ndarray"
    word: "np.ndarray"
    special: "np.ndarray"
    is_special: "np.ndarray"
    query_special: "np.ndarray"
    query_wordless: "np.ndarray"
    row_edges: "np.ndarray"
    column_edges: "np.ndarray"


HIDDEN = -1e30


def table_of(mask: MaskRule, pairs: Pairs, queries: int, keys: int, side: int) -> Table:
    """The table of a site with this mask, of so many queries and keys. `side`: patches along an axis, at most."""
    low, high, hidden, seen = band_of(mask, queries, keys)
    sees = seen > 0
    name, spelling, word = pairs.places(slice(0, queries))
    own = np.arange(queries) + pairs.offset
    return Table(
        low,
        high,
        hidden,
        bool((seen < high - low).any()),
        sees,
        mask.uniform_empty_rows and not bool(sees.all()),
        pairs.offset,
        pairs.crossing,
        *name,
        *spelling,
        *word,
        pairs.special.nonzero()[0],
        pairs.special,
        pairs.query_special[own],
        pairs.query_words[own] < 0,
        edges_of(queries, side),
        edges_of(keys, side),
    )


def band_of(mask: MaskRule, queries: int, keys: int) -> tuple["np.ndarray", "np.ndarray", "np.ndarray", "np.ndarray"]:
    """Per query the first key and the one behind the last; per key 0, or HIDDEN where no query may see it; per query how many
    keys it sees.
    """
    row = np.arange(queries)
    low = np.zeros(queries, np.int64) if mask.lower is None else np.clip(row + mask.lower, 0, keys)
    high = np.full(queries, keys) if mask.upper is None else np.clip(row + mask.upper + 1, 0, keys)
    hidden = np.zeros(keys, np.float32)
    if mask.keys is not None:
        allowed = mask.keys[:keys].numpy()
        hidden[~allowed] = HIDDEN
        first, stop = (int(allowed.argmax()), keys - int(allowed[::-1].argmax())) if allowed.any() else (0, 0)
        low, high = np.maximum(low, first), np.minimum(high, stop)
    high = np.maximum(high, low)
    if mask.rows is not None:
        high = np.where(mask.rows[:queries].numpy(), high, low)
    before = np.concatenate([[0], np.cumsum(hidden == 0)])
    return low, high, hidden, before[high] - before[low]
