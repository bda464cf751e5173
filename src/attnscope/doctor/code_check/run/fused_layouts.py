"""Where queries, keys and values stand in a weight that holds two or all three of them."""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from attnscope.doctor.code_check.run.parameters import head_counts, named_heads, numbers_in


def thirds(width: int, heads: int) -> Iterator[tuple[str, list[Any]]]:
    """Columns of q, k, v in a fused weight of three equal parts, for each layout in use."""
    where = torch.arange(width)
    size = width // 3 // heads
    blocks = list(where.view(3, -1))
    yield "q|k|v blocks", blocks
    if heads > 1:
        yield (
            "per head (q, k, v of head 0, then of head 1 …)",
            [x.flatten() for x in where.view(heads, 3, size).unbind(1)],
        )
    yield "interleaved (size, 3, heads)", [x.T.flatten() for x in where.view(size, 3, heads).unbind(1)]
    yield "interleaved (heads, size, 3)", [x.flatten() for x in where.view(heads, size, 3).unbind(2)]
    yield "k|q|v blocks", [blocks[1], blocks[0], blocks[2]]
    yield "v|k|q blocks", [blocks[2], blocks[1], blocks[0]]


def halves(half: int, heads: int, names: tuple[str, str]) -> Iterator[tuple[str, Any]]:
    """Columns of the two of them in a fused weight of two equal parts."""
    where, (first, second) = torch.arange(2 * half), names
    yield f"{first}|{second} blocks", where.view(2, -1).unbind(0)
    if heads > 1:
        yield (
            f"per head ({first}, {second} of head 0, then of head 1 …)",
            [x.flatten() for x in where.view(heads, 2, -1).unbind(1)],
        )
    yield f"{second}|{first} blocks", where.view(2, -1).flip(0).unbind(0)


def unequal(heads: int, kv_heads: int, size: int) -> Iterator[tuple[str, list[Any]]]:
    """Columns of q, k, v where there are fewer key/value heads than query heads."""
    where = torch.arange((heads + 2 * kv_heads) * size)
    parts = [heads * size, kv_heads * size, kv_heads * size]
    yield "q|k|v blocks", list(where.split(parts))
    if kv_heads > 1:
        share = heads // kv_heads
        groups = where.view(kv_heads, share + 2, size).split([share, 1, 1], dim=1)
        yield "per group (its queries, then its key and value)", [x.flatten() for x in groups]
    key, value, query = where.split([parts[1], parts[2], parts[0]])
    yield "k|v|q blocks", [query, key, value]


def group_counts(module: nn.Module, width: int, inner: list[int]) -> list[tuple[int, int, int]]:
    """(heads, kv_heads, size) with (heads + 2 · kv_heads) · size = width: from the attributes' names, then from the widths
    `inner` that all query heads may have together."""
    named = [
        v
        for n, v in numbers_in(module).items()
        if isinstance(v, int) and v > 0 and re.search("kv|key|group", n.lower())
    ]
    found: list[tuple[int, int, int]] = []
    for heads in named_heads(module):
        for kv_heads in named:
            size, rest = divmod(width, heads + 2 * kv_heads)
            found += [(heads, kv_heads, size)] if not rest else []
    for q_width in inner:
        both, odd = divmod(width - q_width, 2)
        for heads in head_counts(module, q_width) if both > 0 and not odd else []:
            kv_heads, rest = divmod(both, q_width // heads)
            found += [(heads, kv_heads, q_width // heads)] if not rest else []
    found = [f for f in dict.fromkeys(found) if f[1] < f[0] and not f[0] % f[1]]
    return sorted(found, key=lambda f: f[0] * f[2] not in inner)[:12]
