"""The compiled pass over a site: its arrays handed over, the heads shared out to as many threads as torch has."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.statistics.kernel.table import NAMES, VALUES, Table, table_of
from attnscope.statistics.pairs import Pairs
from attnscope.tracing.site import Site

if TYPE_CHECKING:
    from attnscope.statistics.kernel.fold import Found
    from attnscope.statistics.kernel.scores import Numbers


@dataclass(frozen=True, eq=False)
class Part:
    """What the compiled pass found for a run of queries: the fields of `Sums`. h is 1: all heads share the mask."""

    values: dict[str, Float[Tensor, " H"]]
    counts: dict[str, Float[Tensor, "*h"]]
    received: Float[Tensor, "H K"]
    seen: Float[Tensor, "1 K"]
    own: Float[Tensor, "H K"]
    peak: Float[Tensor, "H K"]
    peak_rows: Int[Tensor, "2 H K"]
    link: Float[Tensor, " H"]
    link_place: Int[Tensor, "2 H"]
    pooled: Float[Tensor, "H R C"]
    visible: Bool[Tensor, "1 R C"]


def parts_of(site: Site, pairs: Pairs, side: int, runs: Sequence[slice]) -> list[Part]:
    """The queries in `runs`, in one part or, where there are more threads than a fair share of heads, in one of each thread."""
    table = table_of(site.mask, pairs, site.queries, site.keys, side)
    threads = torch.get_num_threads()
    fair = site.heads % threads == 0 or site.heads >= 4 * threads
    queries = np.ascontiguousarray(site.q.detach().float().numpy())
    packed, numbers = packed_keys(site.k, threads), numbers_of(site)
    shares = [list(runs)] if fair else _shared_out(table, runs, threads)
    found = [_room(site.heads, site.keys, table) for _ in shares]
    together(
        [
            lambda own=own, share=share, first=first: _fold(queries, packed, numbers, table, own, share, first)
            for own, share in zip(found, shares, strict=True)
            for first in (range(min(threads, site.heads)) if fair else [None])
        ]
    )
    return [_part(table, share, own) for share, own in zip(shares, found, strict=True)]


def _fold(
    queries: "np.ndarray",
    packed: "np.ndarray",
    numbers: "Numbers",
    table: Table,
    found: "Found",
    runs: list[slice],
    first: int | None,
) -> None:
    """Fold the queries in `runs` into `found`: all heads, or the share of them that begins with `first`."""
    from attnscope.statistics.kernel import fold

    heads, step = len(queries), 1 if first is None else min(torch.get_num_threads(), len(queries))
    for run in runs:
        fold.fold(queries, packed, numbers, table, found, first or 0, heads, step, run.start, run.stop)


def _part(table: Table, runs: list[slice], found: "Found") -> Part:
    visible, seen, counts = _seen(table, runs)
    found.values[:, 0] *= math.log(2)  # bits to nats
    received = torch.from_numpy(found.received)
    values = dict(zip(VALUES, torch.from_numpy(found.values).unbind(1), strict=True))
    values |= {"first": received[:, 0], "special": received[:, torch.from_numpy(table.special)].sum(-1)}
    number = dict(zip(NAMES, torch.from_numpy(counts), strict=True))
    return Part(
        values,
        number | {"distance": received.sum(-1)},
        received,
        torch.from_numpy(seen[None]),
        *(torch.from_numpy(one) for one in (found.own, found.peak, found.peak_rows, found.link, found.link_place)),
        pooled=torch.from_numpy(found.pooled),
        visible=torch.from_numpy(visible[None]),
    )


def _seen(table: Table, runs: list[slice]) -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
    from attnscope.statistics.kernel import fold

    visible = np.zeros((len(table.row_edges) - 1, len(table.column_edges) - 1), bool)
    total, counts = np.zeros(len(table.is_special)), np.zeros(len(NAMES))
    for run in runs:
        seen = np.zeros(len(table.is_special) + 1)
        fold.sight(table, visible, seen, counts, run.start, run.stop)
        total += seen[:-1]
    return visible, total, counts


def _room(heads: int, keys: int, table: Table) -> "Found":
    from attnscope.statistics.kernel.fold import Found

    return Found(
        np.zeros((heads, len(VALUES))),
        np.zeros((heads, keys)),
        np.zeros((heads, keys)),
        np.zeros((heads, keys), np.float32),
        np.zeros((2, heads, keys), np.int32),
        np.zeros(heads, np.float32),
        np.zeros((2, heads), np.int64),
        np.zeros((heads, len(table.row_edges) - 1, len(table.column_edges) - 1), np.float32),
    )


def packed_keys(keys: Float[Tensor, "Hkv K D"], threads: int) -> "np.ndarray":
    """The keys as tiles want them."""
    from attnscope.statistics.kernel.scores import pack_keys
    from attnscope.statistics.kernel.tile import COLUMNS

    whole = np.ascontiguousarray(keys.detach().float().numpy())
    heads, count, size = whole.shape
    packed = np.zeros((heads, -(-count // COLUMNS) * COLUMNS * size), np.float32)

    def pack(first: int) -> None:
        for head in range(first, heads, threads):
            pack_keys(whole[head], packed[head])

    together([lambda first=first: pack(first) for first in range(min(threads, heads))])
    return packed


def numbers_of(site: Site) -> "Numbers":
    from attnscope.statistics.kernel.scores import Numbers

    to_base_2 = 1 / math.log(2)
    table, start, step, bias = None, 0, 0, site.position_bias
    if bias is not None:
        table, start, step = bias.cells, 0, site.keys
        if table is None:
            table, start, step = bias.diagonals, site.queries - 1, -1
    sinks = np.zeros(0, np.float32) if site.sinks is None else _plain(site.sinks, to_base_2)
    flat = np.zeros((1, 0), np.float32) if table is None else _plain(table.flatten(1), to_base_2)
    factor: Any = np.float32(site.scaling * to_base_2)
    softcap: Any = np.float32((site.softcap or 0.0) * to_base_2)
    return Numbers(factor, softcap, flat, start, step, sinks)


def _plain(numbers: Tensor, factor: float) -> "np.ndarray":
    return np.ascontiguousarray((numbers.detach().float() * factor).numpy())


def _shared_out(table: Table, runs: Sequence[slice], threads: int) -> list[list[slice]]:
    """A part of each run for every thread: parts that see about as many keys."""
    shares: list[list[slice]] = [[] for _ in range(threads)]
    for run in runs:
        cells = np.cumsum((table.high - table.low)[run])
        inner = np.searchsorted(cells, cells[-1] * np.arange(1, threads) / threads, side="right") + run.start
        for share, ends in zip(shares, pairwise([run.start, *inner.tolist(), run.stop]), strict=True):
            if ends[0] < ends[1]:
                share.append(slice(*ends))
    return shares


def together(tasks: list[Callable[[], None]]) -> None:
    """Run these side by side, the last in this thread. The first error of any is raised."""
    errors: list[BaseException] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=guarded, args=(task,), daemon=True) for task in tasks[:-1]]
    for thread in threads:
        thread.start()
    guarded(tasks[-1])
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
