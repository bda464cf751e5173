"""The statistics of every head of a layer, for all texts of a batch at once.

Most statistics are sums of weights over certain cells (query, key): products of the weights with a matrix that has a column
for each of them. Texts of equal length share the columns that go by position; those that go by tokens are of each text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.statistics.compute import sums_of
from attnscope.statistics.definitions import STATISTICS
from attnscope.statistics.pairs import BESIDE, Pairs
from attnscope.statistics.rows import Rows
from attnscope.statistics.sight import Sight
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens

LONGEST = 1024  # tokens: longer texts are computed one by one, in blocks
BY_PLACE = (
    "all",
    "distance",
    *BESIDE,
    "first",
)  # sums over cells that all texts of a length share; "all": over every cell
BY_TOKEN = ("special", "same", "induction")
_KNOWN = {"entropy", "confidence", "sink", *BY_PLACE, *BY_TOKEN}
NAMES = tuple(
    s.name for s in STATISTICS if s.name in _KNOWN
)  # means over queries; "link" is a largest weight, and apart
COLUMN = {name: number for number, name in enumerate(NAMES)}


@dataclass(frozen=True, eq=False)
class Numbers:
    """Of B texts and N heads. `values`, `counts`: sums over queries, and of how many, in the order of NAMES.
    `link`, `query`, `key`: the strongest link of each text, and where it is; 0 where there is none."""

    values: Float[Tensor, "B N S"]
    counts: Float[Tensor, "B N S"]
    link: Float[Tensor, "B N"]
    query: Int[Tensor, "B N"]
    key: Int[Tensor, "B N"]


class TokenCells:
    """What the tokens of B texts of T tokens ask for."""

    def __init__(self, ids: Int[Tensor, "B T"], special: Bool[Tensor, "B T"]) -> None:
        self.ids, self.special = ids, special

    @cached_property
    def copies(self) -> Bool[Tensor, "B T T"]:
        """Pairs with an earlier place of the query's token, special tokens left out."""
        length = self.ids.shape[1]
        same = (self.ids[:, :, None] == self.ids[:, None]) & ~self.special[:, :, None]
        return same & torch.ones(length, length, dtype=torch.bool, device=same.device).tril(-1)

    @cached_property
    def after(self) -> Bool[Tensor, "B T T"]:
        """Pairs with what followed such a place."""
        return torch.nn.functional.pad(self.copies[:, :, :-1], (1, 0))

    @cached_property
    def words(self) -> Float[Tensor, "B T T"]:
        """1 between two different tokens of which neither is special."""
        plain = ~self.special
        both = plain[:, :, None] & plain[:, None]
        length = self.ids.shape[1]
        return (both & ~torch.eye(length, dtype=torch.bool, device=both.device)).float()

    def parts(self) -> tuple[Tensor, ...]:
        """Each of BY_TOKEN as pairs."""
        return self.special[:, None].expand(self.copies.shape), self.copies, self.after


