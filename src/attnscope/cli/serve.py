"""attnscope serve: a page on which a text can be typed and looked at."""

import os
import sys
from dataclasses import replace
from typing import Any

import click

import attnscope
from attnscope.cli.shared import Size, load, quiet_option
from attnscope.errors import InputError, MissingDependency
from attnscope.text.characters import printable
from attnscope.text.status import status

SHORTEST_TOKEN = 16  # characters


@click.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["demo"],
    show_default=True,
    help="demo, smollm2, a hub name, or a folder; may be given several times.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port to listen on; 0: any free one."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; the default is this machine alone."
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    help="Address that people open where a proxy stands in front, such as https://attn.example.org.  [default: none]",
)
@click.option(
    "--max-tokens", type=click.IntRange(min=2), default=2048, show_default=True, help="Longest text, in tokens."
)
@click.option(
    "--keep-mb",
    type=Size(min=1),
    default=512,
    show_default=True,
    help="Memory for texts already read, in MB.",
)
@click.option(
    "--roles",
    type=click.Path(dir_okay=False),
    help="Roles of the heads of the one --model, which the model level shows: a file that attnscope roles --json wrote.",
)
@click.option(
    "--open/--no-open", "opens", default=True, show_default=True, help="Open the page where a display exists."
)
@quiet_option
def serve(
    models: tuple[str, ...],
    port: int,
    host: str,
    origins: tuple[str, ...],
    max_tokens: int,
    keep_mb: float,
    roles: str | None,
    opens: bool,
    quiet: bool,
) -> None:
    """Serve a page on which a text can be typed and looked at.

    It prints an address with a token, which lets you in; Ctrl-C ends it. The token is new at every start, unless the
    environment variable ATTNSCOPE_TOKEN gives one.
    """
    import secrets
    import webbrowser

    token = os.environ.get("ATTNSCOPE_TOKEN") or secrets.token_urlsafe(32)
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise InputError(
            f"ATTNSCOPE_TOKEN must be at least {SHORTEST_TOKEN} ASCII characters, hard to guess; leave it out to "
            "have one made."
        )
    if roles is not None and len(models) > 1:
        raise InputError("--roles are those of one model: give --model once.")
    with status("starting the server …", quiet):
        from attnscope.render import has_display

        try:
            from attnscope.render.server import run
            from attnscope.render.server.limits import Limits
        except ModuleNotFoundError as error:
            if error.name not in ("starlette", "uvicorn"):
                raise
            raise MissingDependency("attnscope serve needs starlette and uvicorn", "serve") from None
    origins = tuple(map(run.check_origin, origins))
    with run.listen(host, port) as taken:
        readers = {
            name: reader_of(model, max_tokens, quiet, roles)
            for name, model in zip(short_names(models), models, strict=True)
        }
        url = run.address(host, taken.getsockname()[1], token, origins)

        def started() -> None:
            click.echo(printable(f"attnscope serves {', '.join(readers)} at\n\n    {url}\n\nCtrl-C ends it."))
            if opens and has_display():
                webbrowser.open(url)

        limits = Limits(keep=round(keep_mb * 1e6))
        run.serve(readers, taken, token=token, host=host, origins=origins, limits=limits, started=started)


def short_names(models: tuple[str, ...]) -> list[str]:
    """Names for people: of a folder its last part, unless two are called the same. Each model once."""
    if len(set(models)) < len(models):
        raise InputError("--model names the same model twice; each is loaded once.")
    short = [os.path.basename(os.path.normpath(model)) if os.path.isdir(model) else model for model in models]
    return [name if short.count(name) == 1 else model for name, model in zip(short, models, strict=True)]


class ModelReader:
    """Traces texts with one model, and answers for edits of them. `max_tokens`: of the longest text. `table`: roles of its heads, or None."""

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int, table: Any = None) -> None:
        from attnscope.models.inputs import max_positions

        self._model, self._tokenizer, self._table, self._max_tokens = model, tokenizer, table, max_tokens
        # texts beyond what the model itself can read are refused, or cut, by the library
        self._counts = (max_positions(model) or sys.maxsize) > max_tokens

    def __call__(self, text: str, pair: str | None = None, truncate: bool = False) -> Any:
        from attnscope.api import ByItself, with_table
        from attnscope.api.badges import with_roles

        model, tokenizer = self._model, self._tokenizer
        if self._counts and text.strip():
            count = len(tokenizer(text, pair)["input_ids"]) if pair else len(tokenizer(text)["input_ids"])
            if count > self._max_tokens:
                raise InputError(
                    f"the text has {count} tokens, and this server reads at most {self._max_tokens} at once. Shorten the text, "
                    "or start the server with a larger --max-tokens."
                )
        trace = attnscope.trace(model, tokenizer, text, text_pair=pair, truncate=truncate, keep=ByItself())
        trace = replace(with_table(trace, "head", few=True), streams=())  # the table is all that a page needs
        return trace if self._table is None else with_roles(trace, self._table)

    def editor(self, trace: Any) -> Any:
        """Who answers for edits of the text of a `trace` that this reader made."""
        from attnscope.live_edits import LiveEdits

        return LiveEdits(self._model, self._tokenizer, trace)


def reader_of(name: str, max_tokens: int, quiet: bool = True, roles: str | None = None) -> ModelReader:
    """A reader with this model, which is loaded and has run once."""
    model, tokenizer = load(name, quiet)
    table = None if roles is None else attnscope.RoleTable.load(roles)
    read = ModelReader(model, tokenizer, max_tokens, table)
    with status(f"running {name} once, so that the first text does not wait …", quiet):
        read("Hello.")
    return read
