"""Which pairs of a query and a key the statistics ask for, by positions and tokens."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.statistics.sight import Sight
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens

BESIDE = {"itself": 0, "previous": -1, "next": 1}  # statistics of one key beside the query, and which
FEW = 8  # pairs of which a block has fewer than one in so many are looked up one by one


class Cells:
    """Some pairs of a block of queries and keys, the same for every head. `index`: row · n + column of each."""

    def __init__(self, index: "np.ndarray", shape: tuple[int, int]) -> None:
        self.index, self.shape = torch.from_numpy(index), shape
        self.few = len(index) * FEW < shape[0] * shape[1]

    @cached_property
    def mask(self) -> Bool[Tensor, "q n"]:
        """True at the pairs."""
        return torch.zeros(self.shape, dtype=torch.bool).view(-1).index_fill_(0, self.index, True).view(self.shape)

    @cached_property
    def _factors(self) -> Float[Tensor, "q n"]:
        return self.mask.float()

    def total(self, weights: Float[Tensor, "h q n"]) -> Float[Tensor, " h"]:
        """The weight on these pairs, by head."""
        flat = weights.flatten(1)
        if self.few:
            return flat.index_select(1, self.index.to(flat.device)).sum(1)
        return flat @ self._factors.flatten().to(flat.device)

    def clear(self, weights: Float[Tensor, "h q n"]) -> None:
        """Set them to 0."""
        if self.few:
            weights.view(len(weights), -1).index_fill_(1, self.index.to(weights.device), 0.0)
        else:
            weights.masked_fill_(self.mask.to(weights.device), 0.0)

    def seen(self, sight: Sight) -> Bool[Tensor, "h q"]:
        """Which queries see one of the pairs."""
        allowed = None if sight.allowed is None else sight.allowed.flatten(1)
        seen = torch.zeros(1 if allowed is None else len(allowed), self.shape[0], dtype=torch.bool)
        rows = self.index // self.shape[1]
        for head, row in enumerate(seen):
            row[rows if allowed is None else rows[allowed[head, self.index]]] = True
        return seen


@dataclass(frozen=True, eq=False)
class BlockPairs:
    """The pairs of a run of q queries, `rows`, and the n keys of its `sight`.

    `visible`: of each statistic in `Pairs.asked`, which queries see one of its pairs, [h, q]; h is 1 where heads share the
        mask.
    `seen`: how many queries see each key.
    `copies`, `after`: pairs with an earlier copy of the query's token, and with what followed one. None across texts.
    `alike`: pairs within a word, of neighbouring words, or of one word twice.
    `own`: the column of the first query's own token, counted from the sight's first key. None across texts.
    `special`: the columns of special tokens. `special_rows`, `other_rows`: the rows of special tokens, and of those that
        are no words.
    `lines`: how far two patches of an image are from each other, in sides of a patch, or two moments of a sound, in seconds;
        NaN elsewhere. None without patches and sound.
    """

    rows: slice
    sight: Sight
    visible: dict[str, Bool[Tensor, "h q"]]
    seen: Float[Tensor, "h n"]
    copies: Cells | None
    after: Cells | None
    alike: Cells
    own: int | None
    special: Int[Tensor, " s"]
    special_rows: Int[Tensor, " r"]
    other_rows: Int[Tensor, " o"]
    lines: Float[Tensor, "q n"] | None = None

    @cached_property
    def beside(self) -> slice:
        """The columns of the queries' own tokens."""
        own, width = self.own or 0, self.sight.width
        return slice(min(max(own, 0), width), min(max(own + self.rows.stop - self.rows.start, 0), width))

    @cached_property
    def apart(self) -> Float[Tensor, "q m"]:
        """|query − key| of every query and the keys `beside` it."""
        column, row = torch.arange(self.beside.start, self.beside.stop), torch.arange(self.rows.stop - self.rows.start)
        return (column.float() - (self.own or 0) - row[:, None].float()).abs_()


