"""Extremes, with the recipe and the mask's convention known: rows without a key, huge scores, half precision."""

import copy
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from attnscope.doctor.code_check.match.recipe import compute
from attnscope.doctor.code_check.match.search import Fit, error_of
from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.probes import FULL
from attnscope.doctor.code_check.run.sandbox import Outcome
from attnscope.doctor.diagnosis import Finding

if TYPE_CHECKING:
    from attnscope.doctor.code_check.examine import Examination


def range_finding(evidence: str, line: int | None = None) -> Finding:
    return Finding(
        "sentinel-beyond-half", 8, "the mask's sentinel is beyond the range of float16 (±65504), in which it computes",
        "-1e9 becomes -inf in float16 (an empty row is then NaN), or masked_fill raises; finfo.min plus a score overflows as well.",
        "torch.finfo(scores.dtype).min as the sentinel, with masked_fill and not by adding; or softmax in float32", evidence,
        "masked scores are finite numbers of the type it computes in", "the sentinel of the mask", line,
    )  # fmt: skip


def kept_nan(name: str, outcome: Outcome, said: str) -> Finding:
    """A mask that spoils what it keeps: beyond the range of float16 where it computes in that, else by 0 · -inf."""
    low, over = outcome.seen.low, outcome.seen.overflow
    if low is not None:
        return range_finding(
            f"{said}: {over or 'the sentinel'} gave -inf in {str(low).removeprefix('torch.')}, and 0 · -inf is NaN"
        )
    return Finding(
        "kept-nan", 7, f"whatever {name!r} keeps becomes NaN", "0 · -inf is NaN: a 0/1 mask that is multiplied by -inf spoils the pairs that it keeps.",
        "scores.masked_fill(~allowed, -inf), or a large finite number instead of -inf", said, "a mask that permits everything changes nothing", "how the mask is turned into a sentinel",
    )  # fmt: skip


def half_range(exam: "Examination", fit: Fit, name: str | None, how: tuple[probes.Form, probes.Convention] | None) -> Finding | None:  # fmt: skip
    """The same code given float16. Beyond its range is a finding where the source speaks of it, else a note."""
    suspect = fit.suspect
    if suspect.ends is not None or any(f.row == 8 for f in exam.findings):
        return None
    fn = suspect.fn
    if isinstance(fn, nn.Module):
        try:
            fn = copy.deepcopy(fn).half()
        except Exception:
            return None
    inputs = suspect.inputs("half", 7)
    low = tuple(x.half() for x in inputs)
    mask = None
    if how is not None:
        form, convention = how
        if convention.kind == "additive":  # the caller brings the sentinel
            return None
        allowed = probes.allowed_keys(inputs[0].shape[0], 7, 7) if form.padding else probes.allowed_pairs(inputs[0].shape[0], 7, 7, shared=form.name == "(query, key)")  # fmt: skip
        shaped = allowed.expand(-1, suspect.heads, -1, -1) if form is FULL else form.shaped(allowed)
        assert shaped is not None
        mask = convention.encode(shaped)
        mask = mask.half() if convention.kind == "number" else mask
    full = suspect.run(inputs, mask.float() if mask is not None and mask.dtype == torch.float16 else mask, name, **exam.options)  # fmt: skip
    reading = replace(suspect, fn=fn).run(low, mask, name, **exam.options)
    said = ""
    if "without overflow" in reading.outcome.error:
        said = f"given float16 it raises {reading.outcome.error}"
    elif reading.output is not None and full.output is not None and bool(full.output.isfinite().all()) and not bool(reading.output.isfinite().all()):  # fmt: skip
        said = f"given float16, {int((~reading.output.isfinite()).any(-1).sum())} output rows are not finite ({reading.outcome.seen.overflow or 'overflow'})"  # fmt: skip
    if not said:
        return None
    if re.search(r"half|float16|fp16|autocast|\bamp\b", exam.text, re.IGNORECASE):
        return range_finding(said, reading.outcome.line)
    exam.notes.append(f"{said}: torch.finfo(scores.dtype).min instead of the sentinel, before it is used in half precision (row 8).")  # fmt: skip
    return None


