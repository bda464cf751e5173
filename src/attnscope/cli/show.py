"""attnscope show: trace a text, write its page or draw it in the terminal."""

import webbrowser
from pathlib import Path
from typing import Any

import click

import attnscope
from attnscope.cli.shared import Layer, Size, console, load, position, quiet_option
from attnscope.text.characters import printable
from attnscope.text.status import status
from attnscope.views.levels import ALIASES, NAMES, level_named
from attnscope.views.state import CHOICES, State

PAGE = "attnscope.html"


@click.command()
@click.argument("text")
@click.option("--model", default="demo", show_default=True, help="demo, smollm2, a hub name, or a folder.")
@click.option(
    "--layer",
    type=Layer(),
    help="Layer to open on: a number, counted from 0, or a name such as L2.  [default: chosen with the head]",
)
@click.option(
    "--head",
    help="Head to open on: a number, counted from 0, or a name such as L2H8.  [default: one with a link between "
    "two different words that stands out]",
)
@click.option(
    "--query", help="Query to open on: the token as written, or its position.  [default: chosen with the head]"
)
@click.option("--key", help="Key to pin: the token as written, or its position.  [default: the query's strongest]")
@click.option("--stack", help='Stack, for models with several: "encoder", "decoder" or "cross".  [default: the first]')
@click.option("--pair", help="Second sentence of a pair.  [default: none]")
@click.option("--target", help="Text for the decoder of an encoder-decoder model.  [default: its start token]")
@click.option(
    "--prediction",
    help="The token or label that the level stream explains, as text with the space before it.  [default: the most probable]",
)
@click.option("--against", help="What the level stream compares it with.  [default: the next most probable]")
@click.option(
    "--generate", type=click.IntRange(min=0), default=0, show_default=True, help="Tokens by which the model continues."
)
@click.option("--truncate", is_flag=True, help="Cut a text that is too long for the model.  [default: refuse it]")
@click.option("--task", help="Task to load the model for, such as text-generation.  [default: the checkpoint's own]")
@click.option(
    "--level",
    type=click.Choice([*NAMES, *ALIASES]),
    help=f"Level to open on; lines is another name of head, grid of matrix.  [default: {State.level}]",
)
@click.option(
    "--terminal",
    is_flag=True,
    help="Draw the level here (without --level head and neuron); write a page only with --out.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False), help=f"File to write: .html, .png, .svg or .pdf.  [default: {PAGE}]"
)
@click.option(
    "--theme",
    type=click.Choice(CHOICES["theme"]),
    default=State.theme,
    show_default=True,
    help="Colours of the page; auto follows the reader's system.",
)
@click.option(
    "--max-mb",
    type=Size(min=0, min_open=True),
    default=12,
    show_default=True,
    help="Largest size of the numbers in the page, in MB; the app and small pictures of all heads add 0.4 to 1.4.",
)
@click.option(
    "--exact", is_flag=True, help="Do not round numbers to 16 bits where --max-mb leaves room for all digits."
)
@click.option(
    "--roles",
    type=click.Path(dir_okay=False),
    help="Roles of this model's heads, which the model level shows: a file that attnscope roles --json wrote.",
)
@click.option(
    "--open/--no-open", "opens", default=True, show_default=True, help="Open the page where a display exists."
)
@quiet_option
def show(text: str, opens: bool, **options: Any) -> None:
    """Trace TEXT and write a page that shows its attention, or draw it here."""
    show_text(text, opens=opens, **options)


def show_text(
    text: str | None = None,
    *,
    model: str,
    level: str | None = None,
    head: str | int | None = None,
    query: str | None = None,
    key: str | None = None,
    pair: str | None = None,
    target: str | None = None,
    prediction: str | None = None,
    against: str | None = None,
    task: str | None = None,
    roles: str | None = None,
    terminal: bool = False,
    out: str | None = None,
    opens: bool = True,
    quiet: bool = False,
    **options: Any,
) -> None:
    """What `show` and `demo` do; `options` are those of `attnscope.show`."""
    drawn = () if not terminal else ("head", "neuron") if level is None else (level_named(level),)
    with status("starting …", quiet):  # imports torch
        from attnscope.render import has_display
        from attnscope.render.terminal import check_levels, draw

        check_levels(drawn)
    explained = {name: text for name, text in (("target", prediction), ("against", against)) if text is not None}
    loaded, tokenizer = load(model, quiet, task=task)
    with status("running the model once …", quiet):
        view = attnscope.show(
            loaded,
            tokenizer,
            text,
            level=level or State.level,
            head=position(head),
            query=position(query),
            key=position(key),
            text_pair=pair,
            text_target=target,
            roles=None if roles is None else attnscope.RoleTable.load(roles),
            **explained,
            **options,
        )
    path: Path | None = None
    if out is not None or not terminal:
        out = PAGE if out is None else out
        with status(f"writing {out} …", quiet):
            path = view.save(out).resolve()
    draw(view, console(), drawn)
    if path is not None:
        click.echo(printable(str(path)))
        if opens and has_display():
            webbrowser.open(path.as_uri())