class Pairs:
    """The pairs of a site, by the tokens along its queries and its keys."""

    def __init__(self, site: Site, queries: Tokens, keys: Tokens) -> None:
        self.crossing = site.kind == "cross"
        self.offset = site.query_offset
        self.special, self.query_special = np.array(keys.special[: site.keys]), np.array(queries.special)
        names: dict[int | str, int] = {}
        spellings: dict[str, int] = {}
        self.names = np.array([names.setdefault(name, len(names)) for name in (keys.ids or keys.strings)])
        known = _words(keys, spellings)
        self.key_words, self.key_spellings = (part[: site.keys] for part in known)
        self.query_words, self.query_spellings = known if queries is keys else _words(queries, spellings)
        self._by_name = _Index(self.names[: site.keys])
        self._by_spelling, self._by_word = _Index(self.key_spellings), _Index(self.key_words)

        # rows and columns of the small pictures: silence behind a sound is cut off
        self.shown = (_shown(queries, site.query_offset, site.queries), _shown(keys, 0, site.keys))
        self.line = "time_distance" if keys.sound is not None else "patch_distance"
        self.patches = None if self.crossing or not (keys.grids or keys.sound) else _places(keys)
        # beside a text, tokens stand in a row, and the distance along it means something too
        self.in_a_row = self.patches is None or bool((np.isnan(self.patches[: site.keys, 0]) & ~self.special).any())

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The statistics that are weight on certain pairs."""
        own = () if self.crossing else (*BESIDE, "same", "induction")
        return (*own, "first", *(("special",) if bool(self.special.any()) else ()))

    @property
    def words(self) -> Bool[Tensor, " K"]:
        """Which keys are pieces of words."""
        return torch.from_numpy(self.key_words >= 0)

    def between_words(self, rows: slice) -> Bool[Tensor, "q K"]:
        """True where query and key are pieces of different words that are, in one text, not neighbours; see `Peaks`."""
        queries = np.arange(rows.start, rows.stop) + self.offset
        words = self.query_words[queries][:, None]
        different = (words >= 0) & (self.key_words >= 0)
        different &= self.query_spellings[queries][:, None] != self.key_spellings
        return torch.from_numpy(different if self.crossing else different & (np.abs(words - self.key_words) > 1))

    def block(self, rows: slice, sight: Sight) -> BlockPairs:
        """The pairs of a run of queries and the keys that it sees."""
        queries = np.arange(rows.start, rows.stop) + self.offset
        special = _where(self.special[sight.keys])
        found = {"first": _seen_at(np.full(len(queries), -sight.first), sight)}
        if len(special):
            found["special"] = _seen_some(special, len(queries), sight)
        elif "special" in self.asked:
            found["special"] = torch.zeros(1, len(queries), dtype=torch.bool)
        copies = after = own = None
        names, spellings, words = self.places(rows)
        alike = _each(*spellings)
        if not self.crossing:
            own = int(queries[0]) - sight.first
            for name, by in BESIDE.items():
                found[name] = _seen_at(queries + by - sight.first, sight)
            row, key = _each(*names)
            row, key = row[key < queries[row]], key[key < queries[row]]
            copies, after = _cells(row, key, len(queries), sight), _cells(row, key + 1, len(queries), sight)
            found |= {"same": copies.seen(sight), "induction": after.seen(sight)}
            beside = _each(*words)
            alike = np.concatenate([alike[0], beside[0]]), np.concatenate([alike[1], beside[1]])
        seen = torch.full((1, sight.width), float(len(queries)))
        if sight.allowed is not None:
            seen = sight.allowed.sum(1, dtype=torch.float32)
        return BlockPairs(
            rows,
            sight,
            {name: found[name] for name in self.asked},
            seen,
            copies,
            after,
            _cells(*alike, len(queries), sight),
            own,
            special,
            _where(self.query_special[queries]),
            _where(self.query_words[queries] < 0),
            None if self.patches is None else _lines(self.patches[queries], self.patches[sight.keys]),
        )

    def places(self, rows: slice) -> "tuple[tuple[np.ndarray, np.ndarray], ...]":
        """Three lists of keys, and from where to where in each the keys stand, [q, 2], that have the query's token,
        that have its word's spelling, and that are of its own word or a next one. None for special tokens and what is no
        word.
        """
        queries = np.arange(rows.start, rows.stop) + self.offset
        word, spelling = self.query_words[queries], self.query_spellings[queries]
        spellings = self._by_spelling.places(spelling, spelling + (word >= 0))
        if self.crossing:  # another text has no earlier and no next words
            none = np.zeros((len(queries), 2), np.int64)
            return (self._by_name.order, none), spellings, (self._by_word.order, none)
        name = self.names[queries]
        names = self._by_name.places(name, name + ~self.query_special[queries])
        return names, spellings, self._by_word.places(word - 1, word - 1 + 3 * (word >= 0))


class _Index:
    """Where each of some whole numbers stands in a list."""

    def __init__(self, numbers: "np.ndarray") -> None:
        self.order = np.argsort(numbers, kind="stable")
        self.sorted = numbers[self.order]

    def places(self, low: "np.ndarray", high: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        """The places in their order, and where in it those stand whose number is at least low[i] and below high[i]."""
        return self.order, np.stack([np.searchsorted(self.sorted, low), np.searchsorted(self.sorted, high)], 1)


def _each(order: "np.ndarray", places: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """(row, key) of every key between a row's places."""
    start, stop = places.T
    count = np.maximum(stop - start, 0)
    row = np.repeat(np.arange(len(start)), count)
    first = np.cumsum(count) - count
    return row, order[np.arange(len(row)) + (start - first)[row]]


