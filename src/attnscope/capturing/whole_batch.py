"""All rows of a batch in one site: what is computed for each head is then computed for every row at once."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnscope.capturing.records import Record, WeightsRecord
from attnscope.tracing.masks import BiasRule
from attnscope.tracing.site import Site


def whole_batch(records: Sequence[Record | WeightsRecord], row: Site) -> Site | None:
    """The heads of row 0, then those of row 1, …, as one site with q and k; its v are zeros, and take no memory.

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
    keys, values = _keys_and_values(record)
    size = (record.batch, row.kv_heads, row.keys, row.head_size)
    if keys.shape != size or record.query.shape[1:] != row.q.shape:
        return None
    return Site(
        record.query.flatten(0, 1),
        keys.flatten(0, 1),
        values.new_zeros(1).expand(record.batch * row.kv_heads, row.keys, row.value_size),
        record.scaling,
        path=row.path,
        call=row.call,
        kind=row.kind,
        stack=row.stack,
        layer=row.layer,
        softcap=record.softcap,
        mask=row.mask,
        position_bias=None if bias is None else _repeated(bias, record.batch),
        sinks=None if record.sinks is None else record.sinks.repeat(record.batch),
        dtype=row.dtype,
    )


def _keys_and_values(record: Record) -> tuple[Tensor, Tensor]:
    """[B, Hkv, K, D] each."""
    given = record.key_value
    if isinstance(given, partial) and all(isinstance(one, Tensor) and one.ndim == 4 for one in given.args):
        return given.args[0], given.args[1]
    keys, values = zip(*(given(index) for index in range(record.batch)), strict=True)
    return torch.stack(keys), torch.stack(values)


def _repeated(bias: BiasRule, rows: int) -> BiasRule:
    tables = (bias.diagonals, bias.cells)
    return BiasRule(*(t if t is None or len(t) == 1 else t.repeat(rows, *[1] * (t.ndim - 1)) for t in tables))


def _alike(one: Any, other: Any) -> bool:
    """Whether two rules are the same."""
    if one is other or one is None or other is None:
        return one is other
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)]
    return all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else not isinstance(a, Tensor) and a == b
        for a, b in pairs
    )
