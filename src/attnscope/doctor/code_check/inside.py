"""Attention inside a larger module: between a norm and a residual sum, or with its own input added."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from attnscope.doctor.code_check import report
from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.checks import invariants
from attnscope.doctor.code_check.checks.around import around
from attnscope.doctor.code_check.first_runs import runs_of, runs_of_fit, same_call
from attnscope.doctor.code_check.match.search import Fit, Search, Trials
from attnscope.doctor.code_check.run.candidates import batch_is_first
from attnscope.doctor.code_check.run.invocation import Invocation, Run
from attnscope.doctor.code_check.run.parts import attentions_beside
from attnscope.doctor.code_check.run.submodule import Ends
from attnscope.doctor.findings import finding


def sound(case: Case, trials: Trials) -> Fit | None:
    """What the short search finds: no mistake."""
    fit = Search(case.base, case.causal, case.text, case.sinks, case.options).sound(trials)
    if fit is not None:
        report.state(case, fit, runs_of_fit(fit, trials))
    return fit


def inside(case: Case, trials: Trials, match: Callable[[Case, Trials], Fit | None]) -> Fit | None:
    """The attention inside a larger module, between its projections. Asked for the right recipe first, since of the whole no recipe is
    right where there is more in it, and a search for mistakes in vain is long."""
    whole, _ = trials[0]
    ends = Ends.of(whole.projections, whole.fn)
    if ends is None or (isinstance(whole.fn, nn.Module) and attentions_beside(whole.fn, ends.query)):
        return None  # each of several is examined alone
    runs = runs_of(case, replace(whole, ends=ends))
    if runs[0].reading.output is None:
        return None
    if all(map(_nothing_around, runs, trials[0][1])):
        return None  # the same numbers go through the same search anyway
    if match is sound and not _of_their_inputs(case, replace(whole, ends=ends), runs[0]):
        return None
    inner, known = [], {same_call(whole): runs}
    for invocation, _ in trials:  # another mask that permits all, say, is another run
        one = replace(invocation, ends=ends)
        key = same_call(invocation)
        if key not in known:
            known[key] = runs_of(case, one)
        if len(known[key]) > 1 and all(run.reading.output is not None for run in known[key]):
            inner.append((one, known[key]))
    fit = match(case, inner)
    if fit is not None:
        before = len(case.findings)
        invariants.batch(case, whole, trials[0][1][0])
        if len(case.findings) > before and ends.whole and not whole.fn.get_submodule(ends.whole).batch_first:  # type: ignore[attr-defined]
            id = "batch-and-sequence-swapped" if batch_is_first(case.text) else "length-first-assumed"
            case.findings[before:] = [finding(id, evidence=case.findings[-1].evidence)]
        called = same_call(fit.invocation)
        used = next((i for i, (one, _) in enumerate(trials) if same_call(one) == called), 0)
        around(case, trials[used][0], trials[used][1][0], runs_of_fit(fit, inner)[0])
        case.notes.append(f"there is more in it than attention; the comparison is of what happens {ends}.")
    return fit


def _nothing_around(inner: Run, outer: Run) -> bool:
    """Whether the projections take the input itself, and the last of them gives the output."""
    saw, pairs = inner.reading.saw, [(inner.reading.output, outer.reading.output)]
    pairs += [] if saw is None else zip(saw, outer.inputs, strict=True)
    same = (a is not None and b is not None and a.shape == b.shape and torch.equal(a, b) for a, b in pairs)
    return saw is not None and not inner.reading.twice and all(same)


def _of_their_inputs(case: Case, inner: Invocation, run: Run) -> bool:
    """Whether queries, keys and values each are made of the input that is theirs, where a module takes several: the whole is asked first
    where they are not."""
    count = inner.call.inputs
    x = inner.inputs("self", 7)
    for i in range(count) if count > 1 else ():
        other = inner.inputs("other numbers", *(one.shape[-2] for one in x[:2]))
        saw = inner.run(
            tuple(b if j == i else a for j, (a, b) in enumerate(zip(x, other, strict=True))), seed=11, **case.options
        ).saw
        if saw is None or run.reading.saw is None:
            return False
        moved = [not torch.equal(a, b) for a, b in zip(saw, run.reading.saw, strict=True)]
        if moved != [min(j, count - 1) == i for j in range(3)]:
            return False
    return True


def beside(case: Case, trials: Trials) -> Fit | None:
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
