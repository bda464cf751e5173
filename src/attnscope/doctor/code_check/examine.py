"""One examination, from the first call to the Diagnosis: run, match, then mask, extremes and what was asked besides."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from attnscope.doctor.code_check import report
from attnscope.doctor.code_check.arguments import refuse_unfit
from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.checks import comparisons, execution, invariants, mask_argument, proofs, seen_scores
from attnscope.doctor.code_check.checks.added_weights import added_weights
from attnscope.doctor.code_check.checks.blocks import smaller_blocks
from attnscope.doctor.code_check.checks.causal_meant import meant_causal
from attnscope.doctor.code_check.first_runs import first_runs, runs_of_fit, stilled
from attnscope.doctor.code_check.inside import beside, inside, sound
from attnscope.doctor.code_check.match.blocks import running
from attnscope.doctor.code_check.match.measured_bias import sinks_in_row_sums
from attnscope.doctor.code_check.match.nearest import nearest
from attnscope.doctor.code_check.match.numbers import named_caps, other_scale, other_weights
from attnscope.doctor.code_check.match.search import Fit, Search, Trials
from attnscope.doctor.code_check.recipe import Recipe
from attnscope.doctor.code_check.run.adapting import ready
from attnscope.doctor.code_check.run.candidates import (
    layout_hints,
    text_of,
)
from attnscope.doctor.code_check.run.parts import parts_of
from attnscope.doctor.code_check.run.sandbox import TOTAL, Spent, budget, one_thread
from attnscope.doctor.code_check.suspect_line import source_lines
from attnscope.doctor.diagnosis import Diagnosis
from attnscope.errors import AttnscopeError, InputError

_ONE_MORE = re.compile(
    r"softmax_?(1|one|plus_?one)\b|off[_ -]by[_ -]one|quiet|\(1 \+ sum|null_?(key|attn|attention)", re.IGNORECASE
)
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
        if isinstance(case.fn, nn.Module) and not case.findings:
            _parts(case, trials)
        return
    execution.side_effects(case, trials)
    execution.nondeterminism(case, trials[0])
    trials = stilled(case, trials) if case.still else trials
    if proofs.ignored(case, trials):
        return
    fit = _with_own_cap(case, trials, sound) or inside(case, trials, sound) or _match(case, trials)
    if fit is None and not case.by_scores:
        fit = inside(case, trials, _match) or beside(case, trials)
    if fit is None and not case.by_scores:
        fit = _with_own_cap(case, trials, _match)
    if fit is None and _parts(case, trials):
        return
    if not proofs.unused(case, trials, fit) and fit is None and not added_weights(case, trials):
        invariants.unmatched(case, trials)
    proofs.context_ignored(case, trials)
    if fit is not None:
        mask_argument.after_match(case, fit)
        smaller_blocks(case, fit)
    meant_causal(case, trials)
    comparisons.examine(case, fit, trials)


# --- matching -----------------------------------------------------------------------------------------------------


def _with_own_cap(case: Case, trials: Trials, match: Callable[[Case, Trials], Fit | None]) -> Fit | None:
    """With a soft cap that is a number of the code's own and is called one: taken as it is, like a parameter called a sink."""
    plain = case.base
    if plain.softcap is not None:
        return None
    for name, cap in named_caps(case.fn, case.text).items():
        case.base = plain.but(softcap=cap)
        fit = inside(case, trials, match) or match(case, trials)
        if fit is not None:
            case.conventions["soft cap"] = f"{cap:.4g}, a number of its own called {name}"
            return fit
        case.base = plain
    return None


def _match(case: Case, trials: Trials) -> Fit | None:
    search = Search(case.base, case.causal, case.text, case.sinks, case.options)
    fit = _with_own_sinks(case, search, trials) or _of_groups(case, search, trials)
    fit = fit or search.explain(trials, lambda: seen_scores.surely_more(case, trials))
    if case.by_scores and fit is None:
        return None
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
    guessed = trials[0][0].call.guessed  # what they do may be all that is wrong
    if fit is None and not guessed and (fit := other_weights(search, trials)) is not None:
        case.find("weights-scaled", times=fit.recipe.weights_times)
    fit = fit or running(search, trials) or nearest(search, trials)
    if fit is not None:
        _ambiguity(case, search, trials, fit)
        report.state(case, fit, runs_of_fit(fit, trials))
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


def _with_own_sinks(case: Case, search: Search, trials: Trials) -> Fit | None:
    """Where a module has a parameter called a sink: the search with it in the softmax, mistakes and all."""
    if case.sinks is not None or not isinstance(case.fn, nn.Module):
        return None
    heads = {invocation.heads for invocation, _ in trials}
    for name, p in case.fn.named_parameters():
        if "sink" not in name.lower() or p.numel() not in {1, *heads}:
            continue
        sinks = p.detach().flatten()
        fit = replace(search, sinks=sinks).explain([t for t in trials if sinks.numel() in (1, t[0].heads)])
        if fit is not None:
            case.sinks = sinks
            case.conventions["sinks"] = "a parameter of its own, one score for each head"
            return fit
    return None


def _undeclared_sinks(case: Case, search: Search, trials: Trials) -> Fit | None:
    """One more score in the softmax that a function's row sums show."""
    invocation, _ = trials[0]
    for sinks in sinks_in_row_sums(invocation, case.options):
        fit = replace(search, sinks=sinks).right(trials) if sinks.numel() in (1, invocation.heads) else None
        if fit is not None:
            case.sinks = sinks
            if not bool(sinks.abs().max() > 1e-3) and _ONE_MORE.search(case.text):
                case.conventions["sinks"] = "a score of 0 that stands for no key, as its text says"
            else:
                report.undeclared_sinks(case, sinks)
            return fit
    return None


def _parts(case: Case, trials: Trials) -> bool:
    """Whether all the attentions inside a module, each examined alone, could be compared, or one has a mistake."""
    if (
        not isinstance(case.fn, nn.Module)
        or case.by_scores
        or any(x is not None for x in (case.like, case.cached, case.model))
    ):
        return False
    whole, inputs = (trials[0][0], trials[0][1][0].inputs) if trials else (None, ())
    parts = parts_of(case.fn, whole, inputs)
    inner = {path: _alone(case, path, part) for path, part in parts.items()}
    if not inner or not any(one.compared for one in inner.values()):
        return False
    wrong = any(one.findings for one in inner.values())
    if not wrong and not all(one.compared for one in inner.values()):
        return False
    if whole is not None:
        invariants.batch(case, whole, trials[0][1][0])
        proofs.left_out(case, trials, list(inner))
    case.compared = True
    for path, one in inner.items():
        case.findings += [found for found in one.findings if not case.found(found.name)]
        case.conventions[path] = "; ".join(f"{name}: {text}" for name, text in one.conventions.items())
        case.notes += one.notes
        case.not_examined += one.not_examined
        case.matrices = case.matrices or one.matrices
    names = " and ".join(inner)
    case.notes.append(f"the comparison is of {names}, each alone; what is made of their outputs was not compared.")
    return True


def _alone(case: Case, path: str, part: nn.Module) -> Case:
    """The examination of a part, with nothing declared but the scale and the cap."""
    source = source_lines(getattr(part, "__wrapped__", part))
    one = Case(f"{case.name}.{path}", ready(part, path), case.base, text=text_of(part), source=source, sinks=case.sinks)
    with contextlib.suppress(InputError):
        _examine(one)
    return one
