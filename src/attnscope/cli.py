"""The command line: thin, over the same functions."""

import io
import os
import sys
from typing import Any

import click

import attnscope
from attnscope.errors import AttnscopeError, InputError
from attnscope.views.state import LEVELS


class _Commands(click.Group):
    """Errors raised on purpose become one paragraph and exit code 2, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AttnscopeError as error:
            click.echo(f"attnscope: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(attnscope.__version__, prog_name="attnscope")
def main() -> None:
    """A microscope for self-attention. Layers and heads count from 0."""


@main.command()
@click.argument("text")
@click.option("--model", default="demo", show_default=True, help="demo, a hub name, or a folder.")
@click.option("--layer", type=int, help="Layer to open on.")
@click.option("--head", help="Head to open on: a number, or a name such as L2H8.")
@click.option("--query", help="Query token to open on: the token as written, or its position.")
@click.option("--key", help="Key token to pin: the token as written, or its position.")
@click.option("--stack", help='Stack, for models with several: "encoder", "decoder" or "cross".')
@click.option("--pair", help="Second sentence of a pair.")
@click.option("--target", help="What the decoder of an encoder-decoder model reads.")
@click.option("--generate", type=click.IntRange(min=0), default=0, help="Let the model continue by up to N tokens.")
@click.option("--truncate", is_flag=True, help="Cut a text that is too long for the model.")
@click.option("--task", help="Load the model for a task, such as text-generation.")
@click.option("--level", type=click.Choice(LEVELS), help="Level to open on.  [default: neuron]")
@click.option(
    "--terminal", is_flag=True, help="Draw the head and the neuron level here; a page is written only with --out."
)
@click.option("--out", type=click.Path(dir_okay=False), help="Page to write.  [default: attnscope.html]")
@click.option("--theme", type=click.Choice(["auto", "light", "dark"]), default="auto", show_default=True)
@click.option(
    "--max-mb", type=float, default=12, show_default=True,
    help="Largest size of the numbers in the page; the app and small pictures of all heads add 0.4 to 1.4 MB.",
)  # fmt: skip
@click.option(
    "--exact", is_flag=True, help="Keep every number as it is, as far as --max-mb goes: no rounding to 16 bits."
)
@click.option("--open/--no-open", "opens", default=True, help="Open the page where there is a display.")
def show(
    text: str, model: str, layer: int | None, head: str | None, query: str | None, key: str | None, stack: str | None,
    pair: str | None, target: str | None, generate: int, truncate: bool, task: str | None, level: str | None, terminal: bool,
    out: str | None, theme: str, max_mb: float, exact: bool, opens: bool,
) -> None:  # fmt: skip
    """Trace TEXT and write a page that shows its attention, or draw it here."""
    from rich.console import Console

    from attnscope.render import has_display
    from attnscope.render.terminal import check_levels, draw

    drawn = () if not terminal else ("head", "neuron") if level is None else (level,)
    check_levels(drawn)
    console = Console(stderr=True)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    _quiet()
    with console.status(f"loading {model} …"):
        loaded, tokenizer = attnscope.load(model, task=task)
    with console.status("running the model once …"):
        view = attnscope.show(
            loaded, tokenizer, text, level=level or "neuron", layer=layer, head=head, query=_position(query), key=_position(key),
            stack=stack, theme=theme, max_mb=max_mb, exact=exact, text_pair=pair, text_target=target, generate=generate, truncate=truncate,
        )  # fmt: skip
        path = None if terminal and out is None else view.save(out or "attnscope.html").resolve()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no such letter still gets the rest
    draw(view, Console(file=sys.stdout), drawn)
    if path is not None:
        click.echo(str(path))
        if opens and has_display():
            view.open(path)


@main.command()
@click.argument("targets", metavar="FILE.py:NAME | TEXT...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
@click.option(
    "--hint", type=click.IntRange(1, 3), help="1: only what fails; 2: and where; 3: the mistake and its cure."
)
@click.option("--scaling", type=float, help="Code: what q · k is multiplied by, where it is not 1/√d on purpose.")
@click.option("--softcap", type=float, help="Code: the cap of soft-capped scores.")
@click.option("--causal/--no-causal", default=None, help="Code: declare that it is causal, or that it is not.")
@click.option(
    "--limit",
    type=click.FloatRange(min=0, min_open=True),
    help="Code: seconds after which it is stopped.  [default: 60]",
)
@click.option("--model", help="Check this model on TEXT: demo, a hub name, or a folder.")
@click.option("--task", help="Model: load it for a task, such as text-generation.")
@click.option("--dtype", help="Model: load it as float32, float16 or bfloat16.")
@click.option("--pair", help="Model: second sentence of a pair.")
@click.option("--chat", is_flag=True, help="Model: TEXT is a user's message; it goes through the chat template.")
@click.pass_context
def check(
    ctx: click.Context, targets: tuple[str, ...], as_json: bool, hint: int | None, scaling: float | None,
    softcap: float | None, causal: bool | None, limit: float | None, model: str | None, task: str | None,
    dtype: str | None, pair: str | None, chat: bool,
) -> None:  # fmt: skip
    """Name the mistake in hand-written attention, or what is wrong with how a model reads a text.

    FILE.py:NAME is a function, a module's class that needs no arguments, or a call such as 'attention.py:Attention(30, 5)'.
    The code runs in a process of its own.

    --model M TEXT looks at a model in use: special tokens, chat template, padding, masks, length, NaN, dropout, adapters.
    Several TEXTs are a batch.

    Exit code: 0 nothing found, 1 a finding, 2 wrong usage.
    """
    import json

    declared = {"scaling": scaling, "softcap": softcap, "causal": causal}
    in_use = {"task": task, "dtype": dtype, "pair": pair, "chat": chat or None}
    try:
        _refuse_mixed(targets, model, {**declared, "limit": limit}, in_use)
        if model is not None:
            answer = _check_model(model, targets, hint, task, dtype, pair, chat, as_json)
        else:
            from attnscope.doctor.code_check.run.child_process import examine_file

            colour = sys.stdout.isatty() and not as_json
            answer = examine_file(targets[0], {**declared, "hint": hint}, limit or 60, colour=colour)
    except AttnscopeError as error:
        if not as_json:
            raise
        answer = {"code": 2, "text": str(error), "json": {"error": str(error)}}
    if answer["code"] == 2 and not as_json:
        raise InputError(answer["text"])
    if answer["text"] or as_json:
        click.echo(json.dumps(answer["json"], indent=1) if as_json else answer["text"])
    ctx.exit(answer["code"])


def _refuse_mixed(targets: tuple[str, ...], model: str | None, code: dict[str, Any], in_use: dict[str, Any]) -> None:
    """`check` answers two questions; what belongs to the one says nothing in the other."""
    stray = [f"--{name}" for name, value in (in_use if model is None else code).items() if value is not None]
    first, *others = list(targets)
    if model is None and (stray or others or ".py:" not in first):
        what = f"{stray[0]} is for a model" if stray else f"{[first, *others][-1]!r} is not FILE.py:NAME"
        raise InputError(
            f"{what}. To check code give one FILE.py:NAME, such as attention.py:my_attention; to check a model on a text, say "
            f"which: attnscope check --model demo {first!r}."
        )
    if model is not None and stray:
        raise InputError(f"{stray[0]} is for code, and --model asks about a model in use: leave one of them out.")
    files = [target for target in targets if os.path.isfile(target.partition(".py:")[0] + ".py")]
    if model is not None and files and ".py:" in files[0]:
        raise InputError(f"{files[0]!r} names code in a file; leave --model out to check it, or give a text to check the model on.")  # fmt: skip


def _check_model(
    name: str, texts: tuple[str, ...], hint: int | None, task: str | None, dtype: str | None, pair: str | None, chat: bool,
    as_json: bool,
) -> dict[str, Any]:  # fmt: skip
    """The answer to `check --model`, printed unless it is to be JSON."""
    from rich.console import Console

    if chat and (len(texts) > 1 or pair is not None):
        raise InputError("--chat takes one text, as a user's message, without --pair.")
    if not all(text.strip() for text in texts):
        raise InputError("text is empty: there is nothing to read. Give at least one word.")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    _quiet()
    with Console(stderr=True).status(f"loading {name} …"):
        model, tokenizer = attnscope.load(name, task=task, dtype=dtype)
    text, *others = list(texts)
    if chat:
        read: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    else:
        read = {"text": list(texts) if others else text, "text_pair": pair}
    diagnosis = attnscope.check(model, tokenizer, hint=hint, **read)
    if not as_json:
        diagnosis.report(Console(file=sys.stdout))
    return {"code": 0 if diagnosis else 1, "text": "", "json": diagnosis.to_dict()}


@main.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["demo"],
    show_default=True,
    help="demo, a hub name, or a folder; may be given several times.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any that is free.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; by default only this machine can ask."
)
@click.option("--origin", "origins", multiple=True, help="The address people use where a proxy stands in front.")
@click.option(
    "--max-tokens", type=click.IntRange(min=2), default=2048, show_default=True, help="Longest text that is read."
)
@click.option(
    "--keep-mb", type=click.FloatRange(min=1), default=512, show_default=True, help="Room for the texts that were read."
)
@click.option("--open/--no-open", "opens", default=True, help="Open the page where there is a display.")
def serve(
    models: tuple[str, ...], port: int, host: str, origins: tuple[str, ...], max_tokens: int, keep_mb: float, opens: bool
) -> None:  # fmt: skip
    """Serve a page on which a text can be typed and looked at.

    It prints an address with a token, which lets one in; Ctrl-C ends it. The token is made anew each time, or is ATTNSCOPE_TOKEN.
    """
    import secrets
    import webbrowser

    from rich.console import Console

    from attnscope.render import has_display

    try:
        from attnscope.render.server import run
        from attnscope.render.server.limits import Limits
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise InputError("attnscope serve needs starlette and uvicorn: pip install 'attnscope[serve]'.") from None
    token = os.environ.get("ATTNSCOPE_TOKEN") or secrets.token_urlsafe(32)
    if len(token) < 16 or not token.isascii() or not token.isprintable():
        raise InputError(
            "ATTNSCOPE_TOKEN must be at least 16 ASCII characters that nobody can guess; leave it out to have one made."
        )
    origins = tuple(map(run.check_origin, origins))
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    _quiet()
    with run.listen(host, port) as taken:
        readers = {}
        for name, model in zip(_short(models), models, strict=True):
            with Console(stderr=True).status(f"loading {model} …"):
                readers[name] = _reader(model, max_tokens)
        url = run.address(host, taken.getsockname()[1], token, origins)

        def started() -> None:
            click.echo(f"attnscope serves {', '.join(readers)} at\n\n    {url}\n\nCtrl-C ends it.")
            if opens and has_display():
                webbrowser.open(url)

        limits = Limits(keep=round(keep_mb * 1e6))
        run.serve(readers, taken, token=token, host=host, origins=origins, limits=limits, started=started)


def _short(models: tuple[str, ...]) -> list[str]:
    """Names for people: of a folder its last part, unless two are called the same. Each model once."""
    if len(set(models)) < len(models):
        raise InputError("--model names the same model twice; each is loaded once.")
    short = [os.path.basename(os.path.normpath(model)) if os.path.isdir(model) else model for model in models]
    return [name if short.count(name) == 1 else model for name, model in zip(short, models, strict=True)]


def _reader(name: str, max_tokens: int) -> Any:
    """What reads a text with this model, which is loaded, for the server."""
    from attnscope.api import FOR_STEPS
    from attnscope.models.inputs import max_positions

    model, tokenizer = attnscope.load(name)
    own = max_positions(model) or sys.maxsize  # longer texts are refused, or cut, by the library itself

    def read(text: str, pair: str | None = None, truncate: bool = False) -> Any:
        if own > max_tokens and text.strip():
            count = len(tokenizer(text, pair)["input_ids"]) if pair else len(tokenizer(text)["input_ids"])
            if count > max_tokens:
                raise InputError(
                    f"the text has {count} tokens, and this server reads at most {max_tokens} at once. Shorten the text, or start the "
                    "server with a larger --max-tokens."
                )
        return attnscope.trace(model, tokenizer, text, text_pair=pair, truncate=truncate, keep=FOR_STEPS)

    read("Hello.")  # the first pass is slow: nobody should have to wait for it
    return read


def _position(value: str | None) -> int | str | None:
    """A number as a position, anything else as a token."""
    return int(value) if value is not None and value.lstrip("-").isdigit() else value


def _quiet() -> None:
    """Leave the terminal to what the user asked for."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
