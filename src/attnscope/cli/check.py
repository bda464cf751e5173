"""attnscope check: hand-written attention, or a model in use on a text.

Code is checked in a process of its own. This one only starts it and prints the answer, so it imports neither torch nor
numpy nor transformers (`tests/packaging/test_light_command.py`).
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

import attnscope
from attnscope.cli.shared import Size, console, load, quiet_option
from attnscope.errors import AttnscopeError, InputError
from attnscope.text.characters import printable
from attnscope.text.status import status

LIMIT = 60.0  # seconds


@click.command()
@click.argument("targets", metavar="FILE.py:NAME | TEXT...", nargs=-1)
@click.option("--explain", metavar="ID", help="Explain the finding of this id, such as softmax-over-queries, and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
@click.option("--strict", is_flag=True, help="Count warnings as errors: exit code 1.")
@click.option("--allow-uncompared", is_flag=True, help="Code: exit code 0 where it could be compared with nothing.")
@click.option(
    "--hint",
    type=click.IntRange(1, 3),
    help="1: one thing that fails; 2: all, and where; 3: the mistakes and their cures.  [default: 3]",
)
@click.option("--scaling", type=Size(), help="Code: the factor of q · k, where it is not 1/√d on purpose.")
@click.option("--softcap", type=Size(), help="Code: the cap of soft-capped scores.  [default: none]")
@click.option("--causal/--no-causal", default=None, help="Code: declare that it is causal, or that it is not.")
@click.option(
    "--limit",
    type=Size(min=0, min_open=True),
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
    explain: str | None,
    as_json: bool,
    strict: bool,
    allow_uncompared: bool,
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

    --model M TEXT checks a model in use: special tokens, chat template, padding, masks, length, NaN, dropout, adapters.
    Several TEXTs are a batch.

    Each finding is an error (the numbers are wrong), a warning (right here, wrong elsewhere) or a note, and has an id:
    --explain ID prints an example, its cure and a reference.

    Exit code: 0 no error, 1 an error (with --strict a warning too), 2 wrong usage, 3 nothing could be compared.
    """
    code = {"scaling": scaling, "softcap": softcap, "causal": causal, "limit": limit}
    code["allow_uncompared"] = allow_uncompared or None
    of_model = {"task": task, "dtype": dtype, "pair": pair, "chat": chat or None}
    how = {"hint": hint, "strict": strict}
    try:
        if explain is not None:
            answer = _explain(explain, targets, model)
        elif model is not None:
            _refuse_code(targets, code)
            answer = _check_model(model, targets, of_model, how, as_json, quiet)
        else:
            _refuse_model(targets, of_model)
            answer = _check_code(targets[0], code, how, as_json, quiet)
    except AttnscopeError as error:
        if not as_json:
            raise
        answer = {"code": 2, "text": str(error), "json": {"error": str(error)}}
    if answer["code"] == 2 and not as_json:
        raise InputError(answer["text"])
    if answer["text"] or as_json:
        click.echo(json.dumps(answer["json"], indent=1) if as_json else printable(answer["text"], colours=True))
    ctx.exit(answer["code"])


def _explain(id: str, targets: tuple[str, ...], model: str | None) -> dict[str, Any]:
    from attnscope.doctor import explain

    if targets or model is not None:
        raise InputError(
            f"expected --explain {id} alone, got {targets[0] if targets else '--model'!r} too. Ask for one at a time: the "
            "explanation, or a check."
        )
    text = explain(id)
    return {"code": 0, "text": text, "json": {"id": id, "explanation": text}}


def _refuse_code(texts: tuple[str, ...], options: dict[str, Any]) -> None:
    """What means nothing to a check of a model."""
    if not texts:
        raise InputError(
            'expected a text to check the model on, got none. Add one: attnscope check --model M "A text."'
        )
    if stray := _given(options):
        raise InputError(
            f"expected options for a model, got {stray[0]}, which is for code. Leave out {stray[0]} or --model."
        )
    files = [text for text in texts if ".py:" in text and os.path.isfile(text.partition(".py:")[0] + ".py")]
    if files:
        raise InputError(
            f"expected a text to check the model on, got {files[0]!r}, which names code in a file. Leave out --model to check "
            "the code."
        )
    if not all(text.strip() for text in texts):
        raise InputError("expected a text to check the model on, got an empty one. Give at least one word.")


def _refuse_model(targets: tuple[str, ...], options: dict[str, Any]) -> None:
    """What means nothing to a check of code."""
    if not targets:
        raise InputError(
            "expected something to check, got nothing. For code: attnscope check attention.py:my_attention; for a model on a "
            'text: attnscope check --model demo "A text."; for the meaning of a finding: attnscope check --explain ID.'
        )
    wrong = [target for target in targets if ".py:" not in target]
    to_a_model = f"To check a model on a text, name it: attnscope check --model demo {(wrong or targets)[0]!r}."
    if stray := _given(options):
        raise InputError(f"expected options for code, got {stray[0]}, which is for a model. {to_a_model}")
    if wrong and wrong[0].endswith(".py"):
        raise InputError(
            f"expected FILE.py:NAME, got {wrong[0]!r} without a name. Add the function or class: {wrong[0]}:my_attention."
        )
    if wrong:
        raise InputError(f"expected FILE.py:NAME, such as attention.py:my_attention, got {wrong[0]!r}. {to_a_model}")
    if len(targets) > 1:
        raise InputError(f"expected one FILE.py:NAME, got {len(targets)}. Check them one at a time.")


def _given(options: dict[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]


def _check_code(target: str, code: dict[str, Any], how: dict[str, Any], as_json: bool, quiet: bool) -> dict[str, Any]:
    """The answer to `check FILE.py:NAME`."""
    limit = code.pop("limit") or LIMIT
    with status(f"checking {target} in a process of its own …", quiet):
        from attnscope.doctor.code_check.run.child_process import examine_file

        given = {name: value for name, value in code.items() if value is not None}
        return examine_file(target, {**given, **how}, limit, colour=sys.stdout.isatty() and not as_json)


def _check_model(
    name: str, texts: Sequence[str], of_model: dict[str, Any], how: dict[str, Any], as_json: bool, quiet: bool
) -> dict[str, Any]:
    """The answer to `check --model`, printed unless it is to be JSON."""
    pair, chat = of_model["pair"], of_model["chat"]
    if chat and (len(texts) > 1 or pair is not None):
        got = f"{len(texts)} texts" if len(texts) > 1 else "--pair too"
        raise InputError(f"--chat: expected one text, a user's message, got {got}. Leave out --chat, or give one text.")
    model, tokenizer = load(name, quiet, task=of_model["task"], dtype=of_model["dtype"])
    if chat:
        read: dict[str, Any] = {"messages": [{"role": "user", "content": texts[0]}]}
    else:
        read = {"text": texts[0] if len(texts) == 1 else list(texts), "text_pair": pair}
    with status("checking the model …", quiet):
        diagnosis = attnscope.check(model, tokenizer, **how, **read)
    if not as_json:
        diagnosis.report(console())
    return {"code": diagnosis.exit_code, "text": "", "json": diagnosis.to_dict()}
