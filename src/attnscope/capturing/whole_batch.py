"""All rows of a batch in one site: what is computed for one row is then computed for every row at once."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnscope.capturing.records import Record, WeightsRecord
from attnscope.tracing.site import Site


def whole_batch(records: Sequence[Record | WeightsRecord], row: Site) -> tuple[Tensor, Tensor] | None:
    """q [B, H, Q, D] and k [B, Hkv, K, D] of all rows, as the model left them.

    `row`: the site of one row. None where rows differ in their masks or biases, where heads have masks of their own, or
    where keys were moved or cut.
    """
    found = [r for r in records if (r.path, r.call, r.cross) == (row.path, row.call, row.kind == "cross")]
    if len(found) != 1 or not isinstance(record := found[0], Record) or record.offset is not None:
        return None
    (rule, bias), *others = record.rules.pairs
    if any(not _alike(rule, mask) or not _alike(bias, more) for mask, more in others):
        return None
    if rule.packed is not None and len(rule.packed) > 1:
        return None
    keys = _keys_of(record)
    if keys.shape[1:] != row.k.shape or record.query.shape[1:] != row.q.shape:
        return None
    return record.query, keys


def _keys_of(record: Record) -> Tensor:
    """[B, Hkv, K, D]."""
    given = record.key_value
    if isinstance(given, partial) and all(isinstance(one, Tensor) and one.ndim == 4 for one in given.args):
        return given.args[0]
    return torch.stack([given(index)[0] for index in range(record.batch)])


def _alike(one: Any, other: Any) -> bool:
    """Whether two rules are the same."""
    if one is other or one is None or other is None:
        return one is other
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)]
    return all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else not isinstance(a, Tensor) and a == b
        for a, b in pairs
    )
