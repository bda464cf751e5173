"""PatchGrid: which tokens are patches of an image, and where in it each lies."""

from dataclasses import dataclass, field
from typing import Any

from attnscope.errors import InputError


@dataclass(frozen=True)
class PatchGrid:
    """An image, or a frame of a video, cut into patches that are tokens.

    `rows`, `columns`: how many patches there are. `tokens`: the position of each among the tokens, row by row; -1 where none
        of them is that patch (of an image of which one window is shown, say).
    `png`: the picture as the model saw it, small; b"" where it is not known.
    `picture`: which of the pictures that the model was given this is, from 0; None: the one at its own place in the list.

    Raises InputError where there is not one entry for each patch.
    """

    rows: int
    columns: int
    tokens: tuple[int, ...]
    png: bytes = b""
    picture: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.rows * self.columns != len(self.tokens) or not self.tokens:
            raise InputError(
                f"a grid of {self.rows} × {self.columns} patches needs as many tokens; {len(self.tokens)} were given."
            )

    @property
    def places(self) -> list[int]:
        """The patches, counted row by row, that have a token."""
        return [place for place, token in enumerate(self.tokens) if token >= 0]

    def __repr__(self) -> str:
        return f"PatchGrid({self.rows} × {self.columns}, {f'{len(self.png):,} bytes' if self.png else 'no picture'})"


def patch_places(rows: int, columns: int) -> list[str]:
    """What the patches of a grid are called, row by row."""
    return [f"patch {row},{column}" for row in range(rows) for column in range(columns)]


def height_and_width(size: Any) -> tuple[int, int] | None:
    """Of a patch or an image, as a configuration has it: one number for both, or two of them; a video's begins with its
    frames."""
    if isinstance(size, int) and not isinstance(size, bool):
        return size, size
    if isinstance(size, (list, tuple)) and len(size) >= 2 and all(isinstance(one, int) for one in size):
        return size[-2], size[-1]
    return None


def grid_from(first: int, rows: int, columns: int) -> PatchGrid:
    """A grid whose tokens follow each other, row by row, from position `first`."""
    return PatchGrid(rows, columns, tuple(range(first, first + rows * columns)))
