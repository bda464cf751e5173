"""What needs something to compare with: `like=` (rows 15, 17, 21), and by way of others `cached=` and `model=`."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.checks import kv_cache, whole_model
from attnscope.doctor.code_check.match.search import Fit, Trials, error_of
from attnscope.doctor.code_check.recipe import compute
from attnscope.doctor.code_check.run.invocation import Invocation
from attnscope.doctor.code_check.run.outputs import Reading, tensors_in
from attnscope.doctor.code_check.run.projections import candidates
from attnscope.doctor.code_check.run.signature import read_signature

SAME = 1e-3  # of the output's standard deviation
Inputs = tuple[Tensor, Tensor, Tensor]


def examine(case: Case, fit: Fit | None, trials: Trials) -> None:
    """The comparisons that were asked for; the others are listed as not examined, with the argument that asks."""
    invocation = fit.invocation if fit else trials[0][0]
    if case.like is None:
        case.skip("like")
    else:
        _like(case, fit, invocation)
    if case.cached is None or case.cached is False:
        if case.cached is False or fit is None or not kv_cache.of_itself(case, fit):
            case.skip("cached-module" if isinstance(invocation.fn, nn.Module) else "cached-function")
    else:
        kv_cache.examine(case, fit or Fit(invocation, case.base))
    if case.model is None:
        case.skip("model")
    else:
        whole_model.examine(case)


def _like(case: Case, fit: Fit | None, invocation: Invocation) -> None:
    mine, other = (copy.deepcopy(f).eval() if isinstance(f, nn.Module) else f for f in (case.fn, case.like))
    inputs = invocation.inputs("like", 7)
    theirs = replace(invocation, fn=mine).run(inputs, still=True)
    call = read_signature(other.forward if isinstance(other, nn.Module) else other, "like")
    reference = _reference(replace(invocation, fn=other, call=call, permit=None), inputs, theirs)
    if reference.output is None:
        case.skip("like-no-output", error=reference.outcome.error or reference.wrong)
        return
    case.compared = True
    far = float("inf") if theirs.output is None else error_of(theirs.output, reference.output)
    if far < SAME:
        case.conventions["like"] = "the same output"
        if invocation.flat and _by_heads(theirs) and not _by_heads(reference):
            case.find("heads-after-projection")
        return
    evidence = f"output differs from like= by up to {far:.2g} standard deviations"
    if isinstance(mine, nn.Module) and fit is not None and not fit.mistakes and invocation.projections is not None:
        for id, own, others, changed in _other_readings(fit, mine):
            if _close(changed, inputs, reference.output):
                case.find(id, mine=own, other=others, evidence=evidence)
                return
    if fit is None or not fit.mistakes:
        case.find("unlike", evidence=evidence)


def _other_readings(fit: Fit, module: nn.Module) -> Iterator[tuple[str, str, str, Fit]]:
    """What else the same weights may mean: the finding, how this code reads them, how else, and the fit that does."""
    invocation = fit.invocation
    assert invocation.projections is not None
    own, same_heads = invocation.projections.layout, [p for p in candidates(module) if p.heads == invocation.heads]
    for p in same_heads:
        if p.layout != own:
            other = replace(invocation, projections=p, heads=p.heads, kv_heads=p.kv_heads)
            yield "fused-layout", own, p.layout, replace(fit, invocation=other)
    for turn in ("half", "adjacent") if fit.recipe.rotary != "none" else ():
        if turn != fit.recipe.rotary:
            other = replace(invocation, projections=next(iter(same_heads), None))
            yield (
                "rotary-pairs",
                fit.recipe.rotary,
                turn,
                replace(fit, invocation=other, recipe=fit.recipe.but(rotary=turn)),
            )


def _reference(invocation: Invocation, inputs: Inputs, theirs: Reading) -> Reading:
    """What like= gives. Where it must have a mask, one that permits all: of those it takes, the one under which it agrees."""
    readings = [candidate.run(inputs, still=True) for candidate in invocation.permitting()]
    ran = [r for r in readings if r.output is not None and bool(r.output.isfinite().all())]
    if not ran or theirs.output is None:
        return (ran or readings)[0]
    return min(ran, key=lambda r: error_of(r.output, theirs.output))  # type: ignore[arg-type]


def _by_heads(reading: Reading) -> bool:
    """Whether the output came back with an axis of heads."""
    shapes = [x.ndim for x in tensors_in(reading.outcome.value)]
    return bool(shapes) and shapes[0] == 4


def _close(fit: Fit, inputs: Any, output: torch.Tensor) -> bool:
    try:
        return error_of(compute(fit.recipe, fit.operands(inputs)).output, output) < SAME
    except RuntimeError:
        return False
