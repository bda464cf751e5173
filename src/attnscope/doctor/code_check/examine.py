"""One examination, from the first call to the Diagnosis: run, match, then mask, extremes and what was asked besides."""

import re
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from attnscope.doctor.code_check import report
from attnscope.doctor.code_check.arguments import refuse_unfit
from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.checks import comparisons, execution, invariants, mask_argument, proofs
from attnscope.doctor.code_check.checks.around import around
from attnscope.doctor.code_check.match.measured_bias import sinks_in_row_sums
from attnscope.doctor.code_check.match.numbers import other_scale
from attnscope.doctor.code_check.match.search import Fit, Hunt, Ways
from attnscope.doctor.code_check.recipe import Recipe
from attnscope.doctor.code_check.run.adapting import ready
from attnscope.doctor.code_check.run.candidates import (
    batch_is_first,
    fixed_lengths,
    layout_hints,
    of_function,
    of_groups,
    of_module,
    text_of,
    width_of,
    with_latents,
)
from attnscope.doctor.code_check.run.invocation import Invocation, Run
from attnscope.doctor.code_check.run.outputs import Reading, tensors_in
from attnscope.doctor.code_check.run.probes import HEADS
from attnscope.doctor.code_check.run.sandbox import TOTAL, Spent, budget, one_thread
from attnscope.doctor.code_check.run.submodule import Ends
from attnscope.doctor.code_check.suspect_line import source_lines
from attnscope.doctor.diagnosis import Diagnosis
from attnscope.doctor.findings import finding
from attnscope.errors import AttnscopeError, InputError

LENGTHS = (7, 5)
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
    ways = _first_runs(case)
    if not ways:
        return
    execution.side_effects(case, ways)
    execution.nondeterminism(case, ways[0])
    ways = _stilled(case, ways) if case.still else ways
    if proofs.ignored(case, ways):
        return
    fit = _match(case, ways) or _inside(case, ways) or _beside(case, ways)
    if not proofs.unused(case, ways, fit) and fit is None:
        invariants.unmatched(case, ways)
    if fit is not None:
        mask_argument.after_match(case, fit)
    comparisons.examine(case, fit, ways)


# --- runs ---------------------------------------------------------------------------------------------------------


def _first_runs(case: Case) -> Ways:
    """Every way of calling that works, with its runs; findings where none does."""
    heads = case.sinks.numel() if case.sinks is not None and case.sinks.numel() > 1 else None
    if isinstance(case.fn, nn.Module):
        tiers = of_module(case.fn, case.name)
        if not tiers[0]:
            if re.search("attend|attention|attn", f"{case.name} {case.text}", re.IGNORECASE):
                case.skip("no-projections")
                return []
            raise _no_projections(case)
    else:
        tiers = of_function(case.fn, case.name, heads or HEADS)
        case.grouped = _working(case, of_groups(case.fn, case.name, heads))[0]
    failed: list[Reading] = []
    for tier in tiers:
        ways, errors = _working(case, tier)
        failed += errors
        if not ways and tier is tiers[0] and isinstance(case.fn, nn.Module):
            ways = _with_latents(case, tier, errors)
        if not ways and tier is tiers[0] and isinstance(case.fn, nn.Module):
            fixed = ([replace(way, tokens=n) for way in tier] for n in fixed_lengths(case.fn))
            ways = next((found for found in (_working(case, one)[0] for one in fixed) if found), [])
        if ways:
            return ways
        if failed and failed[-1].outcome.timed_out:
            execution.not_run(case, failed[-1], certain=True)
            return []
    if case.grouped:
        return case.grouped
    shape = next((r for r in failed if r.wrong), None)
    unused = tiers[0][0].projections.unused if isinstance(case.fn, nn.Module) and tiers[0][0].projections else ()
    if shape is not None and unused:
        case.skip("own-queries", shapes=shape.wrong, unused=", ".join(unused))
    elif shape is not None and isinstance(case.fn, nn.Module) and shape.as_given:
        case.skip("as-given")
    elif shape is not None and isinstance(case.fn, nn.Module) and not shape.by_token(LENGTHS[0]):
        case.skip("pooled", shapes=shape.wrong)
    elif shape is not None and isinstance(case.fn, nn.Module) and shape.by_token(LENGTHS[0], width=True):
        case.skip("of-another-width", shapes=shape.wrong)
    elif shape is not None and not isinstance(case.fn, nn.Module) and not _certain(case, tiers):
        case.skip("of-another-width", shapes=shape.wrong)
    else:
        half = next((r for r in failed if execution.beyond_half(r.outcome)), None)
        execution.not_run(case, half or shape or failed[0], certain=_certain(case, tiers))
    return []


