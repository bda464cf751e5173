"""Pictures of the heads whose q and k a page leaves out: as fine as fits."""

import zlib
from collections.abc import Mapping
from dataclasses import replace

from jaxtyping import UInt8
from torch import Tensor

from attnscope.payload.held import Held
from attnscope.payload.pictures import Pictures
from attnscope.statistics.thumbnails import FINER, coarser, side_of, thumbnails_of
from attnscope.text.format import count
from attnscope.tracing.trace import Trace


def fitting_pictures(trace: Trace, room: float) -> Pictures:
    """The finest pictures of all heads that take up to `room` bytes, packed; none where not even coarse ones do."""
    finest, small = [one.picture for one in thumbnails_of(trace)], side_of(trace)
    for times in (FINER, FINER // 2):
        side = times * small
        size = sum(packed_size(coarser(picture, side)) for picture in finest)
        if size <= room:
            return Pictures(side, size)
    return Pictures()


def packed_size(picture: UInt8[Tensor, "H r c"]) -> int:
    """Bytes of these cells in a page, before base64."""
    packer = zlib.compressobj(6, strategy=zlib.Z_RLE)
    return len(packer.compress(picture.numpy().tobytes())) + len(packer.flush())


def of_the_rest(pictures: Pictures, trace: Trace, held: Mapping[int, Held]) -> Pictures:
    """Those of the heads that are not held."""
    if not pictures.side:
        return pictures
    found = {}
    for index, site in enumerate(trace.sites):
        here = held[index].heads or range(site.heads) if index in held else ()
        if rest := tuple(head for head in range(site.heads) if head not in here):
            found[index] = rest
    return replace(pictures, heads=found)


def note_of(pictures: Pictures, rows: bool) -> str:
    """What a view says of them. `rows`: whether it holds what its query does in all heads."""
    without = "" if rows else " What the query gives to each key in them is left out too."
    if not pictures.side:
        return f"Of the heads that are left out it holds thumbnails alone.{without}"
    heads = count(sum(len(one) for one in pictures.heads.values()), "head")
    return (
        f"Of the {heads} that are left out the grid shows a coarse picture, up to {pictures.side} × {pictures.side} cells: each "
        f"is the largest weight of its block.{without}"
    )
