"""PatchGrid: which tokens are patches of an image, and where in it each lies."""

from dataclasses import dataclass

from attnscope.errors import InputError


@dataclass(frozen=True)
class PatchGrid:
    """An image, or a frame of a video, cut into patches that are tokens.

    `rows`, `columns`: how many patches there are. `tokens`: the position of each among the tokens, row by row.
    `png`: the picture as the model saw it, small; b"" where it is not known.

    Raises InputError where there is not one token for each patch.
    """

    rows: int
    columns: int
    tokens: tuple[int, ...]
    png: bytes = b""

    def __post_init__(self) -> None:
        if self.rows * self.columns != len(self.tokens) or not self.tokens:
            raise InputError(
                f"a grid of {self.rows} × {self.columns} patches needs as many tokens; {len(self.tokens)} were given."
            )

    def __repr__(self) -> str:
        return f"PatchGrid({self.rows} × {self.columns}, {f'{len(self.png):,} bytes' if self.png else 'no picture'})"


def grid_from(first: int, rows: int, columns: int) -> PatchGrid:
    """A grid whose tokens follow each other, row by row, from position `first`."""
    return PatchGrid(rows, columns, tuple(range(first, first + rows * columns)))
