"""Which strongest links are kept as examples, of each head: a few of each strength, and a few at random.

The documents with the smallest hashes of their ids are taken, so that neither the order of the documents nor how they are
cut into shards changes the choice.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

EACH = 3  # of each tenth of weight
AT_RANDOM = 8
BINS = 10
GROUPS = BINS + 1  # the last is "random"
FIELDS = ("group", "hash", "document", "query", "key", "weight")
TYPES = (np.int64, np.uint64, np.int64, np.int32, np.int32, np.float32)


def hash_of(document: str) -> int:
    """64 bits of a hash of its id."""
    return int.from_bytes(hashlib.sha256(document.encode("utf-8", "surrogatepass")).digest()[:8], "little")


class Examples:
    """The examples so far. `group`: head · 11 + the tenth of the weight, or 10 for those at random. `document`: a number that
    whoever adds them knows."""

    def __init__(self, columns: "Sequence[np.ndarray] | None" = None) -> None:
        empty = [np.empty(0, dtype=kind) for kind in TYPES]
        given = empty if columns is None else [np.asarray(c, dtype=t) for c, t in zip(columns, TYPES, strict=True)]
        self.columns: dict[str, Any] = dict(zip(FIELDS, given, strict=True))

    def add_batch(
        self,
        hashes: "np.ndarray",
        documents: "np.ndarray",
        weight: "np.ndarray",
        query: "np.ndarray",
        key: "np.ndarray",
    ) -> None:
        """The strongest link of every head in some texts: `weight`, `query` and `key` are [texts, heads]."""
        texts, heads = weight.shape
        tenth = np.clip((weight * BINS).astype(np.int64), 0, BINS - 1)
        found = weight > 0
        head = np.broadcast_to(np.arange(heads), (texts, heads))
        more = [np.broadcast_to(one[:, None], (texts, heads)) for one in (hashes, documents)]
        parts = [
            [one[found] for one in (head * GROUPS + place, *more, query, key, weight)]
            for place in (tenth, np.full_like(tenth, BINS))
        ]
        self.add(Examples([np.concatenate(pair) for pair in zip(*parts, strict=True)]))

    def add(self, other: "Examples") -> None:
        """Keep the first ones of each group."""
        both = {name: np.concatenate([self.columns[name], other.columns[name]]) for name in FIELDS}
        order = np.lexsort((both["hash"], both["group"]))
        group = both["group"][order]
        first = np.r_[True, group[1:] != group[:-1]] if len(group) else np.empty(0, bool)
        start = np.maximum.accumulate(np.where(first, np.arange(len(group)), 0))
        rank = np.arange(len(group)) - start
        kept = order[rank < np.where(group % GROUPS == BINS, AT_RANDOM, EACH)]
        self.columns = {name: values[kept] for name, values in both.items()}

    def renumbered(self, numbers: "np.ndarray") -> "Examples":
        """With other numbers for its documents."""
        columns = dict(self.columns)
        columns["document"] = numbers[columns["document"]]
        return Examples([columns[name] for name in FIELDS])

    def __len__(self) -> int:
        return len(self.columns["group"])
