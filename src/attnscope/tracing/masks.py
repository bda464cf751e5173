"""Masks as the rule that reproduces them.

A mask has a cell for every pair of tokens: kept as it comes, 4,096 tokens need 16 to 64 MB, for a thing that is
nearly always "no later token, no padding". So a mask is kept as a rule (a band of diagonals × allowed keys × allowed
queries) whenever that reproduces it bit for bit, and as packed bits otherwise.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

from attnscope.tracing.query_blocks import query_blocks


@dataclass(frozen=True, eq=False)
class MaskRule:
    """Which keys a query may see: lower <= key - query <= upper, and keys[key], and rows[query]; or packed bits.

    `lower`, `upper`: bounds of key - query, in tokens (None: none). A causal mask with offset o has upper = o; a causal
        window of w has lower = 1 - w as well; a bidirectional window has both.
    `keys`: [K], False for keys that no query may see (padding). `rows`: [Q], False for queries that may see nothing.
    `packed`: where no such rule fits, one bit a pair, [Hm, Q, bytes]; Hm is 1 where heads share it.
    `uniform_empty_rows`: what the implementation does with a query that may see nothing. False gives zeros (sdpa,
        boolean masks), True spreads 1/K over all keys (masks of finfo.min).
    """

    lower: int | None = None
    upper: int | None = None
    keys: Bool[Tensor, " K"] | None = None
    rows: Bool[Tensor, " Q"] | None = None
    packed: UInt8[Tensor, "Hm Q bytes"] | None = None
    uniform_empty_rows: bool = False

    @property
    def is_empty(self) -> bool:
        """True when every query may see every key."""
        return all(part is None for part in (self.lower, self.upper, self.keys, self.rows, self.packed))

    @property
    def fill(self) -> float:
        """The score a masked pair gets: finite where the implementation spreads a row without keys evenly."""
        return torch.finfo(torch.float32).min if self.uniform_empty_rows else -math.inf

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self.keys, self.rows, self.packed) if part is not None)

    def allowed(
        self, queries: Shaped[Tensor, " q"], keys: int, head: int | None = None, first: int = 0
    ) -> Bool[Tensor, "*H q {keys}-{first}"]:
        """True where a query may see a key: [q, K]; [H, q, K] if heads differ and `head` is None.

        `queries`: their positions, [q]. `keys`: K. `head`: which head's mask, from 0. `first`: of the keys before it
            there are no columns.
        """
        queries = queries.cpu()
        if self.packed is not None:
            packed = self.packed if head is None else self.packed[head if len(self.packed) > 1 else 0][None]
            bits = np.unpackbits(packed[:, queries, first // 8 :].numpy(), axis=-1, count=keys - first // 8 * 8)
            allowed = torch.from_numpy(bits[..., first % 8 :]).bool()
            return allowed[0] if len(allowed) == 1 else allowed
        offset = torch.arange(first, keys) - queries[:, None]
        allowed = torch.ones(len(queries), keys - first, dtype=torch.bool)
        if self.lower is not None:
            allowed &= offset >= self.lower
        if self.upper is not None:
            allowed &= offset <= self.upper
        if self.keys is not None:
            allowed &= self.keys[first:keys]
        if self.rows is not None:
            allowed &= self.rows[queries, None]
        return allowed

    def span(self, queries: slice, keys: int) -> tuple[int, int]:
        """(first, stop) of the keys outside which a run of `queries` sees none of the `keys`; at least one key wide."""
        first, stop = 0, keys
        if self.packed is None:
            if self.lower is not None:
                first = max(first, queries.start + self.lower)
            if self.upper is not None:
                stop = min(stop, queries.stop + self.upper)
            if self.keys is not None and bool(self.keys.any()):
                seen = self.keys.nonzero()
                first, stop = max(first, int(seen[0])), min(stop, int(seen[-1]) + 1)
        first = min(first, keys - 1)
        return first, max(stop, first + 1)

    def seen(self, queries: int, keys: int) -> int:
        """How many keys there are up to the last one that some query may see. `queries`, `keys`: Q and K."""
        position = torch.arange(queries)
        last = 0
        for rows in query_blocks(queries, keys):
            allowed = self.allowed(position[rows], keys).reshape(-1, keys).any(0).nonzero()
            last = max(last, int(allowed.max()) + 1 if len(allowed) else 0)
        return last

    def own_keys(self, queries: int, keys: int) -> int | None:
        """Where the queries' own tokens stand among more keys, by a causal mask: 0 at their beginning, K - Q at their end.

        None where the mask does not tell. `queries`, `keys`: Q and K, other than each other.
        """
        if queries < 2 or keys < queries:
            return None
        rows = torch.tensor(sorted({0, queries // 2, queries - 2}))
        allowed = self.allowed(rows, keys).reshape(-1, len(rows), keys)
        for first in (0, keys - queries):
            own = allowed[..., first : first + queries]
            later = torch.arange(queries) > rows[:, None]
            if not bool((own & later).any()) and bool(own[:, torch.arange(len(rows)), rows].all()):
                return first
        return None

    def cut(self, keys: int) -> "MaskRule":
        """The rule for the first `keys` keys."""
        seen = None if self.keys is None or bool(self.keys[:keys].all()) else self.keys[:keys]
        packed = None if self.packed is None else self.packed[..., : -(-keys // 8)].clone()
        return replace(self, keys=seen, packed=packed)

    def behind(self, front: int, queries: int, keys: int) -> "MaskRule":
        """The rule with `front` more keys before its `keys` keys, which no query may see."""
        if self.packed is not None:
            allowed = self.allowed(torch.arange(queries), keys).reshape(-1, queries, keys)
            return rule_of(torch.nn.functional.pad(allowed, (front, 0)), self.uniform_empty_rows)
        seen = torch.ones(keys, dtype=torch.bool) if self.keys is None else self.keys
        lower, upper = (None if bound is None else bound + front for bound in (self.lower, self.upper))
        return replace(self, lower=lower, upper=upper, keys=torch.cat([torch.zeros(front, dtype=torch.bool), seen]))

    def describe(self) -> str:
        """The rule in words, for people: "causal, window of 4, 3 of 12 keys are padding"."""
        if self.packed is not None:
            return "a mask of its own, kept as bits"
        parts = []
        if self.upper is not None and self.lower is not None and self.lower == -self.upper:
            parts.append(f"window of {self.upper} tokens to each side")
        else:
            if self.upper is not None:
                parts.append("causal" if self.upper == 0 else f"causal, offset {self.upper}")
            if self.lower is not None:
                parts.append(f"window of {(self.upper or 0) - self.lower + 1} tokens")
        if self.keys is not None:
            parts.append(f"{int((~self.keys).sum())} of {len(self.keys)} keys hidden (padding)")
        if self.rows is not None:
            parts.append(f"{int((~self.rows).sum())} queries may see nothing")
        return ", ".join(parts) or "no mask"


NO_MASK = MaskRule()


def causal_rule(queries: int, keys: int, offset: int = 0, window: int | None = None) -> MaskRule:
    """key <= query + offset, and within `window` tokens where one is given; no rule where that hides nothing."""
    upper = offset if offset < keys - 1 else None
    lower = None if window is None or window >= queries + offset else offset - window + 1
    return MaskRule(lower=lower, upper=upper)


def rule_of(allowed: Bool[Tensor, "Hm Q K"], uniform_empty_rows: bool = False) -> MaskRule:
    """The smallest rule that reproduces `allowed` (True: may see) bit for bit; packed bits where none does."""
    if allowed.all():
        return NO_MASK
    if len(allowed) == 1 or (allowed == allowed[:1]).all():
        cells = allowed[0].cpu()
        seen_keys, seen_rows = cells.any(0), cells.any(1)
        key_part = None if seen_keys.all() else seen_keys
        row_part = None if seen_rows.all() else seen_rows
        lower, upper = _band(cells, seen_rows)
        # Fewest conditions first: with padding on the left, a causal mask would also fit a window of the same reach.
        for low, up in ((None, None), (None, upper), (lower, None), (lower, upper)):
            for part in (None, row_part) if row_part is not None else (None,):
                rule = MaskRule(low, up, key_part, part, None, uniform_empty_rows)
                if _reproduces(rule, cells):
                    return rule
        allowed = allowed[:1]
    packed = torch.from_numpy(np.packbits(allowed.cpu().numpy(), axis=-1))
    return MaskRule(packed=packed, uniform_empty_rows=uniform_empty_rows)


def _band(cells: Bool[Tensor, "Q K"], seen_rows: Bool[Tensor, " Q"]) -> tuple[int | None, int | None]:
    """The smallest and largest key - query that occur."""
    queries, keys = cells.shape
    if not seen_rows.any():
        return None, -queries
    position = torch.arange(queries)
    as_bytes = cells.view(torch.uint8)
    first = as_bytes.argmax(1) - position
    last = keys - 1 - as_bytes.flip(1).argmax(1) - position
    return int(first[seen_rows].min()), int(last[seen_rows].max())


def _reproduces(rule: MaskRule, cells: Bool[Tensor, "Q K"]) -> bool:
    queries, keys = cells.shape
    position = torch.arange(queries)
    return all(torch.equal(rule.allowed(position[rows], keys), cells[rows]) for rows in query_blocks(queries, keys))


def split_additive(
    mask: Float[Tensor, "Hm Q K"],
) -> tuple[Bool[Tensor, "Hm Q K"], Float[Tensor, "Hm Q K"] | None, bool]:
    """Read an additive `mask`: (which pairs it allows, the bias it adds to those or None, whether empty rows are
    uniform).
    """
    floor = torch.finfo(mask.dtype).min
    allowed = ~(mask <= floor / 2)  # NaN hides nothing: it makes scores NaN
    kept = torch.where(allowed, mask, 0)
    empty = ~allowed.any(dim=-1, keepdim=True)
    uniform = bool((empty & torch.isfinite(mask)).any())
    return allowed, (kept if kept.any() else None), uniform
