"""What a view holds within its size: which sites, in which precision, and the payload blocks that carry them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import torch

from attnscope.errors import InputError
from attnscope.payload import step_tensors
from attnscope.payload.codec import encode
from attnscope.payload.held import Held
from attnscope.payload.pictures import Pictures
from attnscope.statistics.thumbnails import thumbnails_of
from attnscope.tracing.receipts import Receipt
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace
from attnscope.views.pictures import fitting_pictures, note_of, of_the_rest

COMPRESSED = 0.92  # what deflate leaves of byte-shuffled activations, about
BASE64 = 4 / 3
HALF = torch.float16
EXACT_MB = 3.0  # a view up to this size holds the numbers as they are, a larger one fp16, unless exact=True
Z_ROWS = 16  # queries of the model's own output in a view, for the page's own receipt


@dataclass(frozen=True)
class Block:
    """Payload bytes, the sites whose tensors they hold, and the bytes of one number (for the page's shuffle). `heads`: of
    a site of which it holds some heads only, those. `pictures`: the heads, by site, of which it holds a picture and no more."""

    data: bytes
    sites: tuple[int, ...]
    stride: int
    heads: tuple[int, ...] | None = None
    pictures: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def holds(self) -> str:
        """The sites for the page: "2", or "2:0,3,7" where some heads of one are all it holds."""
        heads = "" if self.heads is None else ":" + ",".join(map(str, self.heads))
        return " ".join(f"{site}{heads}" for site in self.sites)

    @property
    def shows(self) -> str:
        """The heads that it has pictures of, for the page: "0:1,2 4:0"."""
        return " ".join(f"{site}:{','.join(map(str, heads))}" for site, heads in self.pictures.items())


@dataclass(frozen=True)
class Plan:
    """Which sites a view holds, and how; `max_mb` decides. steps: by site, the heads whose x and projections it holds.
    pictures: of the heads that it leaves out. rows: whether it holds what the query it opens on does in every head."""

    held: Mapping[int, Held]
    notes: tuple[str, ...]
    steps: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    pictures: Pictures = field(default_factory=Pictures)
    rows: bool = True


def check_size(max_mb: Any) -> None:
    """Raises InputError for what is no size of a page."""
    if isinstance(max_mb, bool) or not isinstance(max_mb, Real) or not float(max_mb) > 0:
        raise InputError(
            f"max_mb is {max_mb!r:.60}; it is the largest size of the numbers in a page, in MB, so it must be a number above 0."
        )


def bytes_in(max_mb: float) -> float:
    """How many bytes of numbers a page of this size holds. Raises InputError for what is no size."""
    check_size(max_mb)
    return max_mb * 1e6 / (BASE64 * COMPRESSED)


def plan_blocks(trace: Trace, site: int, head: int, max_mb: float, steps: str = "head", exact: bool = False) -> Plan:
    """Choose dtype and sites for a view of `max_mb` that opens on `site` and `head`.

    Everything stays as it is if that is small (`exact`: if that fits); else it is fp16; else fp16 of the site it opens on
    and of the heads of others that have the strongest links; else some heads of one site. Where heads are left out, up to a
    quarter of the room goes to their pictures, and what the query does in all heads is left out if it takes more than half.
    The steps level comes first: x and the projections of the head the view opens on, if they take a quarter of the room or
    less, or of all heads with steps="all"; the table of the stream counts before all else, up to half of the room. Raises
    InputError where heads do not fit.
    """
    budget = bytes_in(max_mb)
    if trace.stream_table is not None:
        budget = max(budget / 2, budget - trace.stream_table.nbytes)
    if steps == "all":
        wanted = {index: tuple(range(one.heads)) for index, one in enumerate(trace.sites) if not one.weights_only}
        room = sum(step_tensors.sizes(trace.sites[index])[1] for index in wanted)
        if room > budget:
            raise InputError(
                f"x and the projections of all heads take {room * BASE64 * COMPRESSED / 1e6:.2g} MB, and max_mb is {max_mb:g}: "
                'pass a larger max_mb, fewer layers (layers=[2] when tracing), or steps="head" for the head it opens on.'
            )
        return replace(_plan(trace, site, head, max_mb, budget - room, exact), steps=wanted)
    room = step_tensors.sizes(trace.sites[site])[0] if steps == "head" else 0
    fits = 0 < room <= budget / 4
    plan = _plan(trace, site, head, max_mb, budget - room if fits else budget, exact)
    return replace(plan, steps={site: (head,)}) if fits else plan


def _plan(trace: Trace, site: int, head: int, max_mb: float, budget: float, exact: bool) -> Plan:
    """What of q, k and v fits into `budget` bytes."""
    native = [_bytes(s, None) for s in trace.sites]
    small = budget if exact else min(budget, bytes_in(EXACT_MB))
    if sum(native) <= small or (sum(native) <= budget and all(s.kept_dtype.itemsize <= 2 for s in trace.sites)):
        return Plan(dict.fromkeys(range(len(trace.sites)), Held()), ())
    note = (
        "Values are rounded to 16 bits (fp16) to keep this view small; the receipt is computed from the rounded values. "
        "exact=True keeps them as they are, as far as max_mb goes."
    )
    if sum(_bytes(s, HALF) for s in trace.sites) <= budget:
        nearest = sorted(range(len(trace.sites)), key=lambda i: (abs(i - site), i))
        return _noted({index: Held(dtype=_small(trace.sites[index])) for index in nearest}, note)
    of_head = _bytes(trace.sites[site], HALF) / trace.sites[site].heads
    of_rows = 4 * sum(one.heads * one.keys for one in trace.sites)  # weights and shares, fp16
    if rows := of_rows <= min(budget / 2, budget - of_head):
        budget -= of_rows
    pictures = fitting_pictures(trace, min(budget / 4, budget - of_head) * COMPRESSED)
    held, left = _hold_opening(trace.sites[site], head, budget - pictures.nbytes / COMPRESSED, max_mb)
    if held.heads is not None:  # not even the layer it opens on fits
        heads = held.heads
        which = f"head {heads[0]}" if len(heads) == 1 else f"heads {heads[0]} to {heads[-1]}"
        words = f"This view holds {which} of {trace.sites[site].name}; a larger max_mb holds more."
        found = {site: held}
    else:
        found = {site: held, **_hold_by_interest(trace, site, left)}
        words = _held_note(trace, site, found)
    pictures = of_the_rest(pictures, trace, found)
    return replace(_noted(found, note, words, note_of(pictures, rows)), pictures=pictures, rows=rows)


def _noted(held: Mapping[int, Held], rounded: str, *notes: str) -> Plan:
    """`rounded` is said only where something is: what the model had in 16 bits stays as it was."""
    return Plan(held, ((rounded,) if any(one.dtype is not None for one in held.values()) else ()) + notes)


def _hold_opening(site: Site, head: int, budget: float, max_mb: float) -> tuple[Held, float]:
    """All heads of the site that a view opens on, or as many round `head` as fit; and the bytes that are left."""
    dtype = _small(site)
    size = _bytes(site, HALF)
    if size <= budget:
        return Held(dtype=dtype), budget - size
    per_head = size / site.heads
    fit = int(budget / per_head)
    if fit < 1:
        raise InputError(
            f"one head of {site.name} takes {per_head * BASE64 * COMPRESSED / 1e6:.1f} MB, and max_mb is {max_mb:g}: pass a "
            "larger max_mb, or a shorter text."
        )
    nearest = sorted(sorted(range(site.heads), key=lambda h: (abs(h - head), h))[:fit])
    return Held(tuple(nearest), dtype), 0.0


def _hold_by_interest(trace: Trace, opening: int, left: float) -> dict[int, Held]:
    """As many heads of the other sites as `left` bytes hold: those with the strongest links first."""
    chosen: dict[int, list[int]] = {}
    for index, head in _by_interest(trace, opening):
        site, heads = trace.sites[index], chosen.get(index, [])
        group = site.heads // site.kv_heads
        size = _head_bytes(site) + (0 if heads else _pair_bytes(site))
        size += 0 if any(head // group == other // group for other in heads) else _group_bytes(site)
        if size <= left:
            chosen[index] = [*heads, head]
            left -= size
    return {
        index: Held(
            None if len(heads) == trace.sites[index].heads else tuple(sorted(heads)), _small(trace.sites[index])
        )
        for index, heads in sorted(chosen.items(), key=lambda one: (abs(one[0] - opening), one[0]))
    }


def _by_interest(trace: Trace, opening: int) -> list[tuple[int, int]]:
    """(site, head) of all other sites: by the weight of the strongest link between two different tokens that are not
    special, the statistic "link"; equal ones by their distance from the opening."""
    found = []
    for index, small in enumerate(thumbnails_of(trace)):
        if index != opening:
            for head, link in enumerate(small.links):
                found.append((-(link[2] if link else 0.0), abs(index - opening), index, head))
    return [(index, head) for *_, index, head in sorted(found)]


def make_pictures(trace: Trace, plan: Plan, receipts: Receipt) -> Block | None:
    """The block that holds the pictures of a plan; None where it has none."""
    if not plan.pictures.heads:
        return None
    return Block(
        encode(trace, {}, receipts=receipts, steps={}, pictures=plan.pictures), (), 1, None, plan.pictures.heads
    )


def make_blocks(trace: Trace, site: int, query: int, plan: Plan, receipts: Receipt) -> tuple[Block, ...]:
    """The plan, carried out: one payload for the opening site, one for each other that is held. The first has what the
    `query` does in every head.
    """
    order = [site, *(i for i in plan.held if i != site)]
    written: dict[str, str] = {}
    return tuple(
        Block(
            encode(
                trace,
                {index: plan.held[index]},
                receipts=receipts,
                notes=plan.notes,
                steps={index: plan.steps[index]} if index in plan.steps else {},
                thumbs=index == site,
                query=query if index == site and plan.rows else None,
                z_rows=Z_ROWS,
                written=written,
            ),
            (index,),
            2 if _width(trace.sites[index], plan.held[index]) == 2 else 4,
            plan.held[index].heads,
        )
        for index in order
    )


def _small(site: Site) -> torch.dtype | None:
    """fp16 where that is smaller (bf16 where fp16 would overflow); 16-bit sites stay as they are."""
    if site.kept_dtype.itemsize <= 2:
        return None
    largest = max(float(x.abs().max()) for x in site.kept.values())
    return HALF if not largest > torch.finfo(torch.float16).max else torch.bfloat16


def _width(site: Site, held: Held) -> int:
    return (held.dtype or site.kept_dtype).itemsize


def _bytes(site: Site, dtype: torch.dtype | None) -> int:
    """What the site's q, k, v (or weights), samples of z and norms take in a payload."""
    return site.heads * _head_bytes(site, dtype) + site.kv_heads * _group_bytes(site, dtype) + _pair_bytes(site)


def _pair_bytes(site: Site) -> int:
    """What the mask and the bias take, which all heads of a site share a tensor of."""
    return site.mask.nbytes + (0 if site.position_bias is None else site.position_bias.nbytes)


def _head_bytes(site: Site, dtype: torch.dtype | None = HALF) -> int:
    """What one query head takes: its q (or weights), samples of its z, its norms, and the products of its projection."""
    own = site.kept["weights" if site.weights_only else "q"]
    samples = 0 if site.z is None else min(Z_ROWS, site.z.shape[1]) * site.z.shape[2] * 4
    products = site.value_size * (site.value_size + 1) // 2 if site.projection is not None else 0
    return (own[0].numel() + products) * _number(site, dtype) + samples + site.keys * 4


def _group_bytes(site: Site, dtype: torch.dtype | None = HALF) -> int:
    """What one key/value head takes, which a group of query heads shares."""
    return sum(site.kept[name][0].numel() * _number(site, dtype) for name in ("k", "v") if name in site.kept)


def _number(site: Site, dtype: torch.dtype | None) -> int:
    return min(site.kept_dtype.itemsize, (dtype or site.kept_dtype).itemsize)


def _held_note(trace: Trace, opening: int, held: Mapping[int, Held]) -> str:
    others = sum(
        trace.sites[i].heads if one.heads is None else len(one.heads) for i, one in held.items() if i != opening
    )
    every = sum(site.heads for i, site in enumerate(trace.sites) if i != opening)
    more = f", and the {others} of the other {every} heads that have the strongest links between two different tokens"
    return (
        f"This view holds all heads of {trace.sites[opening].name}{more if others else ''}; open it on another head, or with a "
        "larger max_mb, for the rest."
    )
