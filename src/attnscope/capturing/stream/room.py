"""How much of a residual stream is kept."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Room:
    """`positions`: of the tokens whose stream is kept; None: all. `most`: bytes; a stream that takes more is dropped; None: any."""

    positions: Sequence[int] | None = None
    most: float | None = None


ALL = Room()
