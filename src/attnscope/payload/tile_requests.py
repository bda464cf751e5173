"""answer_tiles(trace, request) -> bytes: what a live page asks for where a head is too long to be sent whole."""

from dataclasses import dataclass
from typing import Any

import safetensors.torch

from attnscope.errors import InputError
from attnscope.payload.messages import TILES
from attnscope.tiles.answer import answer
from attnscope.tiles.pyramid import Progress
from attnscope.tiles.request import TileRequest
from attnscope.tracing.trace import Trace

MOST = 64  # tiles of one request


@dataclass(frozen=True)
class TilesRequest:
    """Several tiles of one head, as (zoom, row, col) in `places`. The other fields are those of `TileRequest`."""

    site: int
    head: int
    places: tuple[tuple[int, int, int], ...]
    reduce: str = "max"
    coarse: bool = False

    @classmethod
    def from_message(cls, message: Any) -> "TilesRequest":
        """Read a message of the page. Raises InputError for anything that is no such request."""
        site, head, places = (message.get(name) for name in ("site", "head", "tiles"))
        if not isinstance(places, list) or not 0 < len(places) <= MOST:
            raise InputError(f"expected 1 to {MOST} tiles in a request, got {str(places)[:60]}.")
        numbers = [site, head]
        for place in places:
            numbers += place if isinstance(place, list) and len(place) == 3 else [None]
        if any(not isinstance(number, int) or isinstance(number, bool) for number in numbers):
            raise InputError(
                f"expected a site, a head, and tiles as [zoom, row, col], all of them whole numbers, got {str(message)[:120]}."
            )
        triples = tuple((zoom, row, col) for zoom, row, col in places)
        return cls(site, head, triples, str(message.get("reduce", "max")), message.get("coarse") is True)

    @property
    def each(self) -> tuple[TileRequest, ...]:
        """One request a tile."""
        return tuple(TileRequest(self.site, self.head, *place, self.reduce, self.coarse) for place in self.places)


def is_tiles(message: Any) -> bool:
    """Whether a message asks for tiles."""
    return isinstance(message, dict) and message.get("kind") == TILES


def answer_tiles(trace: Trace, request: TilesRequest, progress: Progress = lambda part: None) -> bytes:
    """The tiles in safetensors: by their place among those asked for, "0", "1" …, [R, C], fp32, see `Tile`. The metadata
    "exact" has a 1 for each that is exact, else a 0.

    `progress` and the errors raised are those of `answer`.
    """
    for one in request.each:
        one.site_of(trace)  # all of them, before any is made
    tiles = [answer(trace, one, progress) for one in request.each]
    return safetensors.torch.save(
        {str(index): tile.values.contiguous() for index, tile in enumerate(tiles)},
        {"exact": "".join(str(int(tile.exact)) for tile in tiles)},
    )
