"""The command line, a thin layer over the public functions: one module a command, imported when it is needed.

No module here imports torch, transformers or rich at import, so that help and the first status line come at once.
"""

from importlib import import_module
from typing import Any

import click

from attnscope._version import __version__
from attnscope.errors import AttnscopeError

COMMANDS = ("check", "demo", "serve", "show")  # each the name of a module here and of the command in it


class _Commands(click.Group):
    """Errors raised on purpose become one paragraph and exit code 2, never a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name) if cmd_name in COMMANDS else None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AttnscopeError as error:
            click.echo(f"attnscope: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="attnscope")
def main() -> None:
    """A microscope for self-attention. Layers and heads count from 0."""
