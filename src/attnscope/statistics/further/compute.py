"""FurtherSums: several statistics of one site, added up while its weights pass by in blocks of queries."""

from collections.abc import Sequence

import torch

from attnscope.attention.precision import without_autocast
from attnscope.statistics.further.block import HeadBlock, Run, Setting
from attnscope.statistics.further.entries import FURTHER
from attnscope.statistics.further.sums import PerKey, Sum
from attnscope.statistics.rows import Rows
from attnscope.statistics.totals import Means


class FurtherSums:
    """`start` it, `update` it with blocks, `merge` it with the sums of other queries of the site, `finish` it.

    `sums`: by the name of the statistic, of those that the site can have.
    """

    def __init__(self, sums: dict[str, Sum]) -> None:
        self.sums = sums

    @classmethod
    def start(cls, setting: Setting, names: Sequence[str]) -> "FurtherSums":
        """Of no query yet."""
        started = {name: FURTHER[name].start(setting) for name in names}
        return cls({name: sums for name, sums in started.items() if sums is not None})

    def update(self, block: HeadBlock) -> None:
        """Add a run of queries, for some heads."""
        for sums in self.sums.values():
            sums.update(block)

    def merge(self, other: "FurtherSums") -> None:
        """Add the sums of other queries of the same site."""
        for name, sums in self.sums.items():
            sums.merge(other.sums[name])

    def finish(self) -> Means:
        """By name: a number per head, None where no query counted for it."""
        return {name: sums.finish() for name, sums in self.sums.items()}

    @property
    def by_key(self) -> dict[str, torch.Tensor]:
        """Of statistics that are of keys: [H, K]."""
        return {name: sums.means for name, sums in self.sums.items() if isinstance(sums, PerKey)}


@without_autocast
def further_sums(setting: Setting, names: Sequence[str], rows: slice | None = None) -> FurtherSums:
    """The sums over the queries in `rows`; None: all that stand before a silence."""
    rows, sums, reader = rows or slice(0, setting.pairs.shown[0]), FurtherSums.start(setting, names), Rows(setting.site)
    if not sums.sums:
        return sums
    with torch.no_grad():
        for run, sight in reader.runs(rows):
            seen = Run(setting, run, sight)
            for block in reader.blocks(run, sight):
                sums.update(HeadBlock.of(seen, block))
    return sums
