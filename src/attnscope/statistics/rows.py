"""The weights of a block of queries, for some heads at a time, and what their rows come to.

A block is about as large as a processor's own cache, and its buffers are used again: the weights of a whole text pass by
without ever being in memory together, and most of the time goes into q · k and the exponential.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attnscope.statistics.sight import Sight, sight_of
from attnscope.tracing.at_hand import check_at_hand
from attnscope.tracing.site import Site

CELLS = 1 << 18  # weights of a block on a processor, for each of its threads
CELLS_ON_DEVICE = 1 << 25  # on a GPU
FEWEST_ROWS = 32  # of a block, where there are as many: a product of fewer rows reads the keys too often
LARGEST = 1e25  # scores up to it are moderate: see moderate
HIDDEN = -1e30  # a score without weight, which times 0 is 0
NO_WEIGHT = -1e4  # 2 to this power is 0


@dataclass(frozen=True, eq=False)
class Block:
    """The weights of a run of queries over the keys of its sight, for the heads in `heads`.

    `counted`: rows of queries that see a key, and that are numbers; h is 1 where all heads agree.
    `entropy`: the sum over the counted rows, in nats. `largest`: the largest weight of each row.
    `sink`: the weight of each row on the learned sink, 0 in rows that are not counted; None without one.
    `spoiled`: whether rows that are not counted may hold something. `memory`: free to use.
    `level`: log₂ of what the powers of a row add up to, its sink's included; None where only weights are known.
    """

    heads: slice
    weights: Float[Tensor, "h q n"]
    counted: Bool[Tensor, "#h q"]
    entropy: Float[Tensor, " h"]
    largest: Float[Tensor, "h q"]
    memory: Float[Tensor, " cells"]
    sink: Float[Tensor, "h q"] | None = None
    spoiled: bool = False
    level: Float[Tensor, "h q"] | None = None

    def clean(self) -> None:
        """Zeros in the rows that are not counted."""
        if self.spoiled:
            self.weights.masked_fill_(~self.counted[..., None], 0.0)
            self.largest.masked_fill_(~self.counted, 0.0)

    def spare(self, shape: Sequence[int]) -> Tensor:
        """A tensor of this shape, with anything in it: the same memory each time."""
        size = math.prod(shape)
        return self.memory[:size].view(shape) if size <= len(self.memory) else self.memory.new_empty(shape)


class Rows:
    """Blocks of a site's weights, one after another in the same memory."""

    def __init__(self, site: Site) -> None:
        check_at_hand(site)
        self.site = site
        self.device = next(iter(site.kept.values())).device
        self.group = site.heads // site.kv_heads
        self._memory = torch.empty(0), torch.empty(0)
        if not site.weights_only:
            self._keys = site.k.detach().float()
            self._sinks = None if site.sinks is None else site.sinks.detach().float().to(self.device)

    @cached_property
    def whole(self) -> bool:
        """Whether scores are too large for anything but whole rows with their largest score taken off."""
        return not self.site.weights_only and not moderate(self.site, self.site.q, self.site.k)

    def runs(self, rows: slice) -> Iterator[tuple[slice, Sight]]:
        """The queries in `rows`, cut into runs, each with what it sees."""
        step = max(FEWEST_ROWS, self._cells // max(1, self.site.keys * self.group))
        for start in range(rows.start, rows.stop, step):
            run = slice(start, min(start + step, rows.stop))
            yield run, sight_of(self.site.mask, run, self.site.keys, self.whole)

    def blocks(self, run: slice, sight: Sight, together: int = 0) -> Iterator[Block]:
        """The weights of one run of queries, some heads at a time. The next block takes the memory of the last.

        `together`: how many heads stay in one block; 0: those of a key/value head.
        """
        together = together or self.group
        each = max(1, self._cells // ((run.stop - run.start) * sight.width * together)) * together
        for start in range(0, self.site.heads, each):
            heads = slice(start, min(start + each, self.site.heads))
            yield self._given(heads, run, sight) if self.site.weights_only else self._computed(heads, run, sight)

    @property
    def _cells(self) -> int:
        return CELLS * torch.get_num_threads() if self.device.type == "cpu" else CELLS_ON_DEVICE

    def _room(self, *shape: int) -> tuple[Tensor, Tensor]:
        size = math.prod(shape)
        if self._memory[0].numel() < size:
            self._memory = torch.empty(size, device=self.device), torch.empty(size, device=self.device)
        return self._memory[0][:size].view(shape), self._memory[1][:size].view(shape)

    def _given(self, heads: slice, run: slice, sight: Sight) -> Block:
        """Of a site that has weights alone."""
        given = self.site.kept["weights"][heads, run, sight.keys].detach()
        _, weights = self._room(*given.shape)
        weights.copy_(given)
        counted = weights.sum(-1).isfinite()
        if sight.seeing is not None:
            counted &= sight.seeing.to(self.device)[of_heads(sight.seeing, heads)]
        spoiled = not bool(counted.all())
        entropy = torch.special.entr(weights).sum(-1)
        entropy = torch.where(counted, entropy, 0.0).sum(-1)
        return Block(heads, weights, counted, entropy, weights.amax(-1), self._memory[0], spoiled=spoiled)

    def _computed(self, heads: slice, run: slice, sight: Sight) -> Block:
        """Of q and k: scores to the base 2, then weights."""
        count, length = heads.stop - heads.start, run.stop - run.start
        scores, weights = self._room(count, length, sight.width)
        self.scores(scores, heads, run, sight)
        for columns, hidden in sight.hidden:
            where = hidden[of_heads(hidden, heads)].to(self.device)
            scores[..., columns].masked_fill_(where, -math.inf if self.whole else HIDDEN)
        largest = scores.amax(-1)
        sinks = None if self._sinks is None else (self._sinks[heads] / math.log(2))[:, None].expand(-1, length)
        top = largest if sinks is None else torch.maximum(largest, sinks)
        if self.whole:
            top = torch.where(top == -math.inf, 0.0, top)  # no score at all: no weight
        scores.sub_(top[..., None])
        if self.whole:
            scores.clamp_(min=NO_WEIGHT)
        torch.exp2(scores, out=weights)
        sink = None if sinks is None else torch.exp2(sinks - top)
        total = weights.sum(-1) if sink is None else weights.sum(-1) + sink
        part, level = 1 / total, top + total.log2()
        counted = torch.ones(1, length, dtype=torch.bool, device=self.device)
        spoiled = self.whole
        if sight.seeing is not None or self.whole:
            counted, part = self._counted(heads, sight, counted, total, part)
            total, part = torch.where(counted & (total > 0), total, 1.0), torch.where(total > 0, part, 0.0)
            spoiled |= self.site.mask.uniform_empty_rows
        weights.mul_(part[..., None])
        if spoiled:
            scores.masked_fill_(~counted[..., None], 0.0)
            if self.whole and sight.seeing is not None and self.site.mask.uniform_empty_rows and sinks is None:
                seeing = sight.seeing[of_heads(sight.seeing, heads)].to(self.device)
                weights.masked_fill_(~seeing[..., None], 1 / sight.width)
        # −Σ w ln w = ln Σ exp(score − top) − Σ w · (score − top)
        spread = weights.nan_to_num(0.0) if self.whole else weights
        entropy = total.log2().sum(-1) - torch.linalg.vecdot(spread.flatten(1), scores.flatten(1))
        if sink is not None and sinks is not None:
            sink = torch.where(counted, sink * part, 0.0)
            entropy -= (sink * torch.where(counted, sinks - top, 0.0).clamp_min(NO_WEIGHT)).sum(-1)
        largest = part if sinks is None else torch.exp2(largest - top) * part
        return Block(heads, weights, counted, entropy * math.log(2), largest, self._memory[0], sink, spoiled, level)

    def _counted(
        self, heads: slice, sight: Sight, counted: Tensor, total: Float[Tensor, "h q"], part: Float[Tensor, "h q"]
    ) -> tuple[Bool[Tensor, "#h q"], Float[Tensor, "h q"]]:
        """Which rows count, and what their weights are multiplied by."""
        if sight.seeing is not None:
            counted = sight.seeing[of_heads(sight.seeing, heads)].to(self.device)
            if not self.site.mask.uniform_empty_rows:
                part = torch.where(counted, part, 0.0)
        return (counted & total.isfinite() if self.whole else counted), part

    def scores(self, out: Float[Tensor, "h q n"], heads: slice, run: slice, sight: Sight) -> None:
        """What enters the softmax, unmasked, over ln 2: weights are then powers of 2, which are quicker."""
        site = self.site
        factor = site.scaling if site.softcap is not None else site.scaling / math.log(2)
        self.products(out, heads, run, sight.keys, factor)
        if site.softcap is not None:
            out.div_(site.softcap).tanh_().mul_(site.softcap / math.log(2))
        if site.position_bias is not None:
            bias = site.position_bias.block(run, site.queries, site.keys, sight.keys)
            out.add_(bias[of_heads(bias, heads)].to(self.device), alpha=1 / math.log(2))

    def products(self, out: Float[Tensor, "h q n"], heads: slice, run: slice, keys: slice, factor: float) -> None:
        """factor · q · k."""
        site, groups = self.site, slice(heads.start // self.group, -(-heads.stop // self.group))
        query = site.q[heads, run].detach().float() * factor
        query = query.reshape(groups.stop - groups.start, -1, site.head_size)
        key = self._keys[groups, keys]
        torch.bmm(query, key.transpose(1, 2), out=out.view(len(query), query.shape[1], key.shape[1]))


def of_heads(shared: Tensor, heads: slice) -> slice:
    """These heads of a tensor that may be one for all of them."""
    return slice(None) if len(shared) == 1 else heads


def moderate(site: Site, q: Float[Tensor, "*h Q D"], k: Float[Tensor, "*g K D"]) -> bool:
    """Whether no score of a site with these q and k can be NaN, infinite or huge: |q · k| ≤ D · max |q| · max |k|."""
    size = site.head_size * _largest(q) * _largest(k) * abs(site.scaling)
    bias = site.position_bias
    others = [_largest(table) for table in (None if bias is None else bias.table, site.sinks) if table is not None]
    return all(value < LARGEST for value in (size, *others))


def _largest(numbers: Tensor) -> float:
    """The largest magnitude; NaN where there is one. On a processor by numpy: torch would call its threads for so little."""
    known = numbers.detach().float()
    if known.device.type == "cpu":
        array = known.numpy()
        return float(np.maximum(array.max(), -array.min()))
    return float(known.abs().amax())
