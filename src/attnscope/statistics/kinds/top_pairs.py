"""The pairs with the largest weights of a head, with the tokens around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from attnscope.attention.precision import without_autocast
from attnscope.errors import InputError
from attnscope.statistics.further.block import HeadBlock, Run, Setting
from attnscope.statistics.rows import Rows
from attnscope.statistics.sink_tokens import set_aside
from attnscope.statistics.thumbnails import index_of, pairs_at
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace


@dataclass(frozen=True)
class Pair:
    """One weight. `query`, `key`: positions. `query_token`, `key_token`: what stands there. `around_query`, `around_key`:
    these and the tokens beside them, as people read them."""

    weight: float
    query: int
    key: int
    query_token: str
    key_token: str
    around_query: str
    around_key: str


class TopPairs:
    """The `most` largest weights of every head, of the queries seen so far. Equal weights: the earlier query, then the
    earlier key. `start`, `update`, `merge`, `finish`; made of plain tensors."""

    def __init__(self, heads: int, most: int, aside: Bool[Tensor, " K"]) -> None:
        self.most, self.aside = most, aside
        self.weights = [torch.zeros(0, dtype=torch.float64) for _ in range(heads)]
        self.places = [torch.zeros(0, 2, dtype=torch.int64) for _ in range(heads)]

    @classmethod
    def start(cls, heads: int, most: int, aside: Bool[Tensor, " K"]) -> "TopPairs":
        """Of no query yet. `aside`: keys that do not count."""
        return cls(heads, most, aside)

    def update(self, block: HeadBlock) -> None:
        """Add a run of queries, for some heads. Special tokens and a query's own token are left out."""
        run = block.run
        left_out = self.aside[run.sight.keys]
        if run.setting.site.kind == "self":
            left_out = left_out | (run.distance == 0)
        asking = torch.from_numpy(run.setting.pairs.query_special)[run.queries]
        weights = block.weights.masked_fill(left_out | asking[:, None], 0.0)
        for number, flat in enumerate(weights.flatten(1)):
            self._add(block.heads.start + number, *_largest(flat, self.most, run))

    def merge(self, other: "TopPairs") -> None:
        """Add the pairs of other queries."""
        for head, (weights, places) in enumerate(zip(other.weights, other.places, strict=True)):
            self._add(head, weights, places)

    def _add(self, head: int, weights: Tensor, places: Tensor) -> None:
        weights, places = torch.cat([self.weights[head], weights]), torch.cat([self.places[head], places])
        keys = zip((-weights).tolist(), *places.T.tolist(), strict=True)
        order = [at for _, at in sorted((key, at) for at, key in enumerate(keys))][: self.most]
        self.weights[head], self.places[head] = weights[order], places[order]

    def finish(self, head: int) -> list[tuple[float, int, int]]:
        """(weight, query, key) of one head, the largest first."""
        places = self.places[head].tolist()
        return [(weight, *place) for weight, place in zip(self.weights[head].tolist(), places, strict=True)]


def _largest(flat: Tensor, most: int, run: Run) -> tuple[Tensor, Tensor]:
    """The largest weights above 0 of a head's block and where they are; of equal ones the first."""
    least = flat.topk(min(most, len(flat))).values[-1].clamp_min(0)
    index = ((flat >= least) & (flat > 0)).nonzero()[:, 0]
    index = index[torch.argsort(-flat[index], stable=True)][:most]
    width = run.sight.width
    return flat[index], torch.stack([run.queries[index // width], run.keys[index % width]], 1)


@without_autocast
def top_pairs(
    trace: Trace, layer: Any, head: Any, most: int = 10, around: int = 3, stack: str | None = None
) -> tuple[Pair, ...]:
    """The pairs of a query and a key with the largest weights of one head, between different tokens, neither of them special
    and the key no sink token.

    `layer`, `head`, `stack`: as in Trace.site and Site.weights. `most`: how many. `around`: how many tokens to show on either
    side of each. Raises InputError for a head that is not there, and for numbers that are none.
    """
    for name, value, least in (("most", most, 1), ("around", around, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"expected {name} as a number from {least}, got {value!r}.")
    site = trace.site(layer, stack)
    number = site._head(head)
    queries, keys = trace.query_tokens(site), trace.key_tokens(site)
    setting = Setting(site, pairs_at(trace, index_of(trace, site)), keys)
    sums = TopPairs.start(site.heads, most, set_aside(trace, site).cpu())
    pairs_of_site(setting, sums, number)
    return tuple(
        Pair(
            weight,
            query,
            key,
            queries.shown[query],
            keys.shown[key],
            _around(queries, query, around),
            _around(keys, key, around),
        )
        for weight, query, key in sums.finish(number)
    )


def pairs_of_site(setting: Setting, sums: TopPairs, head: int | None = None) -> None:
    """Add all queries of a site that stand before a silence, of one head or of every one."""
    reader = Rows(setting.site)
    with torch.no_grad():
        for run, sight in reader.runs(slice(0, setting.pairs.shown[0])):
            seen = Run(setting, run, sight)
            for block in reader.blocks(run, sight):
                if head is None or block.heads.start <= head < block.heads.stop:
                    sums.update(HeadBlock.of(seen, block))


def _around(tokens: Tokens, place: int, number: int) -> str:
    shown: Sequence[str] = tokens.shown
    parts = [*shown[max(0, place - number) : place], f"[{shown[place]}]", *shown[place + 1 : place + 1 + number]]
    return " ".join(parts)
