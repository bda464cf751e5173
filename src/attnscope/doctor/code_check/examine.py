"""One examination, from the first call to the Diagnosis: run, match, then mask, extremes and what was asked besides."""

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check import report
from attnscope.doctor.code_check.arguments import refuse_unfit
from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.checks import comparisons, execution, invariants, mask_argument, proofs
from attnscope.doctor.code_check.checks.around import around
from attnscope.doctor.code_check.first_runs import first_runs, runs_of, same_call, stilled
from attnscope.doctor.code_check.match.measured_bias import sinks_in_row_sums
from attnscope.doctor.code_check.match.numbers import other_scale
from attnscope.doctor.code_check.match.search import Fit, Search, Trials
from attnscope.doctor.code_check.recipe import Recipe
from attnscope.doctor.code_check.run.adapting import ready
from attnscope.doctor.code_check.run.candidates import (
    batch_is_first,
    layout_hints,
    text_of,
)
from attnscope.doctor.code_check.run.invocation import Run
from attnscope.doctor.code_check.run.sandbox import TOTAL, Spent, budget, one_thread
from attnscope.doctor.code_check.run.submodule import Ends
from attnscope.doctor.code_check.suspect_line import source_lines
from attnscope.doctor.diagnosis import Diagnosis
from attnscope.doctor.findings import finding
from attnscope.errors import AttnscopeError

AMBIGUOUS = (
    "its axes were taken as {taken}; as {other} the mistake is: {names}. Write the one that is meant into it as a comment, "
    "# {other}, to settle it."
)


def check_code(
    fn: Any,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    causal: bool | None = None,
    like: Any = None,
    cached: Any = None,
    model: Any = None,
    hint: int | None = None,
    strict: bool = False,
    allow_uncompared: bool = False,
) -> Diagnosis:
    """Name the mistake in a hand-written attention function or module: `attnscope.check`, which documents the arguments.

    Raises InputError where there is nothing to check, or where what is declared does not fit.
    """
    declared = {"causal": causal, "like": like, "cached": cached, "model": model, "sinks": sinks}
    refuse_unfit(scaling=scaling, softcap=softcap, hint=hint, **declared)
    name = getattr(fn, "__name__", None) or type(fn).__name__
    fn = ready(fn, name)
    base = Recipe(scale="head" if scaling is None else "declared", scaling=scaling, softcap=softcap)
    case = Case(name, fn, base, text=text_of(fn), source=source_lines(getattr(fn, "__wrapped__", fn)), **declared)
    with budget(), one_thread():
        try:
            _examine(case)
        except Spent:
            execution.too_long(case, TOTAL)
        except AttnscopeError:
            raise
        except Exception as error:  # a fault of the doctor's own, and none of the code
            case.skip("own-fault", error=f"{type(error).__name__}: {error}")
    return case.diagnosis(hint, strict, allow_uncompared)


def _examine(case: Case) -> None:
    trials = first_runs(case)
    if not trials:
        return
    execution.side_effects(case, trials)
    execution.nondeterminism(case, trials[0])
    trials = stilled(case, trials) if case.still else trials
    if proofs.ignored(case, trials):
        return
    fit = _match(case, trials) or _inside(case, trials) or _beside(case, trials)
    if not proofs.unused(case, trials, fit) and fit is None:
        invariants.unmatched(case, trials)
    if fit is not None:
        mask_argument.after_match(case, fit)
    comparisons.examine(case, fit, trials)


# --- matching -----------------------------------------------------------------------------------------------------


def _match(case: Case, trials: Trials) -> Fit | None:
    search = Search(case.base, case.causal, case.text, case.sinks, case.options)
    fit = _of_groups(case, search, trials) or search.explain(trials)
    if fit is None and case.causal is not None:
        fit = replace(search, causal=not case.causal).explain(trials)
        if fit is not None:
            report.undeclared_causality(case)
    if fit is None:
        fit = other_scale(search, trials)
        if fit is not None:
            report.undeclared_numbers(case, fit)
    if fit is None and case.sinks is None:
        fit = _undeclared_sinks(case, search, trials)
    if fit is not None:
        _ambiguity(case, search, trials, fit)
        call = same_call(fit.invocation)
        report.state(
            case, fit, next((runs for invocation, runs in trials if same_call(invocation) == call), trials[0][1])
        )
    return fit


def _of_groups(case: Case, search: Search, trials: Trials) -> Fit | None:
    """With fewer key heads than query heads, where a function takes that: it shows more than heads of one number."""
    if not case.grouped or trials is case.grouped or any(s.ends for s, _ in trials):
        return None
    grouped = stilled(case, case.grouped) if case.still else case.grouped
    fit = search.right(grouped) or search.mistaken(grouped, 1)
    if fit is None and re.search(r"repeat|expand|tile|kv_heads|gqa|group", case.text, re.IGNORECASE):
        fit = search.explain(grouped)
    if fit is not None:
        trials[:] = grouped
    return fit


