"""How far the effects are, on stderr, with the time left."""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from attnscope.text.format import duration

AFTER = 2.0  # seconds without a word: most calls are over by then
EVERY = 10.0  # seconds between two lines where stderr is no terminal


class Progress:
    """`quiet`: say nothing. Time is told from what the passes of the heads cost, about, and not from their number."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._begun = self._told = time.monotonic()
        self._costs: Mapping[Any, float] = {}
        self._text, self._texts, self._done, self._whole, self._units = 0, 1, 0.0, 0.0, 0
        self._measured = 0.0
        self._shown = False

    def begin(self, text: int, texts: int, costs: Mapping[Any, float]) -> None:
        """A text begins, whose units cost so much each."""
        self._text, self._texts, self._costs = text, texts, costs
        self._whole, self._done, self._units = sum(costs.values()), 0.0, 0

    def done(self, units: Iterable[Any]) -> None:
        """These units are measured."""
        for unit in units:
            self._units += 1
            self._done += self._costs.get(unit, 0.0)
            self._measured += self._costs.get(unit, 0.0)
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if self.quiet or now - self._begun < AFTER or not (terminal or not self._shown or now - self._told > EVERY):
            return
        self._told, self._shown = now, True
        print(
            f"\r\x1b[K{self.line()}" if terminal else self.line(),
            end="" if terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def line(self) -> str:
        """In words."""
        left = (self._whole - self._done) + self._whole * (self._texts - self._text - 1)
        seconds = (time.monotonic() - self._begun) * left / max(self._measured, 1e-9)
        texts = f"text {self._text + 1} of {self._texts}, " if self._texts > 1 else ""
        return f"{texts}{self._units} of {len(self._costs)} heads, about {duration(seconds)} left (Ctrl-C keeps what is done)"

    def close(self) -> None:
        """The line ends."""
        if self._shown and sys.stderr.isatty():
            print(file=sys.stderr, flush=True)
