"""The compiled pass over the weights of one head in blocks: its arrays, and its rows shared out to threads."""

import numpy as np
import torch

from attnscope.statistics.kernel.run import numbers_of, packed_keys, together
from attnscope.statistics.kernel.table import band_of
from attnscope.tracing.site import Site


class BlockPass:
    """One head's weights in blocks of `side` × `side`, filled in as rows are `run`.

    `cells`: the largest weight of each block, or with `add` its sum; -1 where no query of it may see a key of it.
    `level`: log₂ of what a row's powers add up to; 0 in rows that see no key.
    """

    def __init__(self, site: Site, head: int, side: int, add: bool) -> None:
        self.cells = np.full((-(-site.queries // side), -(-site.keys // side)), np.float32(-1))
        self.level = np.zeros(site.queries, np.float32)
        group = head // (site.heads // site.kv_heads)
        self._head, self._side, self._add = head, side, add
        self._queries = np.ascontiguousarray(site.q[head].detach().float().numpy())
        self._packed = packed_keys(site.k[group : group + 1], 1)[0]
        self._numbers = numbers_of(site)
        low, high, hidden, seen = band_of(site.mask, site.queries, site.keys)
        self._band = low, high, hidden, seen > 0

    def run(self, rows: slice) -> None:
        """Fill in the blocks of these queries, which begin with the first of a block. Threads share the blocks."""
        from attnscope.statistics.kernel.blocks import reduce_blocks

        count = -(-(rows.stop - rows.start) // self._side)
        each = -(-count // torch.get_num_threads()) * self._side

        def fill(start: int) -> None:
            reduce_blocks(
                self._queries,
                self._packed,
                self._numbers,
                self._head,
                self._band,
                self._side,
                self._add,
                self.cells,
                self.level,
                start,
                min(start + each, rows.stop),
            )

        together([lambda start=start: fill(start) for start in range(rows.start, rows.stop, each)])