def _with_latents(case: Case, tier: list[Invocation], failed: list[Reading]) -> Ways:
    """The same ways with queries of the module's own, where it returned as many rows as it has such queries."""
    outputs = [x for r in failed[:1] if r.wrong for x in tensors_in(r.outcome.value)]
    rows = next((x.shape[1] if x.ndim == 3 else 1 for x in outputs if x.ndim in (2, 3)), 0)
    return _working(case, with_latents(tier, rows))[0] if rows else []


def _certain(case: Case, tiers: list[list[Invocation]]) -> bool:
    """Whether the code was surely called as it wants to be: a function of q, k and v, by their names, and of nothing unknown."""
    call = next(way.call for tier in tiers for way in tier)
    named = not isinstance(case.fn, nn.Module) and call.inputs == 3
    return named and not call.guessed and not call.fills and not call.needs_mask


def _no_projections(case: Case) -> InputError:
    width = f" (its width seems to be {width_of(case.fn)})" if width_of(case.fn) else ""
    return InputError(
        f"expected a module with query, key and value projections; found none in {case.name}{width}. Name them so that q, k "
        "and v can be told apart, or check the function inside it."
    )


def _working(case: Case, tier: list[Invocation]) -> tuple[Ways, list[Reading]]:
    """Those ways that give an output, with their runs; and what the others gave, up to the first that never returned."""
    ways: Ways = []
    failed: list[Reading] = []
    known: dict[tuple, list[Run]] = {}
    for invocation in (way for one in tier for way in one.permitting()):
        key = _same_call(invocation)
        if key not in known:
            known[key] = _runs(case, invocation)
            failed += [r.reading for r in known[key][:1] if r.reading.output is None]
            if failed and failed[-1].outcome.timed_out:
                return [], failed
        elif len(known[key]) == 1 and _reread(invocation, known[key][0]).reading.output is not None:
            known[key] = _runs(case, invocation)  # the first reading of the projections expected another shape
        runs = [_reread(invocation, run) for run in known[key]]
        if len(runs) > 1 and runs[0].reading.output is not None:
            ways.append((invocation, runs))
    return ways, failed


def _runs(case: Case, invocation: Invocation) -> list[Run]:
    first, second = LENGTHS
    runs = [invocation.probe(invocation.inputs("self", first), seed=11, **case.options)]
    if runs[0].reading.output is None:
        return runs
    alone = invocation.call.inputs == 1
    other = invocation.probe(invocation.inputs("other", second, None if alone else first), seed=12, **case.options)
    if other.reading.output is None and not alone:
        other = invocation.probe(invocation.inputs("other", second), seed=12, **case.options)
    return [*runs, other]


def _stilled(case: Case, ways: Ways) -> Ways:
    """The same ways, run again with dropout switched off."""
    known: dict[tuple, list[Run]] = {}
    for invocation, _ in ways:
        known.setdefault(_same_call(invocation), _runs(case, invocation))
    return [(invocation, [_reread(invocation, r) for r in known[_same_call(invocation)]]) for invocation, _ in ways]


def _same_call(invocation: Invocation) -> tuple:
    """Ways that differ in nothing but the reading of the projections share their runs."""
    heads = () if invocation.flat else (invocation.heads, invocation.kv_heads)
    return (
        invocation.permit,
        invocation.fill,
        invocation.call.inputs,
        invocation.call.names,
        id(invocation.latents),
        invocation.layout,
        invocation.widths,
        invocation.spread,
        invocation.tokens,
        invocation.size,
        invocation.flat,
        heads,
    )


def _reread(invocation: Invocation, run: Run) -> Run:
    """The same run under another reading of the projections: only the expected shape may differ."""
    return run if run.reading.saw else Run(run.inputs, invocation.read(run.reading.outcome, run.inputs), run.allowed)


# --- matching -----------------------------------------------------------------------------------------------------


