"""Keys and values of cached generation: kept cheaply, and aligned with the text again.

A cached step attends from its new queries to all keys so far, and a cache is free to change those keys later, to be
longer than the text (static caches) or to have dropped its beginning (sliding windows). So what a cache may change is
copied, step by step only the new rows; places behind the text that no query may see are cut off; and what a window
has dropped comes back as masked zeros, so that key i is token i again.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from attnscope.tracing.masks import BiasRule, MaskRule

KeyValue = tuple[Tensor, Tensor]


@dataclass
class KeyRows:
    """The keys and values of one cached module, in the pieces that its steps added along axis 2."""

    keys: list[Tensor]
    values: list[Tensor]
    length: int

    def joined(self, length: int) -> KeyValue:
        return torch.cat(self.keys, 2)[:, :, :length], torch.cat(self.values, 2)[:, :, :length]

    def begins(self, key: Tensor, length: int) -> bool:
        """Whether these rows are the first `length` of `key`: an ordinary step, in which no beam changed its place."""
        fits = self.length == length and self.keys[0].shape[:2] == key.shape[:2]
        return fits and torch.equal(torch.cat(self.keys, 2), key[:, :, :length])


class KeyKeeper:
    """Copies of cached keys and values, per thread, module and call."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, str, int], KeyRows] = {}

    def forget(self) -> None:
        self._rows = {}

    def keep(self, path: str, call: int, queries: int, key: Tensor, value: Tensor) -> Callable[[], KeyValue]:
        """A way to get this call's keys and values back later. `key`, `value`: [B, Hkv, K, D]."""
        place = threading.get_ident(), path, call
        length = key.shape[2]
        rows, start = self._rows.get(place), length - queries
        if start > 0 and rows is not None and rows.begins(key, start):
            rows.keys.append(key[:, :, start:].clone())
            rows.values.append(value[:, :, start:].clone())
            rows.length = length
        else:  # a new text, a static cache, a sliding one, or beams that changed places
            rows = self._rows[place] = KeyRows([key.clone()], [value.clone()], length)
        return lambda: rows.joined(length)


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
