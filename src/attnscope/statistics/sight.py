"""What a run of queries may see: the keys between which all of it lies, and which pairs there are hidden."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from attnscope.tracing.masks import MaskRule
from attnscope.tracing.site import Site


@dataclass(frozen=True, eq=False)
class Sight:
    """The keys from `first` up to `stop` (n of them) as a run of q queries sees them; none of it sees any other key.

    `allowed`: which pairs may be seen, h is 1 where heads share the mask; None: all.
    `seeing`: which queries see some key; None: all do.
    `hidden`: the columns in which a pair is hidden, and where.
    """

    first: int
    stop: int
    allowed: Bool[Tensor, "h q n"] | None = None
    seeing: Bool[Tensor, "h q"] | None = None
    hidden: tuple[tuple[slice, Bool[Tensor, "h q _"]], ...] = ()

    @property
    def keys(self) -> slice:
        return slice(self.first, self.stop)

    @property
    def width(self) -> int:
        return self.stop - self.first


def sight_of(mask: MaskRule, rows: slice, keys: int, whole: bool = False) -> Sight:
    """What the queries in `rows` see of `keys` keys. `whole`: with all keys, also those that none of them sees."""
    if mask.is_empty:
        return Sight(0, keys)
    first, stop = (0, keys) if whole else mask.span(rows, keys)
    allowed = mask.allowed(torch.arange(rows.start, rows.stop), stop, first=first)
    allowed = allowed.reshape(-1, rows.stop - rows.start, stop - first)
    seeing = allowed.any(-1)
    all_see = bool(seeing.all())
    if mask.uniform_empty_rows and not all_see and not whole:
        return sight_of(mask, rows, keys, whole=True)  # such a row has weight on every key
    hidden = tuple((columns, ~allowed[..., columns]) for columns in _hidden(mask, rows, first, stop, all_see))
    return Sight(first, stop, allowed if hidden else None, None if all_see else seeing, hidden)


def sight_of_band(mask: MaskRule, rows: slice, keys: int) -> Sight:
    """The same without `allowed`, where it need not be known: of a band of diagonals the pairs at its edges alone."""
    if mask.packed is not None or mask.keys is not None or mask.rows is not None or mask.is_empty:
        return sight_of(mask, rows, keys)
    row = torch.arange(rows.start, rows.stop)
    low = (row if mask.lower is not None else row * 0) + (mask.lower or 0)
    high = row + mask.upper if mask.upper is not None else row * 0 + keys - 1
    seeing = (low.clamp_min(0) <= high.clamp_max(keys - 1))[None]
    if not bool(seeing.all()):
        return sight_of(mask, rows, keys)
    first, stop = mask.span(rows, keys)
    hidden = tuple(
        (columns, ~mask.allowed(row, first + columns.stop, first=first + columns.start)[None])
        for columns in _hidden(mask, rows, first, stop, True)
    )
    return Sight(first, stop, hidden=hidden)


def _hidden(mask: MaskRule, rows: slice, first: int, stop: int, all_see: bool) -> list[slice]:
    """Columns, counted from `first`, outside which every query of the run sees every key."""
    holes = mask.keys is not None and not bool(mask.keys[first:stop].all())
    if mask.packed is not None or holes or not all_see:
        return [slice(0, stop - first)]
    left = 0 if mask.lower is None else min(max(rows.stop - 1 + mask.lower - first, 0), stop - first)
    right = stop - first if mask.upper is None else max(min(rows.start + mask.upper + 1 - first, stop - first), 0)
    if right <= left:
        return [slice(0, stop - first)]
    return [part for part in (slice(0, left), slice(right, stop - first)) if part.stop > part.start]


def seen_keys(site: Site, queries: Int[Tensor, " q"]) -> Bool[Tensor, "#H q K"]:
    """Which keys these queries may see. Where only weights are known, what the mask was is seen in their zeros alone."""
    if site.weights_only:
        return site.weights(None, queries).cpu().nan_to_num(0.0) > 0
    if site.mask.is_empty:
        return torch.ones(1, len(queries), site.keys, dtype=torch.bool)
    return site.mask.allowed(queries, site.keys).cpu().reshape(-1, len(queries), site.keys)
