"""Extremes, with the recipe and the mask's convention known: rows without a key, huge scores, half precision."""

import copy
import re
from dataclasses import replace

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.search import Fit, error_of
from attnscope.doctor.code_check.recipe import compute
from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.invocation import Invocation
from attnscope.doctor.code_check.run.outputs import Reading
from attnscope.doctor.code_check.run.probes import FULL
from attnscope.doctor.code_check.run.sandbox import Outcome

Tried = tuple[probes.Form, probes.Convention]  # how a mask is passed
SENTINELS = (-1e4, -1e5, -1e3, -1e2, -1e6, -50.0)  # that people write where -inf belongs
REACHED = -99.0  # scores of trained heads come down to here
_HALF = re.compile(r"half|float16|fp16|autocast|\bamp\b", re.IGNORECASE)
NOT_IN_HALF = (
    "{what}: torch.finfo(scores.dtype).min instead of the sentinel, before it is used in half precision (row 8)."
)
EMPTY_IN_TORCH = "an all-masked row is NaN, as torch's nn.MultiheadAttention has it (row 7): keep such rows out."


def kept_nan(case: Case, name: str, outcome: Outcome, evidence: str) -> None:
    """A mask that spoils what it keeps: beyond the range of float16 where it computes in that, else by 0 · -inf."""
    low, over = outcome.seen.low, outcome.seen.overflow
    if low is None:
        case.find("kept-nan", name=name, evidence=evidence)
        return
    gave = f"{over or 'the sentinel'} gave -inf in {_name(low)}, and 0 · -inf is NaN"
    case.find("sentinel-beyond-half", evidence=f"{evidence}: {gave}")


def half_range(case: Case, fit: Fit, name: str | None, how: Tried | None) -> None:
    """The same code given float16. Beyond its range is a finding where the source speaks of it, else a note."""
    invocation = fit.invocation
    if invocation.ends is not None or case.found_row(8):
        return
    fn = invocation.fn
    if isinstance(fn, nn.Module):
        try:
            fn = copy.deepcopy(fn).half()
        except Exception:
            return
    inputs = invocation.inputs("half", 7)
    low = tuple(x.half() for x in inputs)
    mask = None
    if how is not None:
        if how[1].kind == "additive":  # the caller brings the sentinel
            return
        mask = encoded(invocation, how, some_allowed(invocation, how[0]))
        mask = mask.half() if how[1].kind == "number" else mask
    wide = mask.float() if mask is not None and mask.dtype == torch.float16 else mask
    full = invocation.run(inputs, wide, name, **case.options)
    reading = replace(invocation, fn=fn).run(low, mask, name, **case.options)
    what = _in_half(full, reading)
    if not what:
        return
    if _HALF.search(case.text):
        case.find("sentinel-infinite-in-half", evidence=what, line=reading.outcome.line)
    else:
        case.notes.append(NOT_IN_HALF.format(what=what))


def _in_half(full: Reading, half: Reading) -> str:
    """What goes wrong in float16 and not in float32; an empty string where nothing does."""
    if "without overflow" in half.outcome.error:
        return f"given float16 it raises {half.outcome.error}"
    if full.output is None or half.output is None or not bool(full.output.isfinite().all()):
        return ""
    rows = int((~half.output.isfinite()).any(-1).sum())
    overflow = half.outcome.seen.overflow or "overflow"
    return f"given float16, {rows} output rows are not finite ({overflow})" if rows else ""


def scores_in_half(case: Case, fit: Fit) -> None:
    """q · k in float16 before the scale: with scores of 30,000, which float16 holds, q · k does not fit into it."""
    invocation = fit.invocation
    if case.found_row(8):
        return
    inputs = invocation.inputs("in half", 7)
    calm = invocation.run(inputs, **case.options)
    if calm.outcome.seen.low != torch.float16 or calm.output is None or invocation.ends is not None:
        return
    dot = compute(fit.recipe.but(scale="one", softcap=None), fit.operands(inputs)).scores
    highest = float(dot[dot.isfinite()].abs().max())
    factor = compute(fit.recipe, fit.operands(inputs)).scores
    scaled = float(factor[factor.isfinite()].abs().max())
    grown = (1.0e5 / highest) ** 0.5
    if scaled * grown**2 > 6e4 or grown < 1:
        return
    large = (
        (inputs[0] * grown,) * 3 if invocation.call.inputs == 1 else (inputs[0] * grown, inputs[1] * grown, inputs[2])
    )
    gave = invocation.run(large, **case.options).output
    if gave is not None and not bool(gave.isfinite().all()):
        case.find("scores-in-half", size=f"{highest * grown**2:.3g}")


