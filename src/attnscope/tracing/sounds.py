"""Sound: which positions a sound has, how long each lasts, and a small picture of what was heard."""

from dataclasses import dataclass

from attnscope.errors import InputError

KINDS = ("spectrogram", "waveform")


@dataclass(frozen=True)
class Sound:
    """A sound along the first positions of a model that hears. Silence that fills it up stands behind them.

    `positions`: how many there are. `each`: seconds from one to the next.
    `kind`: what `pixels` are. A "spectrogram" has `rows` of frequencies, the highest first, and `columns` of time; its bytes
        go from 0, the quietest, to 255. A "waveform" has two rows, the largest and the smallest sample of each column; 128
        is 0.

    Raises InputError where the numbers do not fit each other.
    """

    positions: int
    each: float
    kind: str = "spectrogram"
    rows: int = 0
    columns: int = 0
    pixels: bytes = b""

    def __post_init__(self) -> None:
        if self.positions < 1 or not self.each > 0 or self.kind not in KINDS:
            raise InputError(f"a sound needs positions that last some time, and a kind of {' or '.join(KINDS)}.")
        if self.rows * self.columns != len(self.pixels) or (self.kind == "waveform" and self.rows not in (0, 2)):
            raise InputError(f"{len(self.pixels)} bytes are no {self.kind} of {self.rows} × {self.columns}.")

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.positions * self.each

    def __repr__(self) -> str:
        return f"Sound({self.seconds:.2f} s in {self.positions} positions, {self.kind})"
