"""attnscope.check: one door for two questions, told apart by what comes with the first argument."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from attnscope.doctor.diagnosis import Diagnosis
from attnscope.errors import InputError
from attnscope.tracing.held import open_held
from attnscope.tracing.places import check_flag


def check(
    fn: Any,
    tokenizer: Any = None,
    text: Any = None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    causal: bool | None = None,
    like: Any = None,
    cached: Any = None,
    model: Any = None,
    messages: Any = None,
    inputs: Any = None,
    text_pair: Any = None,
    hint: Any = None,
    strict: bool = False,
    allow_uncompared: bool = False,
) -> Diagnosis:
    """What is wrong with this attention, or with how this model reads a text?

    The Diagnosis is false where a finding is an error (the numbers are wrong) or where nothing could be compared. A warning
    (right here, breaks elsewhere) leaves it true. `check(my_attention).raise_for_errors()` raises an AssertionError with the
    report; in pytest `assert check(my_attention)` fails with the same report.

    **Attention code**, `check(my_attention)`: the code runs on small inputs and is compared with the reference. What it
    does on purpose is declared. One call may take 10 seconds and all together 40; the limit of a call holds on the main
    thread of a Unix process only, and not for code that swallows every exception in a loop. `attnscope check FILE.py:NAME`
    kills whatever takes longer. Seeds that the code sets are ignored, so that they hide no randomness.

    **A model in use**, `check(model, tokenizer, text)`: special tokens, chat template, padding, masks, length, NaN,
    dropout, adapters. The model runs a few times without gradients and is left as it was.

    `fn`: A function (query, key, value[, mask][, ...]) on (batch, length, size) or (batch, heads, length, size), which
      returns the output, or output and weights in either order; a module with projections, or its class where that
      needs no arguments. Comments such as # (batch, heads, length, size) settle which axis is which. For a model in
      use: the model, a torch module.
    `tokenizer`: The model's tokenizer. It may be None with `inputs`.
    `text`: One text, or several: a batch, padded as the tokenizer pads.
    `scaling`: What q · k is multiplied by, a number above 0. Default: 1/√(head size).
    `softcap`: The number that no score passes, softcap · tanh(score / softcap), as in Gemma 2. Default: no cap.
    `sinks`: [heads] or [1], one more score each that joins the softmax, as in gpt-oss. Default: none.
    `causal`: True where no token may see a later one, False where it may. Default: either is right.
    `like`: A module or function with the same weights that computes what this code should. Default: not compared.
    `cached`: For a function True (it takes fewer queries than keys) or a function for the last queries; for a module whose
      forward takes a cache True, or a function that makes an empty one. Default: not compared.
    `model`: A module or function of (ids or embeddings, mask) that uses this attention; it runs on one text alone and in a
      batch. Default: not compared.
    `messages`: A chat, [{"role": ..., "content": ...}, ...], in place of `text`.
    `inputs`: Ready tensors by name, input_ids [rows, tokens] and what belongs to them, taken as they are.
    `text_pair`: The second text of a pair, such as a premise's hypothesis.
    `hint`: 1 reports one thing that does not hold, 2 all that do not and their places, 3 everything. Default: 3.
    `strict`: Whether a warning makes the Diagnosis false too. Default: False.
    `allow_uncompared`: Whether code that could be compared with nothing passes. Default: False, and the exit code is 3.

    The result is a Diagnosis, with `findings`, `exit_code`, `raise_for_errors()`, `lines()` and `to_dict()`. Raises InputError
    where the arguments do not fit, or where there is nothing to check.
    """
    check_flag("strict", strict)
    check_flag("allow_uncompared", allow_uncompared)
    declared = {
        "scaling": scaling,
        "softcap": softcap,
        "sinks": sinks,
        "causal": causal,
        "like": like,
        "cached": cached,
        "model": model,
    }
    of_model = {"tokenizer": tokenizer, "text": text, "messages": messages, "inputs": inputs, "text_pair": text_pair}
    given = [name for name, value in of_model.items() if value is not None]
    if given:
        stray = [name for name, value in declared.items() if value is not None]
        if stray:
            raise InputError(
                f"{', '.join(stray)} is declared for attention code, and {given[0]} belongs to a model in use: "
                "check(my_attention, …) and check(model, tokenizer, text) are two questions."
            )
        if allow_uncompared:
            raise InputError("allow_uncompared is for attention code, and not for a model in use. Leave it out.")
        from attnscope.doctor.model_check import check_model

        names = inputs.keys() if isinstance(inputs, Mapping) else ("input_ids",)
        held = open_held(fn, tokenizer, names)
        fn, of_model["tokenizer"] = held.model, held.reader
        return check_model(fn, hint=hint, strict=strict, **of_model)
    whole = isinstance(fn, nn.Module) and callable(getattr(fn, "get_input_embeddings", None))
    if whole or open_held(fn).model is not fn:
        raise InputError(
            f"{type(fn).__name__} is a whole model: give its tokenizer and a text, check(model, tokenizer, text); or the "
            "attention inside it, to compare that with the reference."
        )
    from attnscope.doctor.code_check.examine import check_code

    return check_code(fn, hint=hint, strict=strict, allow_uncompared=allow_uncompared, **declared)
