"""Keys and values of cached generation: kept cheaply, and aligned with the text again.

A cached step attends from its new queries to all keys so far, and a cache is free to change those keys later, to be
longer than the text (static caches) or to have dropped its beginning (sliding windows). So what a cache may change is
copied, step by step only the new rows. Which rows are new, the watched caches tell (`listen/cache_updates.py`); of others
the earlier rows are compared. Places behind the text that no query may see are cut off; and what a window has dropped
comes back as masked zeros, so that key i is token i again.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from attnscope.capturing.listen.cache_updates import update_of
from attnscope.tracing.biases import BiasRule
from attnscope.tracing.masks import MaskRule

KeyValue = tuple[Tensor, Tensor]
ALL = slice(None)
ROOM = 16  # rows of a new piece at least; more as the text grows, so that the pieces stay few


class Piece(NamedTuple):
    """Rows `first` to `last` of copied keys and values, [B, Hkv, R, D]."""

    keys: Tensor
    values: Tensor
    first: int
    last: int


@dataclass(frozen=True)
class Rows:
    """The keys and values of one step, in pieces that steps share; `length` rows in all."""

    pieces: tuple[Piece, ...]
    length: int

    def part(self, first: int, last: int) -> "Rows":
        """Rows `first` to `last`."""
        if first <= 0 and last >= self.length:
            return self
        found, start = [], 0
        for piece in self.pieces:
            size = piece.last - piece.first
            low, high = max(first - start, 0), min(last - start, size)
            if low < high:
                found.append(Piece(piece.keys, piece.values, piece.first + low, piece.first + high))
            start += size
        return Rows(tuple(found), max(0, min(last, self.length) - first))

    def then(self, more: "Rows") -> "Rows":
        """These rows and `more` behind them."""
        if not (self.length and more.length):
            return self if self.length else more
        *others, end = self.pieces
        begin, *rest = more.pieces
        if end.keys is begin.keys and end.last == begin.first:
            pieces = (*others, Piece(end.keys, end.values, end.first, begin.last), *rest)
        else:
            pieces = (*self.pieces, *more.pieces)
        return Rows(pieces, self.length + more.length)

    def joined(self, batch: slice = ALL) -> KeyValue:
        """In one tensor each, for these rows of the `batch`."""
        keys = [piece.keys[batch, :, piece.first : piece.last] for piece in self.pieces]
        values = [piece.values[batch, :, piece.first : piece.last] for piece in self.pieces]
        return (keys[0], values[0]) if len(keys) == 1 else (torch.cat(keys, 2), torch.cat(values, 2))

    def of_row(self, index: int) -> KeyValue:
        """Those of one row of the batch, [Hkv, K, D]."""
        index %= len(self.pieces[0].keys)
        keys, values = self.joined(slice(index, index + 1))
        return keys[0], values[0]


NO_ROWS = Rows((), 0)


class Kept:
    """What is kept of one module's latest step, and by which update of its cache the keys were made."""

    def __init__(self, key: Tensor, value: Tensor) -> None:
        self.rows = Rows((Piece(key.clone(), value.clone(), 0, key.shape[2]),), key.shape[2])
        self.made_by: int | None = None
        self._room: Piece | None = None

    def begins(self, key: Tensor, value: Tensor, length: int) -> bool:
        """Whether the rows are the first `length` of these: an ordinary step, in which no beam changed its place."""
        given = (key[:, :, :length], value[:, :, :length])
        return length == self.rows.length and all(map(torch.equal, self.rows.joined(), given))

    def go_on(self, key: Tensor, value: Tensor, front: int, start: int, new: int) -> None:
        """The rows of the next step: those from `front` to `start`, `new` rows of its tensors, and what stood behind."""
        rows, at = self.rows, start - front
        behind = rows.part(start + new, rows.length) if start + new < rows.length else NO_ROWS
        copied = self._copied(key.narrow(2, at, new), value.narrow(2, at, new))
        self.rows = rows.part(front, start).then(copied).then(behind)

    def _copied(self, key: Tensor, value: Tensor) -> Rows:
        """Copies of these rows, in the room that is left, or in a new piece."""
        new, room = key.shape[2], self._room
        if room is None or room.last + new > room.keys.shape[2] or not _writable(room.keys, key):
            size = max(new, ROOM, self.rows.length // 8)
            room = Piece(*(x.new_empty(*x.shape[:2], size, x.shape[3]) for x in (key, value)), first=0, last=0)
        self._room = piece = Piece(room.keys, room.values, room.last, room.last + new)
        piece.keys.narrow(2, piece.first, new).copy_(key)
        piece.values.narrow(2, piece.first, new).copy_(value)
        return Rows((piece,), new)


def _writable(room: Tensor, key: Tensor) -> bool:
    """Whether rows of `key` can be written into `room`: tensors of inference_mode take nothing outside of it."""
    return room.device == key.device and (torch.is_inference_mode_enabled() or not room.is_inference())


def row_of(key: Tensor, value: Tensor, index: int) -> KeyValue:
    """Keys and values of one row of the batch, [Hkv, K, D]."""
    return key.select(0, index % key.shape[0]), value.select(0, index % value.shape[0])


class KeyKeeper:
    """Copies of cached keys and values, per thread, module and call."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str, int], Kept] = {}

    def forget(self) -> None:
        self._kept = {}

    def keep(self, path: str, call: int, queries: int, key: Tensor, value: Tensor) -> Callable[[int], KeyValue]:
        """A way to get this call's keys and values back later, by the row of the batch. `key`, `value`: [B, Hkv, K, D], the very tensors that
        attention got."""
        place = threading.get_ident(), path, call
        update, kept = update_of(key, value), self._kept.get(place)
        number = None if update is None else update.number
        if kept is not None and number is not None and kept.made_by == number:
            return kept.rows.of_row  # the same tensors once more, as they were: cross-attention
        key, value = key.detach(), value.detach()
        start = key.shape[2] - queries
        if kept is not None and update is not None and update.follows is not None and update.follows == kept.made_by:
            kept.go_on(key, value, update.front, update.start, update.new)
        elif kept is not None and start > 0 and kept.begins(key, value, start):
            kept.go_on(key, value, 0, start, queries)
        else:  # a new text, a cache of an unknown kind, or beams that changed places
            kept = self._kept[place] = Kept(key, value)
        kept.made_by = number
        return kept.rows.of_row


@dataclass(frozen=True)
class AlignedKeys:
    """One row of a cached call, aligned with the text: key i is token i."""

    k: Float[Tensor, "Hkv K D"]
    v: Float[Tensor, "Hkv K Dv"]
    mask: MaskRule
    bias: BiasRule | None

    def without_empty_places(self, queries: int) -> "AlignedKeys":
        """Cut off the places behind the text, which no query may see."""
        keys = self.k.shape[1]
        if keys == queries or self.mask.uniform_empty_rows:  # such rows spread over the empty places too
            return self
        seen = max(queries, self.mask.seen(queries, keys))
        if seen == keys:
            return self
        bias = None if self.bias is None else self.bias.cut(queries, seen)
        return AlignedKeys(self.k[:, :seen], self.v[:, :seen], self.mask.cut(seen), bias)

    def with_dropped_keys(self, queries: int, keys: int) -> "AlignedKeys":
        """Put masked zeros where a window has dropped the first tokens, up to `keys` in all."""
        front = keys - self.k.shape[1]
        bias = None if self.bias is None else self.bias.behind(front)
        k, v = (pad(x, (0, 0, front, 0)) for x in (self.k, self.v))
        return AlignedKeys(k, v, self.mask.behind(front, queries, self.k.shape[1]), bias)