def _cells(row: "np.ndarray", key: "np.ndarray", queries: int, sight: Sight) -> Cells:
    """Those of the pairs that lie in the sight."""
    column = key - sight.first
    inside = (column >= 0) & (column < sight.width)
    return Cells((row * sight.width + column)[inside], (queries, sight.width))


def _seen_some(columns: Int[Tensor, " s"], queries: int, sight: Sight) -> Bool[Tensor, "h q"]:
    """Whether a query sees one of these columns."""
    if sight.allowed is None:
        return torch.ones(1, queries, dtype=torch.bool)
    return sight.allowed[..., columns].any(-1)


def _seen_at(columns: "np.ndarray", sight: Sight) -> Bool[Tensor, "h q"]:
    """Whether a query sees the key in its column."""
    inside = torch.from_numpy((columns >= 0) & (columns < sight.width))
    if sight.allowed is None:
        return inside[None]
    place = torch.from_numpy(columns.clip(0, sight.width - 1))
    return sight.allowed[:, torch.arange(len(columns)), place] & inside


def _shown(tokens: Tokens, offset: int, count: int) -> int:
    """How many of `count` positions stand before the silence that fills a sound up; all, where there is none."""
    end = count if tokens.sound is None else tokens.sound.positions - offset
    return end if 0 < end < count else count


def _places(tokens: Tokens) -> "np.ndarray":
    """(image, row, column) of every token, or (0, 0, time) of a sound; NaN where it is neither."""
    places = np.full((len(tokens), 3), np.nan)
    if tokens.sound is not None:
        time = np.arange(tokens.sound.positions) * tokens.sound.each
        places[: len(time)] = np.stack([0 * time, 0 * time, time], 1)
        return places
    for number, grid in enumerate(tokens.grids):
        there = grid.places
        rows, columns = np.divmod(np.array(there), grid.columns)
        places[[grid.tokens[place] for place in there]] = np.stack([np.full(len(rows), number), rows, columns], 1)
    return places


def _lines(queries: "np.ndarray", keys: "np.ndarray") -> Float[Tensor, "q n"]:
    """The straight lines between patches of one image."""
    apart = queries[:, None] - keys
    lines = np.where(apart[..., 0] == 0, np.hypot(apart[..., 1], apart[..., 2]), np.nan)
    return torch.from_numpy(lines).float()


def _where(mask: "np.ndarray") -> Int[Tensor, " m"]:
    return torch.from_numpy(mask.nonzero()[0])


def _words(tokens: Tokens, spellings: dict[str, int]) -> tuple["np.ndarray", "np.ndarray"]:
    """By token, the number of its word (−9 for special tokens and what has no letter or digit), and of its spelling, so
    that "The" and "the" count as the same word.
    """
    real = [any(c.isalnum() for c in text) for text in tokens.word_text]
    spelling = [spellings.setdefault(text.casefold(), len(spellings)) for text in tokens.word_text]
    nothing = spellings.setdefault("", len(spellings))
    words = [
        -9 if word is None or special or not real[word] else word
        for word, special in zip(tokens.words, tokens.special, strict=True)
    ]
    return np.array(words), np.array([nothing if word is None else spelling[word] for word in tokens.words])
