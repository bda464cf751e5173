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

from attnscope.statistics.batch_rows import BatchRows
from attnscope.statistics.compute import sums_of
from attnscope.statistics.definitions import STATISTICS
from attnscope.statistics.pairs import BESIDE, Pairs
from attnscope.statistics.rows import Block
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
_BY_ROW = ("entropy", "confidence", "sink")
_FOUND = (*BY_PLACE[1:], *BY_TOKEN, *_BY_ROW)  # as they are computed
NAMES = tuple(
    s.name for s in STATISTICS if s.name in _FOUND
)  # means over queries; "link" is a largest weight, and apart
COLUMN = {name: number for number, name in enumerate(NAMES)}
_ORDER = [_FOUND.index(name) for name in NAMES]


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

    def of_layer(self, site: Site, q: Float[Tensor, "B H Q D"], k: Float[Tensor, "B Hkv K D"]) -> Numbers:
        """`site`: of one text. `q`, `k`: of all texts of the batch."""
        values, counts = (torch.zeros(site.heads, self.texts, len(_FOUND), dtype=torch.float64) for _ in range(2))
        link = torch.zeros(site.heads, self.texts)
        place = torch.zeros(site.heads, self.texts, dtype=torch.int64)
        reader = BatchRows(site, q, k)
        for run, sight in reader.runs(slice(0, site.queries)):
            columns = self._columns_of(site, q.device, run, sight)
            for block in reader.blocks(run, sight, self.texts):
                block.clean()
                heads = slice(block.heads.start // self.texts, block.heads.stop // self.texts)
                asked = columns.asked(block)
                weights = block.weights.view(heads.stop - heads.start, self.texts, -1)
                found = columns.sums(weights, block)
                counts[heads, :, 1:] += asked
                counts[heads, :, 0] += found[..., 0]  # the distance is a mean over all weight
                if block.sink is None:
                    counts[heads, :, -1] = 0.0
                values[heads, :, : found.shape[-1] - 1] += found[..., 1:]
                best, where = (part.cpu() for part in weights.mul_(columns.words).max(-1))
                better = best > link[heads]
                at = (where // sight.width + run.start) * self.length + where % sight.width + sight.first
                link[heads] = torch.where(better, best, link[heads])
                place[heads] = torch.where(better, at, place[heads])
        values, counts, link, place = (
            part.transpose(0, 1) for part in (values[..., _ORDER], counts[..., _ORDER], link, place)
        )
        return Numbers(values, counts, link, place // self.length, place % self.length)

    def _columns_of(self, site: Site, device: torch.device, run: slice, sight: Sight) -> "_Columns":
        mask, tokens = site.mask, self._tokens_on(device)
        name = (device, run.start, run.stop, sight.first, sight.stop, mask.lower, mask.upper)
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
    """What a run of q queries, which sees n keys, multiplies its weights with; for B texts."""

    def __init__(self, tokens: TokenCells, run: slice, sight: Sight) -> None:
        device, self.texts = tokens.ids.device, len(tokens.ids)
        query, key = torch.arange(run.start, run.stop)[:, None], torch.arange(sight.first, sight.stop)
        apart = key - query
        cells = [torch.ones_like(apart), apart.abs(), *(apart == by for by in BESIDE.values()), key == 0]
        cells = [cell.expand(apart.shape) for cell in cells]
        self.by_place = torch.stack([cell.float().flatten() for cell in cells], 1).to(device)
        parts = [part[:, run, sight.keys] for part in tokens.parts()]
        self.by_token = torch.stack(parts, -1).flatten(1, 2).float()
        self.words = tokens.words[:, run, sight.keys].flatten(1)
        allowed = torch.ones(1, *apart.shape, dtype=torch.bool) if sight.allowed is None else sight.allowed
        allowed = allowed.to(device)
        seen = [(allowed & cell.bool().to(device)).any(-1).expand(self.texts, -1) for cell in cells[2:]]
        seen += [(allowed & part).any(-1) for part in parts]
        self._seen = torch.stack([*seen, *(torch.ones_like(seen[0]) for _ in _BY_ROW)], 1)  # [B, statistics, q]
        self._asked: Tensor | None = None

    def sums(self, weights: Float[Tensor, "h B cells"], block: Block) -> Float[Tensor, "h B _"]:
        """All weight, then the sums of _FOUND over these queries; without the sink where there is none."""
        by_place = weights.flatten(0, 1) @ self.by_place
        by_token = torch.bmm(weights.transpose(0, 1), self.by_token).transpose(0, 1)
        by_row = [block.entropy, block.largest.sum(-1), *([] if block.sink is None else [block.sink.sum(-1)])]
        shape = (*weights.shape[:2], -1)
        return torch.cat([by_place.view(shape), by_token, torch.stack(by_row, -1).view(shape)], -1).double().cpu()

    def asked(self, block: Block) -> Float[Tensor, "#h B _"]:
        """How many of the counted queries see a cell of each statistic of _FOUND behind the first."""
        if len(block.counted) == len(block.weights):
            rows = block.counted.view(-1, self.texts, 1, block.counted.shape[-1])
            return (rows & self._seen).sum(-1, dtype=torch.float64).cpu()
        if self._asked is None:  # by the mask alone: the same for all blocks
            self._asked = (block.counted & self._seen)[None].sum(-1, dtype=torch.float64).cpu()
        return self._asked


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
