"""One examination of a model in use, from what was given to the Diagnosis."""

import time
from typing import Any

from attnscope.doctor.diagnosis import Diagnosis
from attnscope.doctor.model_check.arguments import open_chart
from attnscope.doctor.model_check.case import Chart
from attnscope.doctor.model_check.checks import adapters, length, masks, numerics, padding, token_ids
from attnscope.doctor.model_check.runs import as_found, mode
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
) -> Diagnosis:
    """Name what is wrong with how a model reads a text.

    `text` is one string, or a list of strings: a batch, padded as the tokenizer pads. `messages` is a chat, turned into
    text by the tokenizer's own template. `inputs` are ready tensors ([rows, tokens] input_ids and what belongs to them),
    taken as they are; `text` may come with them, to see whether it was cut. `hint` = 1 reports only what does not hold,
    2 the place as well, 3 everything.

    Returns a Diagnosis, true when nothing was found; what could not be looked at stands under `not_examined`. The model
    is run a few times, in eval mode and as it was found, without gradients, and left as it was found: flags, buffers,
    random states. Hooks of your own on it see these passes. Raises InputError where the arguments do not fit; what the
    model itself raises is a finding.
    """
    if hint not in (None, 1, 2, 3):
        raise InputError(f"hint is {hint!r}; it is 1 (what fails), 2 (and where) or 3 (the mistake and its cure).")
    started = time.perf_counter()
    chart = open_chart(model, tokenizer, text, messages, inputs, text_pair)
    with as_found(chart.model):
        _course(chart)
    return Diagnosis(
        _name(chart), tuple(chart.findings), chart.conventions, tuple(dict.fromkeys(chart.not_examined)),
        tuple(dict.fromkeys(chart.notes)), hint=hint, seconds=time.perf_counter() - started,
    )  # fmt: skip


def _course(chart: Chart) -> None:
    """What the ids tell, then a pass, then passes beside it; each step needs that the one before went well."""
    token_ids.examine(chart)
    if chart.ids is not None:
        chart.conventions["tokens"] = " and ".join(str(len(chart.visible(r))) for r in range(min(len(chart.ids), 4))) + " …" * (len(chart.ids) > 4)  # fmt: skip
    outputs = None if chart.found("ids-beyond-embedding") else numerics.first_run(chart)
    if chart.found("ids-beyond-embedding", "beyond-window", "raises"):
        chart.not_examined.append("what needs a pass: NaN and overflow, dropout, masks, padding, adapters at work")
        adapters.examine(chart, steady=False)
        return
    length.examine(chart)
    if outputs is None:  # NaN
        chart.not_examined.append("what compares outputs: dropout, masks, padding, adapters at work")
        adapters.examine(chart, steady=False)
        return
    steady = numerics.dice(chart)
    if chart.ids is None:
        chart.not_examined.append("masks and padding: these inputs hold no input_ids")
    elif not steady:
        chart.not_examined.append("masks and padding: the model's outputs cannot be compared with each other")
    else:
        with mode(chart.model):
            masks.mask_is_followed(chart)
            masks.order_is_followed(chart)
            padding.pads_attended(chart, outputs)
            padding.left_padding(chart, outputs)
    adapters.examine(chart, steady)


def _name(chart: Chart) -> str:
    what = "ready inputs"
    if chart.route == "messages":
        what = "a chat"
    elif len(chart.texts) > 1:
        what = f"{len(chart.texts)} texts"
    elif chart.texts:
        text = chart.texts[0]
        what = repr(text if len(text) <= 40 else text[:39] + "…")
    return f"{type(chart.model).__name__} on {what}"
