"""The weights of one head, a run of queries at a time, with -1 for the pairs that are masked."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.statistics.rows import CELLS, FEWEST_ROWS, Rows
from attnscope.statistics.sight import Sight, sight_of, sight_of_band
from attnscope.tiles.request import MASKED
from attnscope.tracing.biases import BiasRule
from attnscope.tracing.masks import MaskRule
from attnscope.tracing.site import Site
from attnscope.tracing.weights_site import WeightsSite


class Run(NamedTuple):
    """Weights of some queries over the keys from `first` on; beyond them all is masked. The next run takes their memory.
    `level`: see `Block`.
    """

    first: int
    weights: Float[Tensor, "q n"]
    level: Float[Tensor, " q"] | None


class HeadWeights:
    """Those of one `head` of a site."""

    def __init__(self, site: Site, head: int) -> None:
        self._site = one_head(site, head)
        self._rows = Rows(self._site)

    @property
    def levels_hold(self) -> bool:
        """Whether a weight is 2 to the power of its score − the level of its row."""
        mask = self._site.mask
        return not (self._site.weights_only or self._rows.whole or mask.uniform_empty_rows)

    def runs(self, rows: slice, side: int, keys: int | None = None) -> Iterator[slice]:
        """The queries in `rows`, cut into runs of whole blocks of `side` queries. `keys`: of so many keys; None: of all."""
        step = max(FEWEST_ROWS, CELLS // (keys or self._site.keys)) // side * side or side
        for start in range(rows.start, rows.stop, step):
            yield slice(start, min(start + step, rows.stop))

    def run(self, rows: slice) -> Run:
        """All weights of these queries."""
        mask, keys = self._site.mask, self._site.keys
        plain = self._rows.whole or self._site.weights_only or mask.uniform_empty_rows
        sight = sight_of(mask, rows, keys, self._rows.whole) if plain else sight_of_band(mask, rows, keys)
        block = next(self._rows.blocks(rows, sight))
        weights = block.weights[0]
        for columns, hidden in sight.hidden:
            here = weights[:, columns]
            here.masked_fill_(hidden[0].to(here.device) & ~(here > 0) & ~here.isnan(), MASKED)
        return Run(sight.first, weights, None if block.level is None else block.level[0])

    def part(self, rows: slice, keys: slice, level: Float[Tensor, " q"]) -> Float[Tensor, "q n"]:
        """The weights of these queries on these keys alone, by the levels of their rows."""
        sight = Sight(keys.start, keys.stop)
        scores = torch.empty(1, rows.stop - rows.start, sight.width, device=self._site.q.device)
        self._rows.scores(scores, slice(0, 1), rows, sight)
        weights = scores[0].sub_(level[:, None]).exp2_()
        if not _sees_all(self._site.mask, rows, keys):
            row = torch.arange(rows.start, rows.stop)
            allowed = self._site.mask.allowed(row, keys.stop, first=keys.start)
            weights.masked_fill_(~allowed.reshape(weights.shape).to(weights.device), MASKED)
        return weights


def one_head(site: Site, head: int) -> Site:
    """The site as if it had this head alone."""
    own, group = slice(head, head + 1), head // (site.heads // site.kv_heads)
    mask, bias = _mask(site.mask, own), _bias(site.position_bias, own)
    place = {"kind": site.kind, "offset": site.query_offset, "layer": site.layer, "stack": site.stack}
    if isinstance(site, WeightsSite):
        return WeightsSite(given=site.given[own], mask=mask, **place)
    q, k, v = site.q[own], site.k[group : group + 1], site.v[group : group + 1]
    sinks = None if site.sinks is None else site.sinks[own]
    return Site(q, k, v, site.scaling, softcap=site.softcap, mask=mask, position_bias=bias, sinks=sinks, **place)


def _sees_all(mask: MaskRule, rows: slice, keys: slice) -> bool:
    """Whether a band of diagonals is known to hide none of these pairs."""
    if mask.packed is not None or mask.keys is not None or mask.rows is not None:
        return False
    nearest, farthest = keys.start - rows.stop + 1, keys.stop - 1 - rows.start
    return (mask.lower is None or mask.lower <= nearest) and (mask.upper is None or farthest <= mask.upper)


def _mask(mask: MaskRule, own: slice) -> MaskRule:
    several = mask.packed is not None and len(mask.packed) > 1
    return replace(mask, packed=mask.packed[own]) if several and mask.packed is not None else mask


def _bias(bias: BiasRule | None, own: slice) -> BiasRule | None:
    if bias is None:
        return None
    return BiasRule(
        *(
            None if table is None else table[own] if len(table) > 1 else table
            for table in (bias.diagonals, bias.cells, bias.blocks)
        )
    )
