"""A view drawn in a terminal: the stream as a column of bars, the head as a grid of shades, the query's keys as numbers and bars, vectors as strips."""

from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.text import Text

from attnscope.errors import InputError
from attnscope.render.terminal.glyphs import MUTED, glyphs_of
from attnscope.render.terminal.grid import grid
from attnscope.render.terminal.stream import stream
from attnscope.render.terminal.table import keys_table, weaker
from attnscope.render.terminal.vectors import strips
from attnscope.text.characters import printable
from attnscope.text.format import listed
from attnscope.views.sentences.chance import chance
from attnscope.views.sentences.sentence import receipt, title, writes
from attnscope.views.view import View

LEVELS = ("stream", "head", "neuron")
ROWS = 12


def draw(view: View, console: Console, levels: Sequence[str] = ()) -> None:
    """Print the view at `levels`, "stream", "head" and "neuron"; without any, its sentence and the table of its strongest keys.

    Lines fit the width of `console`; a line says what is left out. Shape shows sign and weight as well as colour does.
    Raises InputError for other levels, and where the stream is not held at the query; NotCaptured where it is not held at all.
    """
    check_levels(levels)
    for part in _parts(view, console, levels):
        console.print(part, soft_wrap=False)


def check_levels(levels: Sequence[str]) -> None:
    """Raises InputError for a level that a terminal cannot draw."""
    for level in levels:
        if level not in LEVELS:
            raise InputError(
                f"a terminal draws the levels {listed([repr(one) for one in LEVELS])}; for {level!r} write a page (--out page.html) "
                "and open it in a browser."
            )


def _parts(view: View, console: Console, levels: Sequence[str]) -> Iterator[RenderableType]:
    glyphs = glyphs_of(console)
    if "stream" in levels:
        yield from stream(view, console.width, glyphs)
        if len(levels) == 1:
            yield from _notes(view)
            return
        yield Text()
    yield Text(printable(title(view)))
    if view.own.why:
        yield Text(printable(view.own.why), style=MUTED)
    if said := chance(view):
        yield Text(printable(said), style=MUTED)
    if "head" in levels:
        yield Text()
        yield from grid(view, console.width, glyphs)
        yield Text()
    if "neuron" in levels or not levels:
        yield keys_table(view, ROWS, console.width, glyphs)
        if hidden := weaker(view, ROWS):
            yield Text(hidden, style=MUTED)
        site, own = view.trace.sites[view.site_index], view.own
        if wrote := writes(site, own.head, own.query - site.query_offset):
            yield Text(wrote, style=MUTED)
    if "neuron" in levels:
        yield Text()
        yield from strips(view, console.width, glyphs)
        yield Text()
    yield Text(printable(receipt(view)))
    yield from _notes(view)


def _notes(view: View) -> Iterator[RenderableType]:
    for note in (*view.trace.notes, *dict.fromkeys(view.notes)):
        yield Text(printable(note), style=MUTED)
