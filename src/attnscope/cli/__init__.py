"""The command line, a thin layer over the public functions: one module a command, imported when it is needed.

No module here imports torch, transformers or rich at import, so that help and the first status line come at once.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from attnscope._version import __version__
from attnscope.errors import AttnscopeError
from attnscope.text.characters import printable

COMMANDS = (
    "check",
    "coverage",
    "demo",
    "roles",
    "serve",
    "show",
    "survey",
)  # each the name of a module here and of the command in it


class _Commands(click.Group):
    """Errors raised on purpose become one paragraph and exit code 2, never a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name) if cmd_name in COMMANDS else None

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _shown():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _shown():
                return super().invoke(ctx)
        except AttnscopeError as error:
            click.echo(f"attnscope: {error}", err=True)
            ctx.exit(2)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception:  # of a model's code, or a bug of ours; its message may hold anything
            click.echo(printable(traceback.format_exc()), err=True, nl=False)
            ctx.exit(1)


@contextmanager
def _shown() -> Iterator[None]:
    """click quotes arguments in its messages: what a terminal would act on is shown."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message)
        raise


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="attnscope")
def main() -> None:
    """A microscope for self-attention. Layers and heads count from 0."""
