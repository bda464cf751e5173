"""What a statistic sees of a site: its tokens and mask once, then block by block the weights in fp64."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.statistics.further.delimiters import newlines, punctuation
from attnscope.statistics.pairs import Pairs
from attnscope.statistics.rows import Block, of_heads
from attnscope.statistics.sight import Sight
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens


class Setting:
    """A site and its tokens, before any weights pass by. `names`: the number of each key's token in the vocabulary."""

    def __init__(self, site: Site, pairs: Pairs, keys: Tokens) -> None:
        self.site, self.pairs, self.tokens = site, pairs, keys
        self.special = torch.from_numpy(pairs.special)
        self.names = torch.from_numpy(pairs.names)

    @cached_property
    def punctuation(self) -> Bool[Tensor, " K"]:
        return torch.tensor(punctuation(self.tokens)[: self.site.keys])

    @cached_property
    def newlines(self) -> Bool[Tensor, " K"]:
        return torch.tensor(newlines(self.tokens)[: self.site.keys])

    @cached_property
    def norms(self) -> Float[Tensor, "H K"]:
        """‖v · W_O‖ of every head and key."""
        return self.site.norms()[1].cpu().double()

    @property
    def writes(self) -> bool:
        """Whether ‖v · W_O‖ is known."""
        return knows_writes(self.site)

    @property
    def square(self) -> bool:
        """Whether queries and keys are the same tokens."""
        return self.site.kind == "self" and self.site.query_offset == 0 and self.site.queries == self.site.keys


def knows_writes(site: Site) -> bool:
    """Whether ‖v · W_O‖ of a site is known, by W_O or from a file."""
    return not site.weights_only and (site.projection is not None or site.stored is not None)


class Run:
    """A run of queries, `rows`, and the n keys of its `sight`: the same for every head."""

    def __init__(self, setting: Setting, rows: slice, sight: Sight) -> None:
        self.setting, self.rows, self.sight = setting, rows, sight
        self.keys = torch.arange(sight.first, sight.stop)
        self.queries = torch.arange(rows.start, rows.stop) + setting.site.query_offset

    @cached_property
    def distance(self) -> Float[Tensor, "q n"]:
        """|query − key|."""
        return (self.keys - self.queries[:, None]).abs().double()

    @cached_property
    def patterns(self) -> "dict[str, Pattern]":
        """Of every pair of a query and any key: whether the key is the token before, an earlier copy, or what followed one.
        Special tokens have copies too."""
        names, every = self.setting.names, torch.arange(self.setting.site.keys)
        same = (names[every] == names[self.queries][:, None]) & (every < self.queries[:, None])
        after = torch.roll(same, 1, 1)
        after[:, 0] = False
        found = {"previous": every == self.queries[:, None] - 1, "same": same, "induction": after}
        return {name: Pattern.of(pairs, self.sight.keys) for name, pairs in found.items()}


@dataclass(frozen=True)
class Pattern:
    """Pairs of a run of queries. `rows`, `columns`: those within the sight. `number`: how many keys each query has."""

    rows: Int[Tensor, " m"]
    columns: Int[Tensor, " m"]
    number: Float[Tensor, " q"]

    @classmethod
    def of(cls, pairs: Bool[Tensor, "q K"], keys: slice) -> "Pattern":
        """Of all keys; `keys`: those of the sight."""
        rows, columns = pairs[:, keys].nonzero(as_tuple=True)
        return cls(rows, columns, pairs.sum(-1, dtype=torch.float64))


@dataclass(frozen=True, eq=False)
class HeadBlock:
    """The weights of a run of queries for the heads in `heads`; rows that do not count are 0, and False in `counted`."""

    run: Run
    heads: slice
    weights: Float[Tensor, "h q n"]
    counted: Bool[Tensor, "h q"]
    sink: Float[Tensor, "h q"] | None

    @classmethod
    def of(cls, run: Run, block: Block) -> "HeadBlock":
        """What passes by, which is used up."""
        block.clean()
        weights = block.weights.cpu().double()
        counted = block.counted.cpu().expand(len(weights), -1)
        return cls(run, block.heads, weights, counted, None if block.sink is None else block.sink.cpu().double())

    @property
    def number(self) -> Float[Tensor, " h"]:
        """How many queries count."""
        return self.counted.sum(-1, dtype=torch.float64)

    @cached_property
    def total(self) -> Float[Tensor, " h"]:
        """All weight."""
        return self.weights.sum((1, 2))

    @cached_property
    def on_patterns(self) -> dict[str, Float[Tensor, " h"]]:
        """The weight on the pairs of each pattern."""
        patterns = self.run.patterns
        return {name: self.weights[:, one.rows, one.columns].sum(-1) for name, one in patterns.items()}

    @cached_property
    def allowed(self) -> Bool[Tensor, "#h q n"]:
        """Which pairs may be seen. Of a site that has weights alone: those with weight."""
        if self.run.setting.site.weights_only:
            return self.weights > 0
        allowed = self.run.sight.allowed
        if allowed is None:
            return torch.ones(1, *self.weights.shape[1:], dtype=torch.bool)
        return allowed[of_heads(allowed, self.heads)]

    @cached_property
    def shares(self) -> Float[Tensor, "h q n"]:
        """Each key's part of what the head writes, by length: w · ‖v · W_O‖ over the sum of these; 0 where that is 0."""
        sizes = self.weights * self.run.setting.norms[self.heads, None, self.run.sight.keys]
        total = sizes.sum(-1, keepdim=True)
        return sizes / torch.where(total > 0, total, 1.0)

    def on(self, columns: Bool[Tensor, " K"], weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The weight on some keys, added up over the queries that may see one, and how many these are."""
        here = columns[self.run.sight.keys].nonzero()[:, 0]
        weights = self.weights if weights is None else weights
        if not len(here):
            return torch.zeros(len(weights), dtype=torch.float64), torch.zeros(len(weights), dtype=torch.float64)
        seeing = self.counted & self.allowed[..., here].any(-1)
        mass = weights[..., here].sum(-1)
        return torch.where(seeing, mass, 0.0).sum(-1), seeing.sum(-1, dtype=torch.float64)

    def at_own(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The weight on the query's own token, and how many queries may see it."""
        run = self.run
        inside = (run.queries >= run.sight.first) & (run.queries < run.sight.stop)
        rows, columns = torch.arange(len(run.queries))[inside], (run.queries - run.sight.first)[inside]
        seeing = self.counted[:, rows] & self.allowed[:, rows, columns]
        return torch.where(seeing, weights[:, rows, columns], 0.0).sum(-1), seeing.sum(-1, dtype=torch.float64)
