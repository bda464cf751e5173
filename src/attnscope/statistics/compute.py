"""The statistics of every head of a site, added up while its weights are computed block by block.

definitions.py says what each of them is.
"""

from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.statistics.definitions import STATISTICS
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens


class Pairs:
    """Which pairs of a query and a key the statistics ask for, by positions and tokens."""

    def __init__(self, site: Site, queries: Tokens, keys: Tokens) -> None:
        self.site = site
        self.crossing = site.kind == "cross"
        self.positions = torch.arange(site.keys)
        self.special = torch.tensor(keys.special[: site.keys], dtype=torch.bool)
        self.query_special = torch.tensor(queries.special, dtype=torch.bool)
        names: dict[int | str, int] = {}
        self.names = torch.tensor([names.setdefault(name, len(names)) for name in (keys.ids or keys.strings)])

    @cached_property
    def asked(self) -> tuple[str, ...]:
        own = () if self.crossing else ("itself", "previous", "next", "same", "induction")
        return (*own, "first", *(("special",) if bool(self.special.any()) else ()))

    def masks(self, rows: Int[Tensor, " q"]) -> Bool[Tensor, "n q K"]:
        """True at the pairs of each statistic in `asked`."""
        count, keys = len(rows), self.positions
        found = {"first": (keys == 0).expand(count, -1), "special": self.special.expand(count, -1)}
        if not self.crossing:
            query = (rows + self.site.query_offset)[:, None]
            name = self.names[query]
            real = ~self.query_special[query]
            before = torch.cat([torch.tensor([-1]), self.names[: len(keys) - 1]])
            found |= {"itself": keys == query, "previous": keys == query - 1, "next": keys == query + 1}
            found["same"] = (self.names[: len(keys)] == name) & (keys < query) & real
            found["induction"] = (before == name) & (keys <= query) & real
        return torch.stack([found[name] for name in self.asked])

    def links(self, rows: Int[Tensor, " q"]) -> Bool[Tensor, "q K"]:
        """True between two different tokens, neither of them special."""
        query = (rows + self.site.query_offset)[:, None]
        real = ~self.special & ~self.query_special[query]
        return real if self.crossing else real & (self.positions != query)

    def distance(self, rows: Int[Tensor, " q"]) -> Float[Tensor, "q K"]:
        return (self.positions - (rows + self.site.query_offset)[:, None]).abs().float()


class Sums:
    """Sums over the rows seen so far, per head, and what they come to."""

    def __init__(self, heads: int) -> None:
        self.totals: dict[str, tuple[Tensor, Tensor]] = {}
        self.heads = heads
        self.links: list[tuple[int, int, float] | None] = [None] * heads

    def add(
        self,
        weights: Float[Tensor, "H q K"],
        allowed: Bool[Tensor, "*h q K"] | None,
        pairs: Pairs,
        rows: Int[Tensor, " q"],
        sinks: bool,
    ) -> None:
        mass = weights.sum(-1)
        counted = mass.isfinite()
        if allowed is not None:
            counted &= allowed.any(-1)
        clean = weights if bool(counted.all()) else torch.where(counted[..., None], weights, 0.0)
        mass = torch.where(counted, mass, 0.0)
        entropy = torch.special.entr(clean).sum(-1)
        if sinks:
            rest = torch.where(counted, (1 - mass).clamp_min(0), 0.0)
            entropy += torch.special.entr(rest)
            self._sum("sink", rest, counted)
        self._sum("entropy", entropy, counted)
        self._sum("confidence", clean.amax(-1), counted)
        masks = pairs.masks(rows)
        some = masks.float()
        values = torch.einsum("hqk,nqk->nhq", clean, some)
        seen = masks.any(-1)[:, None] if allowed is None else self._seen(allowed, masks)
        for index, name in enumerate(pairs.asked):
            self._sum(name, values[index], counted & seen[index])
        if not pairs.crossing:
            self._sum("distance", torch.einsum("hqk,qk->hq", clean, pairs.distance(rows)), mass)
        self._strongest(clean * pairs.links(rows), rows + pairs.site.query_offset)

    @staticmethod
    def _seen(allowed: Bool[Tensor, "*h q K"], masks: Bool[Tensor, "n q K"]) -> Bool[Tensor, "n h q"]:
        """Whether the query may see one of the pairs: the same for every head (h = 1), unless masks differ."""
        by_head = allowed.reshape(-1, *masks.shape[1:])
        return torch.stack([(by_head & mask).any(-1) for mask in masks])

    def _sum(self, name: str, values: Float[Tensor, "H q"], of: Tensor) -> None:
        value, count = self.totals.get(name, (torch.zeros(self.heads, dtype=torch.float64),) * 2)
        kept = torch.where(of > 0, values, 0.0) if of.dtype == torch.bool else values
        self.totals[name] = (value + kept.sum(-1, dtype=torch.float64), count + of.sum(-1, dtype=torch.float64))

    def _strongest(self, weights: Float[Tensor, "H q K"], queries: Int[Tensor, " q"]) -> None:
        best, place = weights.flatten(1).max(-1)
        for head, (weight, at) in enumerate(zip(best.tolist(), place.tolist(), strict=True)):
            known = self.links[head]
            if weight > (known[2] if known else 0.0):
                row, key = divmod(at, weights.shape[-1])
                self.links[head] = (int(queries[row]), key, weight)

    @property
    def statistics(self) -> dict[str, tuple[float | None, ...]]:
        """By name, in the order of STATISTICS; a statistic that no head has is left out."""
        found: dict[str, tuple[float | None, ...]] = {}
        for name, (value, count) in self.totals.items():
            found[name] = tuple(v / c if c else None for v, c in zip(value.tolist(), count.tolist(), strict=True))
        found["link"] = tuple(None if link is None else link[2] for link in self.links)
        kept = (s.name for s in STATISTICS if any(v is not None for v in found.get(s.name, ())))
        return {name: found[name] for name in kept}
