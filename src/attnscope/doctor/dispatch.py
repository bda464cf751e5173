"""attnscope.check: one door for two questions, told apart by what comes with the first argument."""

from dataclasses import replace
from typing import Any

from torch import nn

from attnscope.doctor.diagnosis import Diagnosis
from attnscope.errors import InputError


def check(
    fn: Any,
    tokenizer: Any = None,
    text: Any = None,
    *,
    messages: Any = None,
    inputs: Any = None,
    text_pair: Any = None,
    hint: Any = None,
    strict: bool = False,
    **declared: Any,
) -> Diagnosis:
    """What is wrong with this attention, or with how this model reads a text? A Diagnosis is true when nothing was found.

    `check(my_attention)` names the mistake in a hand-written function (query, key, value[, mask]) or module. What it does
    on purpose is declared: scaling=, softcap=, sinks=, causal=; like=, cached= and model= give it something to be
    compared with (see `attnscope.doctor.code_check.examine.check`).

    `check(model, tokenizer, text)` looks at a model in use: special tokens, chat template, padding, masks, length, NaN,
    dropout, adapters. `text` is one string or a batch; `messages` a chat; `inputs` ready tensors, with which the tokenizer
    may be None (see `attnscope.doctor.model_check.check_model`).

    `hint` = 1 reports only what does not hold, 2 the place as well, 3 everything. With `strict` a warning makes the
    Diagnosis false, as an error does. Raises InputError where the
    arguments do not fit.
    """
    in_use = {"tokenizer": tokenizer, "text": text, "messages": messages, "inputs": inputs, "text_pair": text_pair}
    given = [name for name, value in in_use.items() if value is not None]
    if given:
        if declared:
            raise InputError(
                f"{', '.join(declared)} is declared for attention code, and {given[0]} belongs to a model in use: "
                "check(my_attention, …) and check(model, tokenizer, text) are two questions."
            )
        from attnscope.doctor.model_check import check_model

        return check_model(fn, hint=hint, strict=strict, **in_use)
    if isinstance(fn, nn.Module) and callable(getattr(fn, "get_input_embeddings", None)):
        raise InputError(
            f"{type(fn).__name__} is a whole model: give its tokenizer and a text, check(model, tokenizer, text); or the "
            "attention inside it, to compare that with the reference."
        )
    from attnscope.doctor.code_check.examine import check as check_code

    return replace(check_code(fn, hint=hint, **declared), strict=strict)
