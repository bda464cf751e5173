"""Masks that show in the outputs alone: a number written after the softmax, and outputs of padded tokens set to a constant."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from attnscope.doctor.code_check import report
from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.mistakes import BY_NAME
from attnscope.doctor.code_check.match.search import Fit, agrees, error_of, tolerance
from attnscope.doctor.code_check.recipe import Result, compute
from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.invocation import Run

MISTAKE = BY_NAME["mask-filled-after-softmax"]
Attempt = tuple[probes.Form, probes.Convention, Run]


def hides_outputs(case: Case, fit: Fit, run: Run) -> bool:
    """Whether the code agrees for every token that the mask keeps, and gives all others one and the same output (zeros, say)."""
    theirs = run.reading.output
    reference = _computed(case, fit, run)
    if theirs is None or reference is None or run.allowed is None or fit.invocation.call.inputs != 1:
        return False
    expected, kept = reference.output.clone(), run.allowed[:, 0, 0]  # [B, T]
    if theirs.shape != expected.shape or theirs.shape[-2] != kept.shape[-1] or bool(kept.all()):
        return False
    hidden = ~kept.view(len(kept), *[1] * (theirs.ndim - 3), -1).expand(theirs.shape[:-1])
    expected[hidden] = torch.nan
    rows = theirs[hidden].nan_to_num()
    return error_of(theirs, expected) <= tolerance(run.reading) and bool(((rows - rows[:1]).abs() < 1e-5).all())


def filled_after(case: Case, fit: Fit, name: str, attempts: list[Attempt], plain: Tensor | None) -> bool:
    """Whether a number was written into the weights after the softmax, whatever number: a finding then."""
    for form, convention, run in attempts:
        number = _infinite(run, plain) if run.reading.output is not None else None
        number = _number(case, fit, run) if number is None else number
        if number is None:
            continue
        case.conventions[name] = f"{form.name}, {convention.name}"
        wrong = replace(fit, recipe=fit.recipe.but(mask_how="after_fill", fill=number), mistakes=(MISTAKE,))
        report.add(case, MISTAKE, wrong, run)
        report.draw(case, wrong, run)
        return True
    return False


def _number(case: Case, fit: Fit, run: Run) -> float | None:
    """The output is a straight line in the number that is written: two points of it say which number gives theirs."""
    theirs = run.reading.output
    lines = [_computed(case, _with(fit, number), run) for number in (0.0, 1.0)]
    if theirs is None or any(line is None for line in lines):
        return None
    start, slope = lines[0].output, lines[1].output - lines[0].output  # type: ignore[union-attr]
    if theirs.shape != start.shape or not bool(theirs.isfinite().all()) or not float(slope.abs().max()) > 1e-3:
        return None
    number = float(((theirs - start).double() * slope.double()).sum() / slope.double().square().sum())
    return number if abs(number) > 1e-2 and agrees(_with(fit, number), [run], case.sinks) else None


def _infinite(run: Run, plain: Tensor | None) -> float | None:
    """-inf, where exactly those queries from which the mask hides a key, and not every key, have outputs that are not finite."""
    theirs, allowed = run.reading.output, run.allowed
    if theirs is None or plain is None or allowed is None or theirs.shape != plain.shape:
        return None
    hides = (~allowed).any(-1) & allowed.any(-1)  # [B, 1 or H, Q]
    lost = ~theirs.isfinite().all(-1)  # [B, Q] or [B, H, Q]
    hides = hides[:, 0] if lost.ndim == 2 else hides.expand(lost.shape)
    others = theirs[~lost]
    same = len(others) == 0 or bool(((others - plain[~lost]).abs() < 1e-4).all())
    return -math.inf if bool(lost.any()) and not bool(lost.all()) and torch.equal(lost, hides) and same else None


def _with(fit: Fit, number: float) -> Fit:
    return replace(fit, recipe=fit.recipe.but(mask_how="after_fill", fill=number))


def _computed(case: Case, fit: Fit, run: Run) -> Result | None:
    try:
        return compute(fit.recipe, fit.operands(run.inputs, case.sinks), run.allowed)
    except RuntimeError:
        return None
