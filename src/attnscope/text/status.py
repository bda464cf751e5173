"""Signs of life: what is being done, on stderr, while something slow runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_spinner: Any = None  # the one on the terminal now; an inner status changes its words


@contextmanager
def status(doing: str, quiet: bool = False) -> Iterator[None]:
    """Show `doing` while the block runs: a spinner on a terminal, one plain line elsewhere, nothing with `quiet`."""
    if quiet:
        yield
    elif _spinner is not None:
        before, _spinner.status = _spinner.status, doing
        try:
            _spinner.update(doing)
            yield
        finally:
            _spinner.update(before)
    elif sys.stderr.isatty():
        with _spinning(doing):
            yield
    else:
        print(doing, file=sys.stderr, flush=True)
        yield


@contextmanager
def _spinning(doing: str) -> Iterator[None]:
    global _spinner
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(doing)) as _spinner:
        try:
            yield
        finally:
            _spinner = None
