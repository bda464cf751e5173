"""What needs something to compare with: `like=` (rows 15, 17, 21), and by way of others `cached=` and `model=`."""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.checks import kv_cache, whole_model
from attnscope.doctor.code_check.match.recipe import compute
from attnscope.doctor.code_check.match.search import Fit, Ways, error_of
from attnscope.doctor.code_check.run.invocation import Suspect
from attnscope.doctor.code_check.run.outputs import Reading, tensors_in
from attnscope.doctor.code_check.run.projections import candidates
from attnscope.doctor.code_check.run.signature import read_signature
from attnscope.doctor.diagnosis import Finding

if TYPE_CHECKING:
    from attnscope.doctor.code_check.examine import Examination


def examine(exam: "Examination", fit: Fit | None, ways: Ways) -> None:
    """The comparisons that were asked for; the others are listed as not examined, with the argument that asks."""
    suspect = fit.suspect if fit else ways[0][0]
    if exam.like is None:
        exam.not_examined.append("fused weights in another layout, heads sliced after the output projection (rows 15, 21): pass like= a reference with the same weights")  # fmt: skip
    else:
        _like(exam, fit, ways)
    if exam.cached is None or exam.cached is False:
        exam.not_examined.append(kv_cache.wanted(suspect))
    else:
        kv_cache.examine(exam, fit or Fit(suspect, exam.base))
    if exam.model is None:
        exam.not_examined.append("left padding without position ids, masks of several texts (rows 20, 23): pass model= the module or function of (ids or embeddings, mask) that uses it")  # fmt: skip
    else:
        whole_model.examine(exam)


def _like(exam: "Examination", fit: Fit | None, ways: Ways) -> None:
    suspect = fit.suspect if fit else ways[0][0]
    mine = copy.deepcopy(exam.fn).eval() if isinstance(exam.fn, nn.Module) else exam.fn
    other = copy.deepcopy(exam.like).eval() if isinstance(exam.like, nn.Module) else exam.like
    inputs = suspect.inputs("like", 7)
    theirs = replace(suspect, fn=mine).run(inputs, still=True)
    reference = _reference(replace(suspect, fn=other, call=read_signature(other.forward if isinstance(other, nn.Module) else other, "like"), permit=None), inputs, theirs)  # fmt: skip
    if reference.output is None:
        exam.not_examined.append(f"like=: it gives no output to compare with ({reference.outcome.error or reference.wrong})")  # fmt: skip
        return
    if theirs.output is not None and error_of(theirs.output, reference.output) < 1e-3:
        exam.conventions["like"] = "the same output"
        if suspect.flat and _by_heads(theirs) and not _by_heads(reference):
            exam.findings.append(
                Finding(
                    "heads-after-projection",
                    21,
                    "what it returns as heads are slices of the output after W_O; each slice mixes all heads",
                    "The output projection adds every head into every dimension, so a slice of its result belongs to no head.",
                    "take the heads before the projection: z[:, h], or its share of the output: z[:, h] @ W_O[h]",
                    "put side by side, they are the reference's whole output",
                    "the sum over heads of what each writes, plus the bias, is the output",
                    "where heads are taken",
                )
            )
        return
    far = float("inf") if theirs.output is None else error_of(theirs.output, reference.output)
    evidence = f"output differs from like= by up to {far:.2g} standard deviations"
    if isinstance(mine, nn.Module) and fit is not None and not fit.mistakes and suspect.projections is not None:
        for p in candidates(mine):
            other_fit = replace(fit, suspect=replace(suspect, projections=p, heads=p.heads, kv_heads=p.kv_heads))
            own = suspect.projections.layout
            if p.layout != own and p.heads == suspect.heads and _close(other_fit, inputs, reference.output):
                exam.findings.append(Finding("fused-layout", 15, f"the fused weight is read as {own}; the reference reads the same weight as {p.layout}", "The shapes are the same in both layouts, so trained weights load and give noise.", "reshape to (heads, 3, size) for NeoX and BLOOM, to (3, heads, size) for GPT-2", evidence, "the same weights give the same output", "where q, k and v are taken from the fused projection"))  # fmt: skip
                return
        for turn in ("half", "adjacent"):
            if turn != fit.recipe.rotary and fit.recipe.rotary != "none" and _close(replace(fit, recipe=fit.recipe.but(rotary=turn)), inputs, reference.output, mine):  # fmt: skip
                exam.findings.append(Finding("rotary-pairs", 17, f"rotary pairs are {fit.recipe.rotary}; the reference pairs {turn}", "Both are in use; weights trained with one give noise in the other unless they are permuted.", "pair dimensions as the weights were trained", evidence, "the same weights give the same output", "the rotary embedding"))  # fmt: skip
                return
    if fit is None or not fit.mistakes:
        exam.findings.append(Finding("unlike", None, "it differs from the reference that was given", "", "compare the steps of both", evidence, "the same weights give the same output", "unknown"))  # fmt: skip


def _reference(suspect: Suspect, inputs: tuple[Tensor, Tensor, Tensor], theirs: Reading) -> Reading:
    """What like= gives. Where it must have a mask, one that permits all: of those it takes, the one under which it agrees."""
    readings = [way.run(inputs, still=True) for way in suspect.permitting()]
    ran = [r for r in readings if r.output is not None and bool(r.output.isfinite().all())]
    if not ran or theirs.output is None:
        return (ran or readings)[0]
    return min(ran, key=lambda r: error_of(r.output, theirs.output))  # type: ignore[arg-type]


def _by_heads(reading: Reading) -> bool:
    """Whether the output came back with an axis of heads."""
    shapes = [x.ndim for x in tensors_in(reading.outcome.value)]
    return bool(shapes) and shapes[0] == 4


def _close(fit: Fit, inputs: Any, output: torch.Tensor, module: nn.Module | None = None) -> bool:
    if module is not None:
        p = next((p for p in candidates(module) if p.heads == fit.suspect.heads), None)
        fit = replace(fit, suspect=replace(fit.suspect, projections=p))
    try:
        return error_of(compute(fit.recipe, fit.operands(inputs)).output, output) < 1e-3
    except RuntimeError:
        return False
