"""answer(trace, request) -> Tile: what a live view asks for when it does not hold it. Pure: no host, no state."""

from dataclasses import dataclass
from typing import Any

import torch

from attnscope.errors import InputError
from attnscope.payload.codec import encode
from attnscope.payload.held import Held, as_held
from attnscope.payload.messages import SITE, STEPS
from attnscope.tracing.receipts import Receipt
from attnscope.tracing.trace import Trace

MAX_BYTES = 48_000_000  # of one reply; beyond, fp16 and then fewer heads
LONG = 16_000_000  # weights of a head; beyond, a reply has the head that was asked for, and its picture comes in tiles


@dataclass(frozen=True)
class SiteRequest:
    """A site of the trace, by index, and the head that will be looked at. `steps`: only what the steps level needs of
    that head beyond q, k and v, the rest being there. `thumbs`: with the thumbnails of every site and what the
    `query` does in every head, as a view begins."""

    site: int
    head: int = 0
    steps: bool = False
    thumbs: bool = False
    query: int | None = None

    @classmethod
    def from_message(cls, message: Any) -> "SiteRequest":
        """Read a message of the page. Raises InputError for anything that is not a request."""
        if not isinstance(message, dict) or message.get("kind") not in (SITE, STEPS):
            raise InputError(f"expected a request of kind {SITE!r} or {STEPS!r}, got {message!r}.")
        site, head = message.get("site"), message.get("head", 0)
        if not isinstance(site, int) or not isinstance(head, int):
            raise InputError(f"a request needs a site and a head as numbers, got {site!r} and {head!r}.")
        return cls(site, head, message["kind"] == STEPS)


@dataclass(frozen=True)
class Tile:
    """The answer: payload bytes that hold the site."""

    data: bytes


def answer(trace: Trace, request: SiteRequest) -> Tile:
    """The payload for one site, in full precision where that stays below MAX_BYTES. Raises InputError out of range."""
    if not 0 <= request.site < len(trace.sites):
        raise InputError(f"site {request.site} is out of range: the trace has {len(trace.sites)} sites.")
    site = trace.sites[request.site]
    if not 0 <= request.head < site.heads:
        raise InputError(f"head {request.head} is out of range: {site.name} has {site.heads} heads.")
    if request.steps:
        return Tile(encode(trace, {}, steps={request.site: (request.head,)}))
    size = sum(tensor.nbytes for tensor in site.kept.values())
    held = Held() if size <= MAX_BYTES else Held(dtype=torch.float16 if site.kept_dtype.itemsize > 2 else None)
    if site.queries * site.keys > LONG and not site.weights_only:
        held = Held((request.head,), held.dtype if size / site.heads > MAX_BYTES else None)
    elif size / 2 > MAX_BYTES:
        held = Held((request.head,), held.dtype)
    receipts = trace.verify()
    if held.dtype is not None:
        sites = list(receipts.sites)
        sites[request.site] = as_held(site, held).verify()
        receipts = Receipt(tuple(sites))
    steps = {request.site: (request.head,)}
    return Tile(
        encode(trace, {request.site: held}, receipts=receipts, steps=steps, thumbs=request.thumbs, query=request.query)
    )
