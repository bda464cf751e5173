"""The statistics of every head of a site, exact, added up while its weights pass by in blocks of queries.

definitions.py says what each of them is. `Sums` is what is known so far: `start` it, `update` it with blocks, `merge` it
with the sums of other queries (of other processes, too: it is made of plain tensors), `finish` it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.statistics.kernel.run import Part, parts_of
from attnscope.statistics.kernel.table import NAMES
from attnscope.statistics.kernel.use import may_run, refuse
from attnscope.statistics.pairs import BESIDE, BlockPairs, Pairs
from attnscope.statistics.patches import Patches
from attnscope.statistics.rows import Block, Rows
from attnscope.statistics.totals import Means, Totals, in_order
from attnscope.tracing.site import Site


@dataclass(frozen=True, eq=False)
class Peaks:
    """For each key and head, the largest weight that a query of another word gives it; 0 where there is none.

    Words have a letter or a digit, and special tokens are none. Neighbouring words, and one word twice, do not count.
    `weight`: [H, K]. `start`, `stop`: [H, K], between which rows of the site that query is.
    """

    weight: Float[Tensor, "H K"]
    start: Int[Tensor, "H K"]
    stop: Int[Tensor, "H K"]


@dataclass(frozen=True, eq=False)
class HeadNumbers:
    """What the weights of a site come to, by head.

    `statistics`: the means, by name. `links`: (query, key, weight) of the strongest link, positions among the tokens.
    `received`: the mean weight that a key gets from the queries that may see it; 0 where none may.
    `from_others`: the sum of the weight that it gets from queries that are other tokens.
    `peaks`: how much the query that looks most at a key gives it. `patches`: the small pictures.
    """

    statistics: Means
    links: tuple[tuple[int, int, float] | None, ...]
    received: Float[Tensor, "H K"]
    from_others: Float[Tensor, "H K"]
    peaks: Peaks
    patches: Patches


class Sums:
    """The sums of one site over the queries seen so far.

    `values`, `counts`: over queries, by statistic and head. `received`, `seen`: the weight that each key got, and from how
    many queries; `own`: of that weight, what its own query gave. `peak`, `peak_rows`, `link`, `link_place`: the largest weights, and where they are.
    """

    def __init__(self, site: Site, pairs: Pairs, side: int) -> None:
        heads, keys, packed = site.heads, site.keys, site.mask.packed
        plain = ("entropy", "confidence", *(("sink",) if site.sinks is not None else ()))
        far = () if pairs.crossing or not pairs.in_a_row else ("distance",)
        across = () if pairs.patches is None else (pairs.line,)
        self.names = (*plain, *far, *across, *pairs.asked)
        self.offset, self.words = pairs.offset, pairs.words
        self.patches = Patches.start(heads, *pairs.shown, side, 1 if packed is None else len(packed))
        self.line = pairs.line
        self.values, self.counts = (torch.zeros(len(self.names), heads, dtype=torch.float64) for _ in range(2))
        self.received, self.seen, self.own = (torch.zeros(heads, keys, dtype=torch.float64) for _ in range(3))
        self.peak, self.peak_rows = torch.zeros(heads, keys), torch.zeros(2, heads, keys, dtype=torch.int32)
        self.link, self.link_place = torch.zeros(heads), torch.zeros(2, heads, dtype=torch.int64)

    @classmethod
    def start(cls, site: Site, pairs: Pairs, side: int) -> "Sums":
        """Of no query yet. `side`: patches along an axis of the small pictures, at most."""
        return cls(site, pairs, side)

    @classmethod
    def of_part(cls, site: Site, pairs: Pairs, side: int, part: Part) -> "Sums":
        """Those that the compiled pass found for a run of queries."""
        sums = cls(site, pairs, side)
        sums.values = torch.stack([part.values[name] for name in sums.names])
        sums.counts = torch.stack([part.counts[name].expand(site.heads) for name in sums.names])
        sums.received, sums.seen, sums.own = part.received, part.seen.expand(site.heads, -1), part.own
        sums.peak, sums.peak_rows, sums.link, sums.link_place = part.peak, part.peak_rows, part.link, part.link_place
        sums.patches.pooled, sums.patches.visible = part.pooled, part.visible
        return sums

    def update(self, pairs: BlockPairs, blocks: Iterable[Block]) -> None:
        """Add a run of queries, whose `blocks` hold all heads, some at a time. Their weights are used up."""
        folded, spoiled = [], False
        for block in blocks:
            folded.append(self._fold(pairs, block))
            spoiled |= block.spoiled
        whole = {name: torch.cat([one[name] for one in folded]).cpu() for name in folded[0]}
        keys, run, sight = pairs.sight.keys, pairs.rows, pairs.sight
        self.patches.see(run, sight)
        self.patches.update(run, sight, whole["tall"])
        received, by_row = whole["received"].double().unbind(1)
        counted = whole["counted"]
        self.received[:, keys] += received
        self.seen[:, keys] += _seen(counted, pairs) if spoiled else pairs.seen
        number = counted.sum(-1, dtype=torch.float64)
        values = {name: whole[name] for name in self.names if name in whole}
        counts: dict[str, Tensor] = {"entropy": number, "confidence": number, "sink": number}
        values["first"] = received[:, 0] if sight.first == 0 else torch.zeros(len(received))
        values["special"] = received[:, pairs.special].sum(-1)
        if pairs.own is not None:
            values["distance"], counts["distance"] = (
                _distance(whole["between"], received, by_row, pairs),
                received.sum(-1),
            )
        if pairs.lines is not None:
            values[self.line], counts[self.line] = whole["lines"], whole["on_patches"].double()
        for name, seeing in pairs.visible.items():
            counts[name] = (seeing & counted).sum(-1, dtype=torch.float64)
        self.values += torch.stack([values[name].double() for name in self.names])
        self.counts += torch.stack([counts[name] for name in self.names])
        better = whole["peak"] > self.peak[:, keys]
        self.peak[:, keys] = torch.maximum(self.peak[:, keys], whole["peak"])
        for row, here in zip((run.start, run.stop), self.peak_rows[:, :, keys], strict=True):
            here.masked_fill_(better, row)

    def _fold(self, pairs: BlockPairs, block: Block) -> dict[str, Tensor]:
        """What the weights of one block come to, by head."""
        weights = block.weights
        found = {"tall": self.patches.by_rows(pairs.rows, block)}
        block.clean()
        found |= {"received": _received(weights), "entropy": block.entropy, "confidence": block.largest.sum(-1)}
        found["counted"] = block.counted.expand(len(weights), -1)
        if block.sink is not None:
            found["sink"] = block.sink.sum(-1)
        if pairs.lines is not None:
            far, flat = pairs.lines.to(weights.device).flatten(), weights.flatten(1)
            found |= {"lines": flat @ far.nan_to_num(), "on_patches": flat @ far.isfinite().float()}
        if pairs.own is not None and pairs.copies is not None and pairs.after is not None:
            found["between"] = _between(block, pairs)
            found |= {name: _diagonal(weights, pairs.own + by).sum(-1) for name, by in BESIDE.items()}
            found |= {"same": pairs.copies.total(weights), "induction": pairs.after.total(weights)}
            own = _diagonal(weights, pairs.own)
            self.own[block.heads, pairs.sight.keys][:, pairs.beside] += own.cpu()
            own.zero_()
        for axis, places in ((2, pairs.special), (1, pairs.special_rows)):
            if len(places):
                weights.index_fill_(axis, places.to(weights.device), 0.0)
        self._link(weights, block.heads, pairs)
        pairs.alike.clear(weights)
        if len(pairs.other_rows):
            weights.index_fill_(1, pairs.other_rows.to(weights.device), 0.0)
        return found | {"peak": weights.amax(1)}

    def _link(self, weights: Float[Tensor, "h q n"], heads: slice, pairs: BlockPairs) -> None:
        """The strongest link between two different tokens, neither of them special: the first of equal ones."""
        best, row = weights.amax(-1).cpu().max(-1)
        better = (best > self.link[heads]).nonzero().squeeze(1)
        if not len(better):
            return
        rows = row[better]
        key = weights[better.to(weights.device), rows.to(weights.device)].argmax(-1).cpu()
        at = better + heads.start
        self.link[at] = best[better]
        self.link_place[:, at] = torch.stack([rows + pairs.rows.start, key + pairs.sight.first])

    def merge(self, other: "Sums") -> None:
        """Add the sums of other queries of the same site."""
        self.patches.merge(other.patches)
        for name in ("values", "counts", "received", "seen", "own"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        earlier = (other.link == self.link) & (other.link_place[0] < self.link_place[0])
        better = (other.link > self.link) | earlier
        self.link = torch.where(better, other.link, self.link)
        self.link_place = torch.where(better, other.link_place, self.link_place)
        better = (other.peak > self.peak) | ((other.peak == self.peak) & (other.peak_rows[0] < self.peak_rows[0]))
        self.peak = torch.where(better, other.peak, self.peak)
        self.peak_rows = torch.where(better, other.peak_rows, self.peak_rows)

    @property
    def totals(self) -> Totals:
        """The sums that texts of different lengths can be added up in."""
        return Totals(dict(zip(self.names, self.values, strict=True)), dict(zip(self.names, self.counts, strict=True)))

    def finish(self) -> HeadNumbers:
        """What the sums come to."""
        weights = [weight or None for weight in self.link.tolist()]
        places = (self.link_place + torch.tensor([[self.offset], [0]])).T.tolist()
        links = tuple(None if w is None else (*place, w) for w, place in zip(weights, places, strict=True))
        received = (self.received / self.seen.clamp_min(1)).float()
        from_others = (self.received - self.own).clamp_min(0).float()
        peaks = Peaks(torch.where(self.words, self.peak, 0.0), *self.peak_rows)
        means = in_order({**self.totals.means(), "link": tuple(weights)})
        return HeadNumbers(means, links, received, from_others, peaks, self.patches)


def sums_of(site: Site, pairs: Pairs, side: int, rows: slice | Sequence[slice] | None = None) -> Sums:
    """The sums over the queries in `rows`, one run of them or several; None: all that stand before a silence. `side`: as in
    `Sums.start`.
    """
    runs = [slice(0, pairs.shown[0])] if rows is None else [rows] if isinstance(rows, slice) else rows
    sums, reader = Sums.start(site, pairs, side), Rows(site)
    with torch.no_grad():
        whole = pairs.shown == (site.queries, site.keys)  # the compiled pass cuts nothing off
        known = whole and set(sums.names) <= set(NAMES) and not reader.whole
        if known and may_run(site, sum(run.stop - run.start for run in runs)):
            try:
                for part in parts_of(site, pairs, side, runs):
                    sums.merge(Sums.of_part(site, pairs, side, part))
                return sums
            except Exception as error:
                refuse(error)
                sums = Sums.start(site, pairs, side)
        for rows in runs:
            for run, sight in reader.runs(rows):
                sums.update(pairs.block(run, sight), reader.blocks(run, sight))
    return sums


def _received(weights: Float[Tensor, "h q n"]) -> Float[Tensor, "h 2 n"]:
    """Sums over the queries: of the weights, and of the weights times the number of their row."""
    count = weights.shape[1]
    factors = torch.stack([torch.ones(count), torch.arange(count, dtype=torch.float32)]).to(weights.device)
    return torch.bmm(factors.expand(len(weights), -1, -1), weights)


def _seen(counted: Bool[Tensor, "H q"], pairs: BlockPairs) -> Float[Tensor, "H n"]:
    """How many of the counted queries see each key."""
    allowed = pairs.sight.allowed
    if allowed is None:
        return counted.sum(-1, dtype=torch.float64)[:, None].expand(-1, pairs.sight.width)
    return torch.einsum("hq,hqn->hn", counted.double(), allowed.double().expand(len(counted), -1, -1))


def _between(block: Block, pairs: BlockPairs) -> Float[Tensor, " h"]:
    """Σ weight · |query − key| over the queries' own tokens as keys."""
    here, apart = block.weights[:, :, pairs.beside], pairs.apart.to(block.weights.device)
    if here.shape[2] == pairs.sight.width:
        return torch.mv(here.flatten(1), apart.flatten())
    return torch.mul(here, apart, out=block.spare(here.shape)).sum((1, 2))


def _distance(
    between: Float[Tensor, " H"], received: Float[Tensor, "H n"], by_row: Float[Tensor, "H n"], pairs: BlockPairs
) -> Float[Tensor, " H"]:
    """Σ weight · |query − key|, from the sums over queries where all of them are on one side of the key."""
    left, right = pairs.beside.start, pairs.beside.stop
    column = torch.arange(pairs.sight.width, dtype=torch.float64) - (pairs.own or 0)
    before = received[:, :left] @ -column[:left] + by_row[:, :left].sum(-1)
    behind = received[:, right:] @ column[right:] - by_row[:, right:].sum(-1)
    return before + behind + between.double()


def _diagonal(weights: Float[Tensor, "h q n"], column: int) -> Float[Tensor, "h d"]:
    """The weights of each row on the key one further than that of the row before; `column`: that of row 0."""
    _, queries, keys = weights.shape
    if not -queries < column < keys:
        return weights[:, 0, :0]
    return weights.diagonal(column, 1, 2)
