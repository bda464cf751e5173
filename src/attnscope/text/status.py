"""Signs of life: what is being done, on stderr, while something slow runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from attnscope.text.characters import printable

_outer: ContextVar[Any] = ContextVar("status around this one", default=None)  # a spinner, "plain", "quiet" or None


@contextmanager
def status(doing: str, quiet: bool = False) -> Iterator[None]:
    """Show `doing` while the block runs: a spinner on a terminal, one plain line elsewhere, nothing with `quiet`.

    Inside another status it changes the words of that spinner, or stays quiet as that one is.
    """
    outer, doing = _outer.get(), printable(doing)
    if quiet or outer == "quiet":
        shown = _within("quiet")
    elif outer not in (None, "plain"):
        shown = _renamed(outer, doing)
    elif sys.stderr.isatty():
        shown = _spinning(doing)
    else:
        print(doing, file=sys.stderr, flush=True)
        shown = _within("plain")
    with shown:
        yield


@contextmanager
def _within(kind: Any) -> Iterator[None]:
    token = _outer.set(kind)
    try:
        yield
    finally:
        _outer.reset(token)


@contextmanager
def _spinning(doing: str) -> Iterator[None]:
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(doing)) as spinner, _within(spinner):
        spinner.update(spinner="dots")  # draws at once; otherwise a thread does, which an import may hold up
        yield


@contextmanager
def _renamed(spinner: Any, doing: str) -> Iterator[None]:
    from rich.text import Text

    before = spinner.status
    spinner.update(Text(doing))
    try:
        yield
    finally:
        spinner.update(before)