def _ambiguity(case: Case, search: Search, trials: Trials, fit: Fit) -> None:
    """Another layout of a function's axes under which the mistake has another name: its text can settle that."""
    if not fit.mistakes or fit.invocation.projections is not None or layout_hints(case.text):
        return
    for invocation, runs in trials:
        if invocation.layout == fit.invocation.layout or invocation.heads == fit.invocation.heads:
            continue
        other = search.mistaken([(invocation, runs)], 1)
        if other is not None and other.mistakes != fit.mistakes:
            names = " and ".join(m.name.replace("-", " ") for m in other.mistakes)
            case.notes.append(AMBIGUOUS.format(taken=fit.invocation.layout, other=invocation.layout, names=names))
            return


def _undeclared_sinks(case: Case, search: Search, trials: Trials) -> Fit | None:
    """One more score in the softmax: the module's own parameter, or one that its row sums show."""
    invocation, _ = trials[0]
    parameters = case.fn.named_parameters() if isinstance(case.fn, nn.Module) else ()
    named = [p.detach().flatten() for name, p in parameters if "sink" in name.lower()]
    for sinks in [*named, *sinks_in_row_sums(invocation, case.options)]:
        fit = replace(search, sinks=sinks).right(trials) if sinks.numel() in (1, invocation.heads) else None
        if fit is not None:
            case.sinks = sinks
            if any(sinks is own for own in named):
                case.conventions["sinks"] = "a parameter of its own, one score for each head"
            else:
                report.undeclared_sinks(case, sinks)
            return fit
    return None


def _inside(case: Case, trials: Trials) -> Fit | None:
    """The attention inside a larger module, between its projections."""
    whole, _ = trials[0]
    ends = Ends.of(whole.projections, whole.fn)
    if ends is None:
        return None
    runs = runs_of(case, replace(whole, ends=ends))
    if runs[0].reading.output is None:
        return None
    if all(map(_nothing_around, runs, trials[0][1])):
        return None  # the same numbers went through the same search already
    inner = [(replace(invocation, ends=ends), runs) for invocation, _ in trials]
    fit = _match(case, inner)
    if fit is not None:
        before = len(case.findings)
        invariants.batch(case, whole, trials[0][1][0])
        if len(case.findings) > before and ends.whole and not whole.fn.get_submodule(ends.whole).batch_first:  # type: ignore[attr-defined]
            id = "batch-and-sequence-swapped" if batch_is_first(case.text) else "length-first-assumed"
            case.findings[before:] = [finding(id, evidence=case.findings[-1].evidence)]
        around(case, whole, trials[0][1][0], runs[0])
        case.notes.append(f"there is more in it than attention; the comparison is of what happens {ends}.")
    return fit


def _nothing_around(inner: Run, outer: Run) -> bool:
    """Whether the projections take the input itself, and the last of them gives the output."""
    saw, pairs = inner.reading.saw, [(inner.reading.output, outer.reading.output)]
    pairs += [] if saw is None else zip(saw, outer.inputs, strict=True)
    same = (a is not None and b is not None and a.shape == b.shape and torch.equal(a, b) for a, b in pairs)
    return saw is not None and not inner.reading.twice and all(same)


def _beside(case: Case, trials: Trials) -> Fit | None:
    """The attention in a module that adds its input to it, or to a share of it that is a parameter of its own."""
    if not isinstance(case.fn, nn.Module) or trials[0][0].projections is None:
        return None
    search = Search(case.base, case.causal, case.text, case.sinks, case.options)
    own = [float(p.detach()) for p in trials[0][0].fn.parameters() if p.numel() == 1]  # type: ignore[attr-defined]
    shares = [p for p in own if abs(p) > 1e-2]
    for share in (1.0, *shares[:2]):
        inner = [(invocation, [_less(run, share) for run in runs]) for invocation, runs in trials[:24]]
        fit = search.right(inner) or search.mistaken(inner, 1)
        if fit is not None:
            times = "" if share == 1 else f" ({share:.3g} times, a parameter of its own)"
            case.notes.append(f"it adds its input to the attention{times}; the comparison is of the attention.")
            report.state(case, fit, next(runs for invocation, runs in inner if invocation is fit.invocation))
            return fit
    return None


def _less(run: Run, share: float) -> Run:
    """The run with its input taken off the output, and the rest divided by `share`."""
    output = run.reading.output
    if output is None or output.shape != run.inputs[0].shape:
        return run
    return replace(run, reading=replace(run.reading, output=(output - run.inputs[0]) / share), known={})