def empty(case: Case, fit: Fit, name: str, form: probes.Form, convention: probes.Convention) -> None:
    """A row in which no key is allowed. An additive mask brings its own sentinel, which is the caller's choice."""
    inputs = fit.invocation.inputs("empty", 7)
    length = fit.invocation.length
    allowed = torch.ones(inputs[0].shape[0], 1, length, length, dtype=torch.bool)
    if form.padding:
        allowed[0] = False
    else:
        allowed[:, :, 2] = False
    mask = encoded(fit.invocation, (form, convention), allowed)
    if convention.kind == "additive":
        mask = mask.clamp_min(torch.finfo(torch.float32).min)
    reading = fit.invocation.run(inputs, mask, name, still=case.still, sinks=case.sinks)
    if reading.output is None:
        return
    seen = reading.outcome.seen
    plain = fit.invocation.run(inputs, still=case.still, sinks=case.sinks).output
    already = torch.zeros(()) if plain is None else plain.isnan().any(-1)  # rows that its own triangle leaves empty
    nan = int((reading.output.isnan().any(-1) & ~already.bool()).sum())
    if seen.overflow and convention.kind != "additive":
        rows = f"; a row in which every key is masked: {nan} output rows are NaN" if nan else ""
        case.find("sentinel-infinite-in-half", evidence=f"{seen.overflow} gave -inf in {_name(seen.low)}{rows}")
    elif nan and _uses_torchs(case.fn):
        case.notes.append(EMPTY_IN_TORCH)
    elif nan and convention.kind != "additive":
        which = "all keys of text 0 are masked" if form.padding else "query 2 may see no key"
        case.find("empty-row-nan", which=which, count=nan)


def huge(case: Case, fit: Fit, name: str | None, how: Tried | None) -> None:
    """Scores beyond -1e5: a sentinel of -1e4 or -1e5 then loses to them, and masked keys win."""
    invocation, recipe = fit.invocation, fit.recipe
    if recipe.softcap is not None or recipe.softmax != "keys" or recipe.causal_how != "fill" or case.sinks is not None:
        return
    if how is not None and how[1].kind == "additive" and not recipe.causal:
        return
    inputs = invocation.inputs("huge", 7)
    inputs = (inputs[0] * 800,) * 3 if invocation.call.inputs == 1 else (inputs[0] * 800, inputs[1] * 800, inputs[2])
    if invocation.call.inputs == 2:
        inputs = (inputs[0], inputs[1], inputs[1])
    allowed = mask = None
    if how is not None:
        allowed = some_allowed(invocation, how[0])
        mask = encoded(invocation, how, allowed)
    reading = invocation.run(inputs, mask, name, still=case.still)
    if reading.output is None or reading.outcome.seen.low is not None:
        return
    operands = fit.operands(inputs)  # type: ignore[arg-type]
    if error_of(reading.output, compute(recipe, operands, allowed).output) < 1e-2:
        return
    changes = [{"fill": fill} for fill in SENTINELS]
    changes += [{**c, "mask_how": "lower", "causal_how": "lower"} for c in changes]
    for change in changes:
        if error_of(reading.output, compute(recipe.but(**change), operands, allowed).output) < 1e-2:
            used = [s for s in reading.outcome.seen.sentinels if s > -2e6]
            number = used[-1] if used else change["fill"]
            case.find("sentinel-within-reach" if number > REACHED else "sentinel-too-small", number=number)
            return


def some_allowed(invocation: Invocation, form: probes.Form) -> Tensor:
    """[B, 1, 7, 7], True: may look; some keys of each text, or some pairs, as the form of the mask can express."""
    if form.padding:
        return probes.allowed_keys(invocation.batch, invocation.length, invocation.length)
    return probes.allowed_pairs(
        invocation.batch, invocation.length, invocation.length, shared=form.name == "(query, key)"
    )


def shaped(invocation: Invocation, form: probes.Form, allowed: Tensor) -> Tensor | None:
    """The allowed pairs in the form in which a mask is passed; None where that form cannot express them."""
    return allowed.expand(-1, invocation.heads, -1, -1) if form is FULL else form.shaped(allowed)


def encoded(invocation: Invocation, how: Tried, allowed: Tensor) -> Tensor:
    """The mask that is passed in. Its form must be one that was found to work."""
    form, convention = how
    mask = shaped(invocation, form, allowed)
    assert mask is not None
    return convention.encode(mask)


def _uses_torchs(fn: object) -> bool:
    return isinstance(fn, nn.Module) and any(isinstance(m, nn.MultiheadAttention) for m in fn.modules())


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