class BatchNumbers:
    """The statistics of one batch; layers that share a mask share their columns."""

    def __init__(self, tokens: TokenCells) -> None:
        (self.texts, self.length), self._tokens = tokens.ids.shape, {tokens.ids.device: tokens}
        self._columns: dict[tuple, _Columns] = {}

    def of_layer(self, site: Site) -> Numbers:
        """`site`: of all rows of the batch."""
        heads = site.heads // self.texts
        values, counts = (torch.zeros(self.texts, heads, len(NAMES), dtype=torch.float64) for _ in range(2))
        link = torch.zeros(self.texts, heads)
        place = torch.zeros(self.texts, heads, dtype=torch.int64)
        reader = Rows(site)
        for run, sight in reader.runs(slice(0, site.queries)):
            columns = self._columns_of(site, run, sight)
            for block in reader.blocks(run, sight, heads):
                block.clean()
                rows = slice(block.heads.start // heads, block.heads.stop // heads)
                texts, whole = rows.stop - rows.start, block.counted.expand(len(block.weights), -1)
                shape = (texts, heads)
                flat = block.weights.flatten(1)
                by_place = (flat @ columns.by_place).view(*shape, -1).double().cpu()
                by_token = torch.bmm(flat.view(*shape, -1), columns.by_token[rows]).double().cpu()
                found = dict(zip(BY_PLACE, by_place.unbind(-1), strict=True))
                found |= dict(zip(BY_TOKEN, by_token.unbind(-1), strict=True))
                found |= {"entropy": block.entropy.view(shape), "confidence": block.largest.sum(-1).view(shape)}
                number = whole.sum(-1, dtype=torch.float64).view(shape).cpu()
                asked = {"entropy": number, "confidence": number, "distance": found.pop("all")}
                if block.sink is not None:
                    found["sink"], asked["sink"] = block.sink.sum(-1).view(shape), number
                for name, seen in columns.seen.items():
                    seeing = seen[rows] if len(seen) > 1 else seen
                    if len(block.counted) == 1:  # the same in every head
                        asked[name] = (block.counted & seeing).sum(-1, dtype=torch.float64)[:, None].cpu()
                    else:
                        asked[name] = (whole.view(*shape, -1) & seeing[:, None]).sum(-1, dtype=torch.float64).cpu()
                for name in found:
                    values[rows, :, COLUMN[name]] += found[name].double().cpu()
                    counts[rows, :, COLUMN[name]] += asked[name]
                clean = flat.view(*shape, -1).mul_(columns.words[rows, None])
                best, where = (part.cpu() for part in clean.max(-1))
                better = best > link[rows]
                at = (where // sight.width + run.start) * self.length + where % sight.width + sight.first
                link[rows], place[rows] = torch.where(better, best, link[rows]), torch.where(better, at, place[rows])
        return Numbers(values, counts, link, place // self.length, place % self.length)

    def _columns_of(self, site: Site, run: slice, sight: Sight) -> "_Columns":
        mask, tokens = site.mask, self._tokens_on(site.q.device)
        name = (site.q.device, run.start, run.stop, sight.first, sight.stop, mask.lower, mask.upper)
        if any(part is not None for part in (mask.keys, mask.rows, mask.packed)):
            return _Columns(tokens, run, sight)
        if name not in self._columns:
            self._columns[name] = _Columns(tokens, run, sight)
        return self._columns[name]

    def _tokens_on(self, device: torch.device) -> TokenCells:
        """The layers of a large model may lie on several devices."""
        if device not in self._tokens:
            first = next(iter(self._tokens.values()))
            self._tokens[device] = TokenCells(first.ids.to(device), first.special.to(device))
        return self._tokens[device]


class _Columns:
    """What a run of queries multiplies its weights with. `seen`: which queries see a cell of each statistic, [1 or B, q]."""

    def __init__(self, tokens: TokenCells, run: slice, sight: Sight) -> None:
        device = tokens.ids.device
        query, key = torch.arange(run.start, run.stop)[:, None], torch.arange(sight.first, sight.stop)
        apart = key - query
        cells = [torch.ones_like(apart), apart.abs(), *(apart == by for by in BESIDE.values()), key == 0]
        cells = [cell.expand(apart.shape) for cell in cells]
        self.by_place = torch.stack([cell.float().flatten() for cell in cells], 1).to(device)
        parts = [part[:, run, sight.keys] for part in tokens.parts()]
        self.by_token = torch.stack(parts, -1).flatten(1, 2).float()
        self.words = tokens.words[:, run, sight.keys].flatten(1)
        allowed = torch.ones(1, *apart.shape, dtype=torch.bool) if sight.allowed is None else sight.allowed
        self.seen = {
            name: (allowed & cell.bool()).any(-1).to(device) for name, cell in zip(BY_PLACE[2:], cells[2:], strict=True)
        }
        allowed = allowed.to(device)
        self.seen |= {name: (allowed & part).any(-1) for name, part in zip(BY_TOKEN, parts, strict=True)}


def numbers_of_text(sites: Sequence[Site], tokens: Tokens, names: Sequence[str] = NAMES) -> Numbers:
    """The same of one text, of any length and mask: `sites` are its layers. `names`: the statistics, in order."""
    column = {name: number for number, name in enumerate(names)}
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    known: dict[int, Pairs] = {}
    for site in sites:
        sums = sums_of(site, known.setdefault(site.query_offset, Pairs(site, tokens, tokens)), 1)
        values, counts = (torch.zeros(site.heads, len(names), dtype=torch.float64) for _ in range(2))
        for row, name in enumerate(sums.names):
            if name in column:
                values[:, column[name]], counts[:, column[name]] = sums.values[row], sums.counts[row]
        found.append((values, counts, sums.link, sums.link_place.T))
    values, counts, link, place = (torch.cat(parts)[None] for parts in zip(*found, strict=True))
    return Numbers(values, counts, link, *place.unbind(-1))
