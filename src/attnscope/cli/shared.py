"""What several commands share: the --quiet option, a model loaded with a status line, what a page opens on."""

import io
import os
import sys
from logging import ERROR, getLogger
from typing import Any

import click

import attnscope
from attnscope.text.status import status

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print no progress on stderr.")


def load(name: str, quiet: bool, **options: Any) -> tuple[Any, Any]:
    """`attnscope.load` behind a status line, which stands before torch and transformers are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with status(f"loading {name} …", quiet):
        from huggingface_hub.utils import logging as hub_logging
        from transformers.utils import logging

        getLogger("matplotlib.font_manager").setLevel(ERROR)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        hub_logging.set_verbosity_error()
        return attnscope.load(name, **options)


def position(value: str | None) -> int | str | None:
    """A number as a position, anything else as a token."""
    return int(value) if value is not None and value.lstrip("-").isdigit() else value


def console() -> Any:
    """A rich console on stdout; where a terminal lacks a letter, the rest is still printed."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(file=sys.stdout)
