"""The first runs: every way of calling the code that works, with what it gave; else what is to be said of that."""

import re
from dataclasses import replace

from torch import nn

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.checks import execution
from attnscope.doctor.code_check.match.search import Fit, Trials
from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.candidates import (
    fixed_lengths,
    of_function,
    of_groups,
    of_module,
    width_of,
    with_latents,
)
from attnscope.doctor.code_check.run.filling import of_a_picture
from attnscope.doctor.code_check.run.invocation import Invocation, Run
from attnscope.doctor.code_check.run.outputs import Reading, tensors_in
from attnscope.doctor.code_check.run.probes import HEADS
from attnscope.doctor.code_check.run.signature import read_signature
from attnscope.errors import InputError

LENGTHS = (7, 5)
PICTURES = (12, 36, 64)  # numbers of tokens with two sides, which a convolution may make smaller


_ONE_QUERY = re.compile(  # it speaks of the newest token alone
    r"decod|\bstep|_step|newest|new token|last token|one token|single (query|token)|\bincremental|cache|, ?1 ?, ?\w+\)",
    re.IGNORECASE,
)


def first_runs(case: Case) -> Trials:
    """Every way of calling that works, with its runs; findings where none does."""
    if case.sinks is None and read_signature(case.fn, case.name).needs_sinks:
        case.sinks = probes.gaussian("sinks", HEADS)
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
        case.grouped = working(case, of_groups(case.fn, case.name, heads))[0]
    failed: list[Reading] = []
    for tier in tiers:
        trials, errors = working(case, tier)
        failed += errors
        if not trials and tier is tiers[0] and isinstance(case.fn, nn.Module):
            trials = _with_latents(case, tier, errors)
        if not trials and tier is tiers[0] and isinstance(case.fn, nn.Module) and tier[0].call.inputs > 1:
            trials, _ = working(case, [replace(candidate, one_query="squeezed") for candidate in tier])
            if trials:
                case.conventions["queries"] = "one of each text, without an axis for it"
        if not trials and tier is tiers[0] and isinstance(case.fn, nn.Module):
            lengths = [*fixed_lengths(case.fn), *(PICTURES if of_a_picture(tier[0].call.fills) else ())]
            fixed = ([replace(candidate, tokens=n) for candidate in tier] for n in lengths)
            trials = next((found for found in (working(case, one)[0] for one in fixed) if found), [])
        if trials:
            return trials
        if failed and failed[-1].outcome.timed_out:
            execution.not_run(case, failed[-1], certain=True)
            return []
    if not isinstance(case.fn, nn.Module) and _ONE_QUERY.search(f"{case.name} {case.text}"):
        for tier in tiers:
            trials, _ = working(case, [replace(candidate, one_query="kept") for candidate in tier])
            if trials:
                case.conventions["queries"] = "one, with all keys"
                return trials
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
    elif shape is not None and _unlikely(case, tiers, shape):
        case.skip("of-another-width", shapes=shape.wrong)
    else:
        half = next((r for r in failed if execution.beyond_half(r.outcome)), None)
        execution.not_run(case, half or shape or failed[0], certain=_certain(case, tiers))
    return []


def _with_latents(case: Case, tier: list[Invocation], failed: list[Reading]) -> Trials:
    """The same ways with queries of the module's own: where it returned as many rows as it has such queries, or where its projection to
    queries takes another width than that to keys."""
    outputs = [x for r in failed[:1] if r.wrong for x in tensors_in(r.outcome.value)]
    rows = [x.shape[1] if x.ndim == 3 else 1 for x in outputs if x.ndim in (2, 3)][:1]
    if not outputs and tier[0].widths[0] != tier[0].widths[1]:
        own = [p for p in case.fn.parameters() if p.ndim > 1 and p.shape[-1] == tier[0].widths[0]]
        rows = list(dict.fromkeys(p.numel() // p.shape[-1] for p in own))[:4]
    return next((found for n in rows if (found := working(case, with_latents(tier, n))[0])), [])


def _certain(case: Case, tiers: list[list[Invocation]]) -> bool:
    """Whether the code was surely called as it wants to be: a function of q, k and v, by their names, and of nothing unknown."""
    call = next(candidate.call for tier in tiers for candidate in tier)
    named = not isinstance(case.fn, nn.Module) and call.inputs == 3
    return named and not call.guessed and not call.fills and not call.needs_mask


def _unlikely(case: Case, tiers: list[list[Invocation]], shape: Reading) -> bool:
    """Whether a wrong shape may come of how the code was called, or of how its parameters were read."""
    return shape.by_token(LENGTHS[0], width=True) if isinstance(case.fn, nn.Module) else not _certain(case, tiers)


def _no_projections(case: Case) -> InputError:
    width = f" (its width seems to be {width_of(case.fn)})" if width_of(case.fn) else ""
    return InputError(
        f"expected a module with query, key and value projections; found none in {case.name}{width}. Name them so that q, k "
        "and v can be told apart, or check the function inside it."
    )


def working(case: Case, tier: list[Invocation]) -> tuple[Trials, list[Reading]]:
    """Those ways that give an output, with their runs; and what the others gave, up to the first that never returned."""
    trials: Trials = []
    failed: list[Reading] = []
    known: dict[tuple, list[Run]] = {}
    for invocation in (candidate for one in tier for candidate in one.permitting()):
        key = same_call(invocation)
        if key not in known:
            known[key] = runs_of(case, invocation)
            failed += [r.reading for r in known[key][:1] if r.reading.output is None]
            if failed and failed[-1].outcome.timed_out:
                return [], failed
        elif len(known[key]) == 1 and _reread(invocation, known[key][0]).reading.output is not None:
            known[key] = runs_of(case, invocation)  # the first reading of the projections expected another shape
        runs = [_reread(invocation, run) for run in known[key]]
        if len(runs) > 1 and runs[0].reading.output is not None:
            trials.append((invocation, runs))
    return trials, failed


def runs_of(case: Case, invocation: Invocation) -> list[Run]:
    first, second = LENGTHS
    runs = [invocation.probe(invocation.inputs("self", first), seed=11, **case.options)]
    if runs[0].reading.output is None:
        return runs
    alone = invocation.call.inputs == 1
    other = invocation.probe(invocation.inputs("other", second, None if alone else first), seed=12, **case.options)
    if other.reading.output is None and not alone:
        other = invocation.probe(invocation.inputs("other", second), seed=12, **case.options)
    return [*runs, other]


def stilled(case: Case, trials: Trials) -> Trials:
    """The same ways, run again with dropout switched off."""
    known: dict[tuple, list[Run]] = {}
    for invocation, _ in trials:
        known.setdefault(same_call(invocation), runs_of(case, invocation))
    return [(invocation, [_reread(invocation, r) for r in known[same_call(invocation)]]) for invocation, _ in trials]


def same_call(invocation: Invocation) -> tuple:
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
        invocation.one_query,
        invocation.asks,
        invocation.size,
        invocation.flat,
        heads,
    )


def runs_of_fit(fit: Fit, trials: Trials) -> list[Run]:
    """The runs of the way of calling that a fit is of, with or without what was measured besides."""
    call = same_call(fit.invocation)
    return next((runs for invocation, runs in trials if same_call(invocation) == call), trials[0][1])


def _reread(invocation: Invocation, run: Run) -> Run:
    """The same run under another reading of the projections: only the expected shape may differ."""
    return run if run.reading.saw else Run(run.inputs, invocation.read(run.reading.outcome, run.inputs), run.allowed)
