"""One examination of a model in use, from the arguments to the Diagnosis."""

import time
from typing import Any

from attnscope.doctor.diagnosis import Diagnosis
from attnscope.doctor.model_check.arguments import open_case
from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.checks import (
    adapters,
    attention_mask,
    labels,
    length,
    masks,
    numerics,
    padding,
    positions,
    token_ids,
    token_types,
)
from attnscope.doctor.model_check.runs import restored, training_flags
from attnscope.errors import InputError


def check_model(
    model: Any,
    tokenizer: Any,
    text: Any = None,
    *,
    messages: Any = None,
    inputs: Any = None,
    text_pair: Any = None,
    hint: Any = None,
    strict: bool = False,
) -> Diagnosis:
    """Name what is wrong with how a model reads a text.

    `text` is one string, or a list of strings: a batch, padded as the tokenizer pads. `messages` is a chat, rendered by
    the tokenizer's own template. `inputs` are ready tensors (input_ids of shape [rows, tokens] and what belongs to them),
    taken as they are; give `text` too to see whether it was cut. `hint` = 1 reports one thing that does not hold, 2 all that
    do not and their places, 3 everything.

    Returns a Diagnosis, true where no error was found (with `strict`: no warning either); `not_examined` lists what could not be checked. The model runs a
    few times without gradients, in eval mode and as it was found, and is left as it was: flags, buffers, random states.
    Your own hooks on it see these passes. Raises InputError where the arguments do not fit; an error that the model
    itself raises is a finding.
    """
    if hint not in (None, 1, 2, 3):
        raise InputError(
            f"hint: expected 1 (what fails), 2 (and where) or 3 (the mistake and its cure), got {hint!r}. Choose one."
        )
    started = time.perf_counter()
    case = open_case(model, tokenizer, text, messages, inputs, text_pair)
    with restored(case.model):
        _run_checks(case)
    return Diagnosis(
        _name(case),
        tuple(case.findings),
        case.conventions,
        tuple(dict.fromkeys(case.not_examined)),
        tuple(dict.fromkeys(case.notes)),
        hint=hint,
        seconds=time.perf_counter() - started,
        compared=case.compared,
        strict=strict,
    )


def _run_checks(case: Case) -> None:
    """The ids first, then one pass, then passes to compare with it; each step needs that the one before succeeded."""
    if not attention_mask.examine(case):
        return
    token_ids.examine(case)
    labels.examine(case)
    if case.ids is not None:
        lengths = [str(len(case.visible_ids(row))) for row in range(min(len(case.ids), 4))]
        case.conventions["tokens"] = " and ".join(lengths) + " …" * (len(case.ids) > 4)
    outputs = None if case.found("ids-beyond-embedding") else numerics.first_run(case)
    if case.found("ids-beyond-embedding", "beyond-window", "model-raises"):
        case.not_examined.append("what needs a pass: NaN and overflow, dropout, masks, padding, adapters at work")
        adapters.examine(case, comparable=False)
        return
    length.examine(case)
    if outputs is None:  # NaN
        case.not_examined.append("what compares outputs: dropout, masks, padding, adapters at work")
        adapters.examine(case, comparable=False)
        return
    deterministic = numerics.nondeterminism(case)
    if case.ids is None:
        case.not_examined.append("masks and padding: these inputs hold no input_ids")
    elif not deterministic:
        case.not_examined.append("masks and padding: the model's outputs cannot be compared with each other")
    else:
        with training_flags(case.model):
            masks.causal_mask_is_followed(case)
            masks.padding_mask_is_followed(case)
            padding.pads_attended(case, outputs)
            padding.left_padding(case, outputs)
            padding.right_padding(case, outputs)
            positions.examine(case, outputs)
            token_types.examine(case, outputs)
            padding.padding_outside_attention(case, outputs)
    adapters.examine(case, deterministic)


def _name(case: Case) -> str:
    what = "ready inputs"
    if case.route == "messages":
        what = "a chat"
    elif len(case.texts) > 1:
        what = f"{len(case.texts)} texts"
    elif case.texts:
        text = case.texts[0]
        what = repr(text if len(text) <= 40 else text[:39] + "…")
    return f"{type(case.model).__name__} on {what}"
