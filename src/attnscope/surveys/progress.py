"""How far a survey is, on stderr."""

import os
import sys
import time
from operator import length_hint
from pathlib import Path
from typing import Any

from attnscope.surveys.parts import Receipt
from attnscope.text.format import duration

NO_MEASURE = (".parquet", ".conllu", ".arrow")  # the texts are a part of such a file, and nothing tells how large a one
EVERY = 10.0  # seconds between two lines where stderr is no terminal


class Progress:
    """`corpus`: how large it is tells how much time is left, where that is known."""

    def __init__(self, corpus: Any, quiet: bool) -> None:
        self.quiet, self.whole = quiet, size_of(corpus)
        self.by_documents = self.whole is not None and not isinstance(corpus, (str, os.PathLike))
        self.begun = self._told = time.monotonic()
        self.documents = self.tokens = self.aside = self.done = self.known = 0

    def add(self, receipt: Receipt, here: bool = True) -> None:
        """A shard is finished. `here`: now, and not in an earlier run."""
        amount = receipt.count if self.by_documents else receipt.characters
        self.done += amount
        if not here:
            self.known += amount
            return
        self.documents += receipt.documents
        self.tokens += receipt.tokens
        self.aside += receipt.set_aside
        now = time.monotonic()
        if not self.quiet and (sys.stderr.isatty() or now - self._told > EVERY):
            self._told = now
            print(
                f"\r\x1b[K{self.line()}" if sys.stderr.isatty() else self.line(),
                end=self._end,
                file=sys.stderr,
                flush=True,
            )

    def line(self, left: bool = True) -> str:
        """In words. `left`: with the time that is left, where it is known."""
        seconds = max(1e-9, time.monotonic() - self.begun)
        parts = [
            f"{self.documents:,} texts",
            f"{self.documents / seconds:,.0f} a second",
            f"{self.tokens / seconds:,.0f} tokens a second",
        ]
        if self.aside:
            parts.append(f"{self.aside:,} set aside")
        if left and self.whole and self.done > self.known:
            rest = max(0.0, self.whole - self.done) * seconds / (self.done - self.known)
            parts.append(f"about {duration(rest)} left")
        return ", ".join(parts)

    def close(self) -> None:
        if not self.quiet:
            line = self.line(left=False)
            print(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, file=sys.stderr, flush=True)

    @property
    def _end(self) -> str:
        return "" if sys.stderr.isatty() else "\n"


def size_of(corpus: Any) -> int | None:
    """Characters of a file or folder of text, about; documents of a list; None where nothing tells."""
    if not isinstance(corpus, (str, os.PathLike)):
        return length_hint(corpus) or None
    path = Path(corpus).expanduser()
    files = [path] if path.is_file() else [*path.rglob("*")] if path.is_dir() else []
    if not files or any(file.suffix in NO_MEASURE for file in files):
        return None
    return sum(file.stat().st_size for file in files if file.is_file())