def empty(exam: "Examination", fit: Fit, name: str, form: probes.Form, convention: probes.Convention) -> None:
    """A row in which no key is allowed. An additive mask brings its own sentinel, which is the caller's choice."""
    inputs = fit.suspect.inputs("empty", 7)
    allowed = torch.ones(inputs[0].shape[0], 1, 7, 7, dtype=torch.bool)
    if form.padding:
        allowed[0] = False
    else:
        allowed[:, :, 2] = False
    shaped = allowed.expand(-1, fit.suspect.heads, -1, -1) if form is FULL else form.shaped(allowed)
    assert shaped is not None
    mask = convention.encode(shaped)
    if convention.kind == "additive":
        mask = mask.clamp_min(torch.finfo(torch.float32).min)
    reading = fit.suspect.run(inputs, mask, name, still=exam.still, sinks=exam.sinks)
    if reading.output is None:
        return
    seen = reading.outcome.seen
    plain = fit.suspect.run(inputs, still=exam.still, sinks=exam.sinks).output
    already = torch.zeros(()) if plain is None else plain.isnan().any(-1)  # rows that its own triangle leaves empty
    nan = int((reading.output.isnan().any(-1) & ~already.bool()).sum())
    if seen.overflow and convention.kind != "additive":
        exam.findings.append(range_finding(f"{seen.overflow} gave -inf in {str(seen.low).removeprefix('torch.')}" + (f"; an all-masked row: {nan} output rows are NaN" if nan else "")))  # fmt: skip
    elif (
        nan and isinstance(exam.fn, nn.Module) and any(isinstance(m, nn.MultiheadAttention) for m in exam.fn.modules())
    ):
        exam.notes.append(
            "an all-masked row is NaN, as torch's nn.MultiheadAttention has it (row 7): keep such rows out."
        )
    elif nan and convention.kind != "additive":
        which = "all keys of text 0 are masked" if form.padding else "query 2 may see no key"
        exam.findings.append(Finding(
            "empty-row-nan", 7, "a query that may see no key gets NaN", "softmax of a row of -inf is 0/0; one NaN spreads through every later layer and the gradient. Padding and windows make such rows.",
            "use torch.finfo(scores.dtype).min instead of -inf, or set rows without a key to 0 afterwards", f"{which}: {nan} output rows hold NaN", "an all-masked row gives finite numbers", "the mask's sentinel",
        ))  # fmt: skip


def huge(exam: "Examination", fit: Fit, name: str | None, how: tuple[probes.Form, probes.Convention] | None) -> None:
    """Scores beyond -1e5: a sentinel of -1e4 or -1e5 then loses to them, and masked keys win."""
    suspect, recipe = fit.suspect, fit.recipe
    if recipe.softcap is not None or recipe.softmax != "keys" or recipe.causal_how != "fill" or exam.sinks is not None:
        return
    if how is not None and how[1].kind == "additive" and not recipe.causal:
        return
    inputs = suspect.inputs("huge", 7)
    inputs = (inputs[0] * 800,) * 3 if suspect.call.inputs == 1 else (inputs[0] * 800, inputs[1] * 800, inputs[2])
    if suspect.call.inputs == 2:
        inputs = (inputs[0], inputs[1], inputs[1])
    allowed = mask = None
    if how is not None:
        form, convention = how
        allowed = probes.allowed_keys(inputs[0].shape[0], 7, 7) if form.padding else probes.allowed_pairs(inputs[0].shape[0], 7, 7, shared=form.name == "(query, key)")  # fmt: skip
        shaped = allowed.expand(-1, suspect.heads, -1, -1) if form is FULL else form.shaped(allowed)
        assert shaped is not None
        mask = convention.encode(shaped)
    reading = suspect.run(inputs, mask, name, still=exam.still)
    if reading.output is None or reading.outcome.seen.low is not None:
        return
    operands = fit.operands(inputs)  # type: ignore[arg-type]
    if error_of(reading.output, compute(recipe, operands, allowed).output) < 1e-2:
        return
    changes = [{"fill": fill} for fill in (-1e4, -1e5, -1e3, -1e2, -1e6, -50.0)]
    changes += [{**c, "mask_how": "lower", "causal_how": "lower"} for c in changes]
    for change in changes:
        if error_of(reading.output, compute(recipe.but(**change), operands, allowed).output) < 1e-2:
            fill = change["fill"]
            used = [s for s in reading.outcome.seen.sentinels if -2e6 < s < -40]
            number = used[-1] if used else fill
            exam.findings.append(Finding(
                "sentinel-too-small", 6, f"masked scores are set to {number:g}, which real scores can pass", "Where every allowed score of a row is below the sentinel, masked keys win the softmax.",
                "-inf, or torch.finfo(scores.dtype).min", "with scores near ±1e5 and beyond, masked keys get weight", "a masked key has a weight of exactly 0, whatever the scores", "the sentinel of the mask",
            ))  # fmt: skip
            return
