"""attnscope check: hand-written attention, or a model in use on a text."""

import os
import sys
from typing import Any

import click

import attnscope
from attnscope.cli.shared import console, load, quiet_option
from attnscope.errors import AttnscopeError, InputError
from attnscope.text.status import status

LIMIT = 60.0  # seconds


@click.command()
@click.argument("targets", metavar="FILE.py:NAME | TEXT...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
@click.option(
    "--hint",
    type=click.IntRange(1, 3),
    help="1: only what fails; 2: and where; 3: the mistake and its cure.  [default: 3]",
)
@click.option("--scaling", type=float, help="Code: the factor of q · k, where it is not 1/√d on purpose.")
@click.option("--softcap", type=float, help="Code: the cap of soft-capped scores.  [default: none]")
@click.option("--causal/--no-causal", default=None, help="Code: declare that it is causal, or that it is not.")
@click.option(
    "--limit",
    type=click.FloatRange(min=0, min_open=True),
    help=f"Code: seconds after which it is stopped.  [default: {LIMIT:g}]",
)
@click.option("--model", help="Check this model on TEXT: demo, a hub name, or a folder.")
@click.option("--task", help="Model: the task to load it for, such as text-generation.")
@click.option("--dtype", help="Model: float32, float16 or bfloat16.  [default: the checkpoint's own]")
@click.option("--pair", help="Model: second sentence of a pair.  [default: none]")
@click.option("--chat", is_flag=True, help="Model: TEXT is a user's message; it goes through the chat template.")
@quiet_option
@click.pass_context
def check(
    ctx: click.Context,
    targets: tuple[str, ...],
    as_json: bool,
    hint: int | None,
    scaling: float | None,
    softcap: float | None,
    causal: bool | None,
    limit: float | None,
    model: str | None,
    task: str | None,
    dtype: str | None,
    pair: str | None,
    chat: bool,
    quiet: bool,
) -> None:
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
            answer = _check_model(model, targets, hint, in_use, as_json, quiet)
        else:
            with status(f"checking {targets[0]} in a process of its own …", quiet):
                from attnscope.doctor.code_check.run.child_process import examine_file

                colour = sys.stdout.isatty() and not as_json
                answer = examine_file(targets[0], {**declared, "hint": hint}, limit or LIMIT, colour=colour)
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
    """Options of one of the two questions are refused in the other, where they would mean nothing."""
    stray = [f"--{name}" for name, value in (in_use if model is None else code).items() if value is not None]
    first, *others = list(targets)
    if model is None and (stray or others or ".py:" not in first):
        what = f"{stray[0]} is for a model" if stray else f"{[first, *others][-1]!r} is not FILE.py:NAME"
        raise InputError(
            f"{what}. To check code give one FILE.py:NAME, such as attention.py:my_attention; to check a model on a text, "
            f"say which: attnscope check --model demo {first!r}."
        )
    if model is not None and stray:
        raise InputError(f"{stray[0]} is for code, and --model asks about a model in use: leave one of them out.")
    files = [target for target in targets if os.path.isfile(target.partition(".py:")[0] + ".py")]
    if model is not None and files and ".py:" in files[0]:
        raise InputError(
            f"{files[0]!r} names code in a file; leave --model out to check it, or give a text to check the model on."
        )


def _check_model(
    name: str, texts: tuple[str, ...], hint: int | None, in_use: dict[str, Any], as_json: bool, quiet: bool
) -> dict[str, Any]:
    """The answer to `check --model`, printed unless it is to be JSON."""
    pair, chat = in_use["pair"], in_use["chat"]
    if chat and (len(texts) > 1 or pair is not None):
        raise InputError("--chat takes one text, as a user's message, without --pair.")
    if not all(text.strip() for text in texts):
        raise InputError("text is empty: there is nothing to read. Give at least one word.")
    model, tokenizer = load(name, quiet, task=in_use["task"], dtype=in_use["dtype"])
    text, *others = list(texts)
    if chat:
        read: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    else:
        read = {"text": list(texts) if others else text, "text_pair": pair}
    with status("checking the model …", quiet):
        diagnosis = attnscope.check(model, tokenizer, hint=hint, **read)
    if not as_json:
        diagnosis.report(console())
    return {"code": 0 if diagnosis else 1, "text": "", "json": diagnosis.to_dict()}
