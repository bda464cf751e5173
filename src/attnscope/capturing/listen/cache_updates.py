"""Watches transformers' key/value caches: what are the keys of this step made of?

Comparing all earlier keys with what was kept of them would cost more with every step. The caches of transformers are
known: a growing one joins the new rows to the old, a static one writes the new rows into its places, a sliding one drops
rows in front. So while a capture is open `Cache.update` is wrapped. Its results are returned untouched; on the way it is
noted of which rows they consist, wherever nobody has touched the cache since its last update. Torch tells that: the
cache still holds the very tensors that the update left, and their versions, which count writes, have not moved.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

Versions = tuple[int, int]


@dataclass(frozen=True)
class Update:
    """What one update of a cache layer returned, [B, Hkv, K, D]: of what update `follows` returned the rows from `front`
    to `start`; then the `new` rows; then what stood behind those (the empty places of a static cache).

    `number`: of this update. `follows` is None where the layer did not hold what an earlier update had left. `values`: the
    values that were returned with the keys; `versions`: of both, when they were returned.
    """

    number: int
    follows: int | None
    front: int
    start: int
    new: int
    values: Callable[[], Tensor | None]
    versions: Versions


@dataclass(frozen=True)
class _Left:
    """What a layer holds after an update: the rows from `dropped` on of what was returned."""

    number: int
    keys: Callable[[], Tensor | None]
    values: Callable[[], Tensor | None]
    versions: Versions
    dropped: int


_numbers = itertools.count()
_made: Any = WeakIdKeyDictionary()  # returned keys -> Update
_left: WeakKeyDictionary[Any, _Left] = WeakKeyDictionary()  # layer of a cache -> what its last update left


def update_of(key: Tensor, value: Tensor) -> Update | None:
    """The update that returned these very tensors, if nothing was written into them since; None where there is none."""
    made: Update | None = _made.get(key)
    known = made is not None and made.values() is value and made.versions == versions_of(key, value)
    return made if known else None


def versions_of(*tensors: Tensor) -> Any:
    """How often each was written into; None where torch does not count (in inference_mode)."""
    return None if any(tensor.is_inference() for tensor in tensors) else tuple(tensor._version for tensor in tensors)


def watch_caches() -> Callable[[], None]:
    """Wrap `Cache.update`; returns what takes the wrapper off again."""
    from transformers import cache_utils

    cache: Any = cache_utils.Cache
    original = cache.update

    @functools.wraps(original)
    def update(
        self: Any, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **options: Any
    ) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_compiling():
            return original(self, key_states, value_states, layer_idx, *args, **options)
        layer = self.layers[layer_idx] if layer_idx < len(self.layers) else None
        plan = None if layer is None else _plan(cache_utils, layer, key_states)
        result = original(self, key_states, value_states, layer_idx, *args, **options)
        _note(self.layers[layer_idx], plan, key_states, value_states, *result)
        return result

    cache.update = update

    def restore() -> None:
        cache.update = original
        _made.clear()
        _left.clear()

    return restore


def _plan(known: Any, layer: Any, key_states: Tensor) -> tuple[_Left, int, int] | None:
    """What the layer's last update left, and `front` and `start` of the one to come, in rows of what the last one
    returned. None for kinds of caches that are not known here, and where the layer holds something else by now."""
    left = _left.pop(layer, None)
    keys, values = _held(layer)
    if left is None or keys is None or values is None or keys is not left.keys() or values is not left.values():
        return None
    if versions_of(keys, values) != left.versions:
        return None
    kind, new, length = getattr(layer.update, "__func__", None), key_states.shape[-2], keys.shape[-2]
    front, start = 0, None
    if kind in (known.DynamicLayer.update, known.DynamicSlidingWindowLayer.update):
        start = length
    elif kind is known.StaticLayer.update:
        start = getattr(layer, "cumulative_length", None)
    elif kind is known.StaticSlidingWindowLayer.update:
        start = getattr(layer, "cumulative_length_int", None)
        if start is not None and start >= length:
            front, start = (1, length) if new == 1 else (0, None)
        elif start is not None and start + new > length:
            start = None
    return None if start is None else (left, left.dropped + front, left.dropped + int(start))


def _note(
    layer: Any,
    plan: tuple[_Left, int, int] | None,
    key_states: Tensor,
    value_states: Tensor,
    keys: Tensor,
    values: Tensor,
) -> None:
    """Remember what an update returned and what it left."""
    versions, (held_keys, held_values) = versions_of(keys, values), _held(layer)
    if versions is None or held_keys is None or held_values is None:
        return
    if keys.ndim != 4 or held_keys.ndim != 4 or held_values.ndim != 4:  # a cache of a model's own
        return
    number, new, length = next(_numbers), key_states.shape[-2], keys.shape[-2]
    follows, front, start = None, 0, 0
    if plan is not None:
        left, front, start = plan
        at = start - front
        if held_keys is left.keys():  # written in place: do the new rows stand where they were expected?
            old, given = (keys[:, :, at : at + new], values[:, :, at : at + new]), (key_states, value_states)
            fits = all(map(torch.equal, old, given))
        else:
            fits = length == at + new
        follows = left.number if fits else None
    _made[keys] = Update(number, follows, front, start, new, ref(values), versions)
    dropped, left_versions = length - held_keys.shape[-2], versions_of(held_keys, held_values)
    if dropped >= 0 and left_versions is not None:
        _left[layer] = _Left(number, ref(held_keys), ref(held_values), left_versions, dropped)


def _held(layer: Any) -> tuple[Tensor | None, Tensor | None]:
    """The tensors that a layer of a cache holds now."""
    return getattr(layer, "keys", None), getattr(layer, "values", None)