def _match(case: Case, ways: Ways) -> Fit | None:
    hunt = Hunt(case.base, case.causal, case.text, case.sinks, case.options)
    fit = _of_groups(case, hunt, ways) or hunt.search(ways)
    if fit is None and case.causal is not None:
        fit = replace(hunt, causal=not case.causal).search(ways)
        if fit is not None:
            report.undeclared_causality(case)
    if fit is None:
        fit = other_scale(hunt, ways)
        if fit is not None:
            report.undeclared_numbers(case, fit)
    if fit is None and case.sinks is None:
        fit = _undeclared_sinks(case, hunt, ways)
    if fit is not None:
        _ambiguity(case, hunt, ways, fit)
        call = _same_call(fit.invocation)
        report.state(case, fit, next((runs for invocation, runs in ways if _same_call(invocation) == call), ways[0][1]))
    return fit


def _of_groups(case: Case, hunt: Hunt, ways: Ways) -> Fit | None:
    """With fewer key heads than query heads, where a function takes that: it shows more than heads of one number."""
    if not case.grouped or ways is case.grouped or any(s.ends for s, _ in ways):
        return None
    grouped = _stilled(case, case.grouped) if case.still else case.grouped
    fit = hunt.right(grouped) or hunt.mistaken(grouped, 1)
    if fit is None and re.search(r"repeat|expand|tile|kv_heads|gqa|group", case.text, re.IGNORECASE):
        fit = hunt.search(grouped)
    if fit is not None:
        ways[:] = grouped
    return fit


def _ambiguity(case: Case, hunt: Hunt, ways: Ways, fit: Fit) -> None:
    """Another layout of a function's axes under which the mistake has another name: its text can settle that."""
    if not fit.mistakes or fit.invocation.projections is not None or layout_hints(case.text):
        return
    for invocation, runs in ways:
        if invocation.layout == fit.invocation.layout or invocation.heads == fit.invocation.heads:
            continue
        other = hunt.mistaken([(invocation, runs)], 1)
        if other is not None and other.mistakes != fit.mistakes:
            names = " and ".join(m.name.replace("-", " ") for m in other.mistakes)
            case.notes.append(AMBIGUOUS.format(taken=fit.invocation.layout, other=invocation.layout, names=names))
            return


def _undeclared_sinks(case: Case, hunt: Hunt, ways: Ways) -> Fit | None:
    """One more score in the softmax: the module's own parameter, or one that its row sums show."""
    invocation, _ = ways[0]
    parameters = case.fn.named_parameters() if isinstance(case.fn, nn.Module) else ()
    named = [p.detach().flatten() for name, p in parameters if "sink" in name.lower()]
    for sinks in [*named, *sinks_in_row_sums(invocation, case.options)]:
        fit = replace(hunt, sinks=sinks).right(ways) if sinks.numel() in (1, invocation.heads) else None
        if fit is not None:
            case.sinks = sinks
            if any(sinks is own for own in named):
                case.conventions["sinks"] = "a parameter of its own, one score for each head"
            else:
                report.undeclared_sinks(case, sinks)
            return fit
    return None


def _inside(case: Case, ways: Ways) -> Fit | None:
    """The attention inside a larger module, between its projections."""
    whole, _ = ways[0]
    ends = Ends.of(whole.projections, whole.fn)
    if ends is None:
        return None
    runs = _runs(case, replace(whole, ends=ends))
    if runs[0].reading.output is None:
        return None
    inner = [(replace(invocation, ends=ends), runs) for invocation, _ in ways]
    fit = _match(case, inner)
    if fit is not None:
        before = len(case.findings)
        invariants.batch(case, whole, ways[0][1][0])
        if len(case.findings) > before and ends.whole and not whole.fn.get_submodule(ends.whole).batch_first:  # type: ignore[attr-defined]
            id = "batch-and-sequence-swapped" if batch_is_first(case.text) else "length-first-assumed"
            case.findings[before:] = [finding(id, evidence=case.findings[-1].evidence)]
        around(case, whole, ways[0][1][0], runs[0])
        case.notes.append(f"there is more in it than attention; the comparison is of what happens {ends}.")
    return fit


def _beside(case: Case, ways: Ways) -> Fit | None:
    """The attention in a module that adds its input to it, or to a share of it that is a parameter of its own."""
    if not isinstance(case.fn, nn.Module) or ways[0][0].projections is None:
        return None
    hunt = Hunt(case.base, case.causal, case.text, case.sinks, case.options)
    shares = [float(p) for p in ways[0][0].fn.parameters() if p.numel() == 1 and abs(float(p)) > 1e-2]  # type: ignore[attr-defined]
    for share in (1.0, *shares[:2]):
        inner = [(invocation, [_less(run, share) for run in runs]) for invocation, runs in ways[:24]]
        fit = hunt.right(inner) or hunt.mistaken(inner, 1)
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
