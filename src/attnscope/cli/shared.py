"""What several commands share: the --quiet option, a model loaded behind a status line, a console."""

import io
import math
import os
import re
import sys
from logging import ERROR, getLogger
from typing import Any

import click

import attnscope
from attnscope.text.status import status

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print no progress on stderr.")


class Size(click.FloatRange):
    """A finite number in a range; click alone lets nan and inf through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        size = super().convert(value, param, ctx)
        if not math.isfinite(size):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return size


class Layer(click.ParamType):
    """A layer's number, from 2 or L2; read without torch, so that a mistake is refused before a model is loaded."""

    name = "layer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"[Ll]?(-?\d+)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a number or a name such as L2.", param, ctx)
        return int(match[1])


def load(name: str, quiet: bool, **options: Any) -> tuple[Any, Any]:
    """`attnscope.load` behind a status line, which stands before torch and transformers are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with status(f"loading {name} …", quiet):
        from huggingface_hub.utils import logging as hub_logging
        from transformers.utils import logging

        getLogger("matplotlib.font_manager").setLevel(ERROR)
        if quiet:
            getLogger("attnscope").setLevel(ERROR)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        hub_logging.set_verbosity_error()
        return attnscope.load(name, **options)


def position(value: str | int | None) -> int | str | None:
    """A number as a position, anything else as it is: a token, or the name of a head."""
    return int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() else value


def console() -> Any:
    """A rich console on stdout; where a terminal lacks a letter, the rest is still printed."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(file=sys.stdout)
