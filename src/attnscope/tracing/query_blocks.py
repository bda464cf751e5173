"""The one loop over blocks of queries.

Scores and weights are Q × K per head. Whatever needs all of them goes through this loop, so that memory grows with
the block and not with the square of the length.
"""

from collections.abc import Iterator

BLOCK_CELLS = 1 << 22  # scores held at once, over all heads of a block: 16 MiB in fp32


def query_blocks(queries: int, keys: int, heads: int = 1, cells: int = BLOCK_CELLS) -> Iterator[slice]:
    """Slices that cover range(queries) in order; each holds at most `cells` scores (at least one row)."""
    step = max(1, cells // max(1, keys * heads))
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))
