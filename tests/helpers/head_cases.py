"""Attentions of every kind, small, and all numbers of their heads from all weights at once, in fp64."""

from dataclasses import replace

import numpy as np
import torch

from attnscope.statistics.compute import HeadNumbers, sums_of
from attnscope.statistics.definitions import STATISTICS
from attnscope.statistics.pairs import Pairs
from attnscope.tracing.biases import BiasRule
from attnscope.tracing.masks import MaskRule, causal_rule
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace
from closeness import close, through_softmax

SIDE = 17
QUERIES, SIZE = 61, 7
VOCABULARY = "the The cat , sat mat on it was a ##s".split()


def tokens_of(count: int) -> Tokens:
    """Words that come again, pieces of words, punctuation, special tokens at both ends and one within."""
    choice = torch.randint(len(VOCABULARY), (count,), generator=torch.Generator().manual_seed(count)).tolist()
    strings = [VOCABULARY[i] for i in choice]
    special = [i in (0, count // 3, count - 1) for i in range(count)]
    words, number = [], -1
    for string, is_special in zip(strings, special, strict=True):
        number += not is_special and (not string.startswith("##") or number < 0)
        words.append(None if is_special else number)
    return Tokens(tuple(strings), special=tuple(special), words=tuple(words))


def made(heads: int = 3, kv_heads: int = 3, keys: int = QUERIES, queries: int = QUERIES, **extras) -> Site:
    generator = torch.Generator().manual_seed(7)
    q, k, v = (
        torch.randn(count, length, SIZE, generator=generator) * 2
        for count, length in ((heads, queries), (kv_heads, keys), (kv_heads, keys))
    )
    return Site(q, k, v, SIZE**-0.5, **extras)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def packed(heads: int) -> MaskRule:
    allowed = torch.rand(heads, QUERIES, QUERIES, generator=torch.Generator().manual_seed(3)) < 0.4
    allowed[:, 11] = False
    return MaskRule(packed=torch.from_numpy(np.packbits(allowed.numpy(), axis=-1)))


def holes(*hidden: int) -> torch.Tensor:
    kept = torch.ones(QUERIES, dtype=torch.bool)
    kept[list(hidden)] = False
    return kept


def broken() -> Site:
    """A query that is NaN, an infinite one, a hidden key that is NaN, and scores near the largest number."""
    site = made(mask=MaskRule(upper=0, keys=holes(17)))
    site.q[0, 5, 2], site.q[1, 9], site.k[2, 17] = float("nan"), float("inf"), float("nan")
    site.q[2, 23] *= 1e37
    return site


def given() -> Site:
    weights = (drawn(3, QUERIES, QUERIES) * 3).softmax(-1)
    weights[1, 7, 3] = float("nan")
    return Trace.from_attentions(weights, list(tokens_of(QUERIES).strings)).sites[0]


CASES = {
    "everything seen": made,
    "causal": lambda: made(mask=causal_rule(QUERIES, QUERIES)),
    "window": lambda: made(mask=causal_rule(QUERIES, QUERIES, window=13)),
    "window to both sides": lambda: made(mask=MaskRule(lower=-5, upper=9)),
    "padding on both sides": lambda: made(mask=MaskRule(upper=0, keys=holes(0, 1, 2, 58, 59, 60))),
    "holes and rows without a key": lambda: made(mask=MaskRule(keys=holes(4, 31), rows=holes(2, 40, 41))),
    "rows without a key that spread": lambda: made(
        mask=MaskRule(upper=0, keys=holes(0, 1), uniform_empty_rows=True),
    ),
    "huge, and rows that spread": lambda: replace(
        made(mask=MaskRule(upper=0, keys=holes(0, 1), uniform_empty_rows=True)), scaling=1e36
    ),
    "a mask of bits": lambda: made(mask=packed(1)),
    "a mask for each head": lambda: made(mask=packed(3)),
    "grouped, with sinks": lambda: made(6, 2, mask=causal_rule(QUERIES, QUERIES), sinks=drawn(6) * 3),
    "sinks, and rows without a key": lambda: made(
        mask=MaskRule(rows=holes(3), uniform_empty_rows=True), sinks=drawn(3)
    ),
    "softcap": lambda: made(softcap=1.5),
    "bias by distance": lambda: made(
        position_bias=BiasRule(diagonals=drawn(3, 2 * QUERIES - 1)), mask=causal_rule(QUERIES, QUERIES)
    ),
    "bias of every pair": lambda: made(position_bias=BiasRule(cells=drawn(1, QUERIES, QUERIES))),
    "bias by parts": lambda: made(queries=42, keys=42, position_bias=BiasRule(blocks=drawn(3, 6, 7, 7))),
    "a cached step": lambda: made(queries=19, mask=causal_rule(19, QUERIES, offset=QUERIES - 19)),
    "cross": lambda: made(keys=43, kind="cross", stack="cross"),
    "NaN and infinities": broken,
    "weights alone": given,
    "half precision": lambda: replace(made(4, 2), **{x: getattr(made(4, 2), x).half() for x in "qkv"}),
}


class Dense:
    """All numbers of a head from all of its weights, in fp64."""

    def __init__(self, site: Site, queries: Tokens, keys: Tokens, head: int) -> None:
        self.weights = site.weights(head).double().numpy()
        self.allowed = np.ones_like(self.weights, dtype=bool)
        if not site.mask.is_empty:
            self.allowed = site.mask.allowed(torch.arange(site.queries), site.keys, head).numpy()
        self.counted = np.isfinite(self.weights.sum(-1)) & self.allowed.any(-1)
        self.clean = np.where(self.counted[:, None], self.weights, 0.0)
        self.rest = None if site.sinks is None else np.where(self.counted, (1 - self.clean.sum(-1)).clip(0), 0.0)
        self.at = np.arange(site.queries) + site.query_offset
        self.crossing = site.kind == "cross"
        count = site.keys
        special = np.array([[keys.special[j] for j in range(count)]])
        query_special = np.array([[queries.special[i]] for i in self.at])
        name, before = np.array(keys.strings), np.array(["", *keys.strings[:-1]])
        own, column = np.array(queries.strings)[self.at][:, None], np.arange(count)[None]
        at = self.at[:, None]
        self.pairs = {"first": column == 0, "special": special}
        if not self.crossing:
            self.pairs |= {"itself": column == at, "previous": column == at - 1, "next": column == at + 1}
            self.pairs["same"] = (name[:count] == own) & (column < at) & ~query_special
            self.pairs["induction"] = (before[:count] == own) & (column <= at) & (column > 0) & ~query_special
        self.linked = ~special & ~query_special & (self.crossing | (column != at))
        self.words = np.array([[self._different(queries, keys, i, j) for j in range(count)] for i in self.at])

    def _different(self, queries: Tokens, keys: Tokens, i: int, j: int) -> bool:
        a, b = queries.words[i], keys.words[j]
        if a is None or b is None or queries.special[i] or keys.special[j]:
            return False
        one, other = queries.word_text[a], keys.word_text[b]
        if not any(map(str.isalnum, one)) or not any(map(str.isalnum, other)):
            return False
        return one.casefold() != other.casefold() and (self.crossing or abs(a - b) > 1)

    def statistics(self) -> dict[str, float | None]:
        w, rows = self.clean, self.counted
        found: dict[str, float | None] = {}
        logs = np.where(w > 0, np.log(np.where(w > 0, w, 1)), 0)
        entropy = -(w * logs).sum(-1)
        if self.rest is not None:
            entropy += np.where(self.rest > 0, -self.rest * np.log(np.where(self.rest > 0, self.rest, 1)), 0)
            found["sink"] = self._mean(self.rest, rows)
        found |= {"entropy": self._mean(entropy, rows), "confidence": self._mean(w.max(-1), rows)}
        if not self.crossing:
            far = np.abs(np.arange(w.shape[1]) - self.at[:, None])
            found["distance"] = float((w * far).sum() / w.sum()) if w.sum() else None
        for name, pairs in self.pairs.items():
            there = np.broadcast_to(pairs, w.shape)
            found[name] = self._mean((w * there).sum(-1), rows & (self.allowed & there).any(-1))
        found["link"] = float((w * self.linked).max()) or None
        return found

    @staticmethod
    def _mean(values: np.ndarray, rows: np.ndarray) -> float | None:
        return float(values[rows].mean()) if rows.any() else None

    def received(self) -> np.ndarray:
        return self.clean.sum(0) / (self.allowed & self.counted[:, None]).sum(0).clip(1)

    def pooled(self, side: int) -> np.ndarray:
        rows, columns = (np.arange(min(side, n)) * n // min(side, n) for n in self.weights.shape)
        return np.maximum.reduceat(np.maximum.reduceat(self.weights, rows, 0), columns, 1)


def numbers_of(site: Site) -> HeadNumbers:
    """What attnscope says of a site with these tokens."""
    queries, keys = tokens_of(QUERIES), tokens_of(site.keys)
    return sums_of(site, Pairs(site, queries, keys if site.kind == "cross" else queries), SIDE).finish()


def assert_numbers(site: Site, found: HeadNumbers) -> None:
    """Every number of every head is that of all weights at once."""
    queries, keys = tokens_of(QUERIES), tokens_of(site.keys)
    scores = torch.zeros(1) if site.weights_only else site.scores()
    size = through_softmax(scores[scores.abs() < 1e6])
    roughly = 1e3 if scores.isfinite().any() and float(scores[scores.isfinite()].abs().max()) > 1e6 else 1.0
    for head in range(site.heads):
        dense = Dense(site, queries, keys if site.kind == "cross" else queries, head)
        expected = dense.statistics()
        for statistic in STATISTICS:
            mine = found.statistics.get(statistic.name, (None,) * site.heads)[head]
            theirs = expected.get(statistic.name)
            assert (mine is None) == (theirs is None), statistic.name
            if mine is not None and theirs is not None:
                assert close(mine, theirs, magnitude=size * roughly * max(1, theirs)), statistic.name
        if found.links[head] is not None:
            query, key, weight = found.links[head]
            assert dense.linked[query - site.query_offset, key]
            assert close(weight, dense.clean[query - site.query_offset, key], magnitude=size)
        assert close(found.received[head], dense.received(), torch.float32, size)
        among = np.where(dense.words, dense.clean, 0.0)
        assert close(found.peaks.weight[head], among.max(0), torch.float32, size)
        for key in range(site.keys):
            run = among[found.peaks.start[head, key] : found.peaks.stop[head, key], key]
            assert not among[:, key].any() or close(run.max(), among[:, key].max(), torch.float32, size)
        assert close(found.patches.pooled[head], dense.pooled(SIDE), torch.float32, size)
