"""What a view holds within its size: which sites, in which precision, and the payload blocks that carry them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from attnscope.errors import InputError
from attnscope.payload import step_tensors
from attnscope.payload.codec import encode
from attnscope.payload.held import Held
from attnscope.tracing.receipts import Receipt
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace

COMPRESSED = 0.92  # what deflate leaves of byte-shuffled activations, about
BASE64 = 4 / 3
EXACT_MB = 3.0  # a view up to this size holds the numbers as they are, a larger one fp16, unless exact=True
Z_ROWS = 16  # queries of the model's own output in a view, for the page's own receipt


@dataclass(frozen=True)
class Block:
    """Payload bytes, the sites whose tensors they hold, and the bytes of one number (for the page's shuffle)."""

    data: bytes
    sites: tuple[int, ...]
    stride: int


@dataclass(frozen=True)
class Plan:
    """Which sites a view holds, and how; `max_mb` decides. steps: by site, the heads whose x and projections it holds."""

    held: Mapping[int, Held]
    notes: tuple[str, ...]
    steps: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


def plan_blocks(trace: Trace, site: int, head: int, max_mb: float, steps: str = "head", exact: bool = False) -> Plan:
    """Choose dtype and sites for a view of `max_mb` that opens on `site` and `head`.

    Everything stays as it is if that is small (`exact`: if that fits); else it is fp16; else fp16 of the nearest sites; else
    some heads of one site. The steps level comes first: x and the projections of the head the view opens on, if they take
    a quarter of the room or less, or of all heads with steps="all". Raises InputError where those do not fit.
    """
    budget = max_mb * 1e6 / (BASE64 * COMPRESSED)
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
    small = budget if exact else min(budget, EXACT_MB * 1e6 / (BASE64 * COMPRESSED))
    if sum(native) <= small or (sum(native) <= budget and all(s.kept_dtype.itemsize <= 2 for s in trace.sites)):
        return Plan(dict.fromkeys(range(len(trace.sites)), Held()), ())
    half = torch.float16
    note = (
        "Values are rounded to 16 bits (fp16) to keep this view small; the receipt is computed from the rounded values. "
        "exact=True keeps them as they are, as far as max_mb goes."
    )
    held: dict[int, Held] = {}
    left = budget
    for index in sorted(range(len(trace.sites)), key=lambda i: (abs(i - site), i)):
        size = _bytes(trace.sites[index], half)
        if size > left:
            break
        held[index] = Held(dtype=_small(trace.sites[index], half))
        left -= size
    if held:
        return Plan(held, (note, *_held_note(trace, held)))
    chosen = trace.sites[site]
    per_head = _bytes(chosen, half) / chosen.heads
    fit = int(left / per_head)
    if fit < 1:
        raise InputError(
            f"one head of {chosen.name} takes {per_head * BASE64 * COMPRESSED / 1e6:.1f} MB, and max_mb is {max_mb:g}: pass a "
            "larger max_mb, or a shorter text."
        )
    nearest = sorted(sorted(range(chosen.heads), key=lambda h: (abs(h - head), h))[:fit])
    held = {site: Held(tuple(nearest), _small(chosen, half))}
    which = f"head {nearest[0]}" if len(nearest) == 1 else f"heads {nearest[0]} to {nearest[-1]}"
    words = f"This view holds {which} of {chosen.name}; a larger max_mb holds more."
    return Plan(held, (note, words))


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
                query=query if index == site else None,
                z_rows=Z_ROWS,
                written=written,
            ),
            (index,),
            2 if _width(trace.sites[index], plan.held[index]) == 2 else 4,
        )
        for index in order
    )


def _small(site: Site, half: torch.dtype) -> torch.dtype | None:
    """fp16 where that is smaller (bf16 where fp16 would overflow); 16-bit sites stay as they are."""
    if site.kept_dtype.itemsize <= 2:
        return None
    largest = max(float(x.abs().max()) for x in site.kept.values())
    return half if not largest > torch.finfo(torch.float16).max else torch.bfloat16


def _width(site: Site, held: Held) -> int:
    return (held.dtype or site.kept_dtype).itemsize


def _bytes(site: Site, dtype: torch.dtype | None) -> int:
    """What the site's q, k, v (or weights), samples of z and norms take in a payload."""
    width = min(site.kept_dtype.itemsize, (dtype or site.kept_dtype).itemsize)
    values = sum(tensor.numel() for tensor in site.kept.values())
    samples = site.z.numel() // max(site.z.shape[1], 1) * min(Z_ROWS, site.z.shape[1]) * 4 if site.z is not None else 0
    products = site.value_size * (site.value_size + 1) // 2 * width if site.projection is not None else 0
    return values * width + samples + site.heads * (site.keys * 4 + products) + site.mask.nbytes


def _held_note(trace: Trace, held: Mapping[int, Held]) -> tuple[str, ...]:
    if len(held) == len(trace.sites):
        return ()
    names = ", ".join(trace.sites[i].name for i in sorted(held))
    return (
        f"This view holds {names}, of {len(trace.sites)}; open it on another layer, or with a larger max_mb, for the rest.",
    )
