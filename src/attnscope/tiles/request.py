"""What is asked for, what comes back, and how a head is cut into tiles."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from attnscope.errors import InputError
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace

SIDE = 256  # cells of a tile, along each axis
REDUCTIONS = ("max", "mean", "sum")
MASKED = -1.0  # a cell of which no query may see a key


def coarsest(site: Site) -> int:
    """Queries, and keys, of a cell at zoom 0: the smallest power of two with which one tile holds the whole head."""
    block = 1
    while SIDE * block < max(site.queries, site.keys):
        block *= 2
    return block


@dataclass(frozen=True)
class TileRequest:
    """A tile of one head: `site`, its index in the trace, and `head`, from 0.

    `zoom`: 0 is the whole head in one tile; each step halves the block of a cell, down to single weights.
    `row`, `col`: the tile's place at that zoom, from 0.
    `reduce`: what a cell says of its block: "max", "mean" or "sum".
    `coarse`: True takes a picture of some of the queries where the exact one is not at hand yet.
    """

    site: int
    head: int
    zoom: int = 0
    row: int = 0
    col: int = 0
    reduce: str = "max"
    coarse: bool = False

    def site_of(self, trace: Trace) -> Site:
        """The site that it names. Raises InputError where the trace has no such tile."""
        if self.reduce not in REDUCTIONS:
            raise InputError(f"reduce is {self.reduce!r:.60}; it is one of {', '.join(map(repr, REDUCTIONS))}.")
        self._check("site", len(trace.sites), "the trace")
        site = trace.sites[self.site]
        self._check("head", site.heads, site.name)
        self._check("zoom", coarsest(site).bit_length(), site.name)
        cells = SIDE * self.block(site)
        self._check("row", -(-site.queries // cells), f"zoom {self.zoom}")
        self._check("col", -(-site.keys // cells), f"zoom {self.zoom}")
        return site

    def _check(self, name: str, count: int, where: str) -> None:
        if not 0 <= getattr(self, name) < count:
            raise InputError(
                f"{name} {getattr(self, name)} of a tile is out of range: {where} has {name} 0 to {count - 1}."
            )

    def block(self, site: Site) -> int:
        """Queries, and keys, that a cell stands for."""
        return coarsest(site) >> self.zoom

    def place(self, site: Site) -> tuple[slice, slice]:
        """The queries and the keys of the tile."""
        cells = SIDE * self.block(site)
        return tuple(  # pyright: ignore[reportReturnType]
            slice(at * cells, min((at + 1) * cells, count))
            for at, count in ((self.row, site.queries), (self.col, site.keys))
        )


@dataclass(frozen=True, eq=False)
class Tile:
    """The answer: `values`, [R, C], fp32, at most 256 × 256, fewer at the lower and right edge.

    A cell is the largest weight of its block, or their mean or sum, as asked; a pair that is masked has weight 0. Cells of
    which no query may see a key are -1, and such that hold NaN are NaN.
    `block`: queries, and keys, of a cell. `exact`: False where some of the queries stand for all.
    """

    values: Float[Tensor, "R C"]
    block: int
    exact: bool = True
