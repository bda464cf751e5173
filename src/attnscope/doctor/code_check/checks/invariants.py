"""When no known recipe fits: the first invariant that fails, with its numbers."""

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.checks import proofs, seen_scores
from attnscope.doctor.code_check.checks.another_kind import another_kind
from attnscope.doctor.code_check.checks.masked_keys import MOVED, padding_leaks
from attnscope.doctor.code_check.checks.numerics import half_range, kept_nan
from attnscope.doctor.code_check.match.measured_bias import OwnScores, scores_seen, unit_values
from attnscope.doctor.code_check.match.search import Fit, Trials, error_of
from attnscope.doctor.code_check.recipe import Recipe, compute, factor
from attnscope.doctor.code_check.run.invocation import Invocation, Run
from attnscope.doctor.code_check.run.outputs import BY_COLUMNS, BY_ROWS
from attnscope.doctor.matrices import Matrices


def unmatched(case: Case, trials: Trials) -> None:
    """Row sums, batch, permutation, causality, scale, padding, half precision; then, for a function, that it differs."""
    invocation, runs = trials[0]
    case.conventions["layout"] = invocation.layout
    if invocation.call.guessed:
        case.skip("guessed", names=" and ".join(invocation.call.guessed))
        return
    if case.found("dropout-in-eval") and _still_random(case, invocation, runs[0]):
        case.skip("random")
        return
    if _never_finite(case, trials):
        return
    if proofs.outputs_alike(case, trials) or proofs.tokens(case, trials) or proofs.without_effect(case, trials):
        return
    reason = another_kind(case, invocation, *runs[:2])
    tests: tuple[Callable[[Case, Invocation, Run], None], ...]
    tests = (batch,) if reason else (_row_sums, batch, _permutation, _causality, _scale, _padding, _half, _sums_by_ones)
    for test in tests:
        before = len(case.findings)
        test(case, invocation, runs[0])
        if len(case.findings) > before:
            _draw(case, invocation, runs[0])
            return
    if reason:
        case.skip("another-kind", reason=reason)
    elif isinstance(case.fn, nn.Module) and seen_scores.compared(case, trials):
        return
    elif isinstance(case.fn, nn.Module):
        unused = invocation.projections.unused if invocation.projections else ()
        case.skip("projections", unused=f" (not understood: {', '.join(unused)})" if unused else "")
    elif invocation.call.inputs < 3:
        case.skip("of-x", count=("one tensor", "two tensors")[invocation.call.inputs - 1])
    elif _turns(case):
        case.skip("own-rotary")
    else:
        reference = compute(case.base, invocation.operands(runs[0].inputs, case.sinks))
        assert runs[0].reading.output is not None
        case.find("differs", far=error_of(runs[0].reading.output, reference.output))
        _draw(case, invocation, runs[0])


def _still_random(case: Case, invocation: Invocation, run: Run) -> bool:
    """Whether two runs differ with every dropout switched off too."""
    again = invocation.run(run.inputs, seed=12, **case.options).output
    return again is None or run.reading.output is None or error_of(run.reading.output, again) > 1e-5


def _never_finite(case: Case, trials: Trials) -> bool:
    """Nothing but NaN, however it is called: where a mask must be passed, under every mask that may permit all."""
    readings = [runs[0].reading for _, runs in trials]
    if any(r.output is None or bool(r.output.isfinite().any()) for r in readings):
        return False
    masks = trials[0][0].call.masks if trials[0][0].call.needs_mask else ()
    if masks:
        outcome = next((r.outcome for r in readings if r.outcome.seen.overflow), readings[0].outcome)
        kept_nan(
            case, masks[0], outcome, f"with {masks[0]!r} of 1 everywhere, and of 0 everywhere, every output is NaN"
        )
    else:
        case.find("not-finite")
    return True


def _turns(case: Case) -> bool:
    return bool(re.search(r"rope|rotary|rotate|cos\(|polar", case.text, re.IGNORECASE))


def _row_sums(case: Case, invocation: Invocation, run: Run) -> None:
    weights = run.reading.weights
    if weights is None or case.sinks is not None:
        return
    sums = weights.sum(-1)
    if not bool(((sums - 1).abs() < 1e-2).all()):
        case.find("row-sums", least=float(sums.min()), most=float(sums.max()))


def _sums_by_ones(case: Case, invocation: Invocation, run: Run) -> None:
    """The row sums of a function that returns no weights: values of 1 give them in every dimension, and values of 2 twice that."""
    if invocation.call.inputs != 3 or invocation.projections is not None or case.sinks is not None:
        return
    ones = torch.ones_like(run.inputs[2])
    one, two = (invocation.run((*run.inputs[:2], x), seed=11, **case.options).output for x in (ones, 2 * ones))
    if one is None or two is None or not bool(one.isfinite().all()) or not torch.allclose(two, 2 * one, rtol=1e-4):
        return
    sums = one[..., 0]
    if torch.allclose(one, one[..., :1].expand_as(one), rtol=1e-4) and not bool(((sums - 1).abs() < 1e-2).all()):
        case.find("row-sums", least=float(sums.min()), most=float(sums.max()))


def _output_again(
    case: Case, invocation: Invocation, run: Run, inputs: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor] | None:
    """The output for other inputs, and the one before."""
    again = invocation.run(inputs, seed=11, **case.options).output
    return None if again is None or run.reading.output is None else (again, run.reading.output)


def batch(case: Case, invocation: Invocation, run: Run) -> None:
    if run.inputs[0].shape[0] < 2 or invocation.layout in (
        BY_ROWS,
        BY_COLUMNS,
    ):  # along which axis is not known for sure
        return
    for text in (0, -1):  # every text but the first, then every one but the last
        which = torch.arange(run.inputs[0].shape[0]) == text % run.inputs[0].shape[0]
        inputs = tuple(torch.where(which.view(-1, *[1] * (x.ndim - 1)), x, 1.7 - x) for x in run.inputs)
        outputs = _output_again(case, invocation, run, inputs)
        moved = float((outputs[0][text] - outputs[1][text]).abs().max()) if outputs else 0.0
        if moved > MOVED:
            case.find("batch-leak", moved=moved)
            return


def _permutation(case: Case, invocation: Invocation, run: Run) -> None:
    """Keys and values in another order leave the output as it is; nothing causal or positional does."""
    if invocation.call.inputs != 3 or case.causal or invocation.flat or _turns(case):
        return
    own = OwnScores(invocation, case.options).at(run.inputs[0].shape[-2], run.inputs[1].shape[-2])
    if own is not None and not own.plain:
        return
    order = torch.randperm(run.inputs[1].shape[-2], generator=torch.Generator().manual_seed(3))
    mixed = (run.inputs[0], run.inputs[1][..., order, :], run.inputs[2][..., order, :])
    outputs = _output_again(case, invocation, run, mixed)
    moved = float((outputs[0] - outputs[1]).abs().max()) if outputs else 0.0
    if moved > MOVED:
        case.find("order-of-keys", moved=moved)


def _causality(case: Case, invocation: Invocation, run: Run) -> None:
    if not case.causal:
        return
    changed = tuple(x.clone() for x in run.inputs)
    for x in changed:
        x[..., -1, :] += 1.7
    outputs = _output_again(case, invocation, run, changed)
    if outputs is None:
        return
    moved = (outputs[0] - outputs[1]).abs().flatten(0, -3).amax((0, -1))[:-1] > MOVED
    if bool(moved.any()):
        tokens = moved.nonzero().flatten().tolist()
        case.find("sees-the-future", evidence=f"tokens {tokens} change when only the last token does")


def _scale(case: Case, invocation: Invocation, run: Run) -> None:
    """What enters the softmax, against q · k: a straight line whose slope is the scale."""
    batch, (queries, keys) = run.inputs[0].shape[0], (x.shape[-2] for x in run.inputs[:2])
    seen = scores_seen(run.reading, batch, invocation.heads, queries, keys)
    if seen is None or case.base.softcap is not None:
        return
    try:
        result = compute(Recipe(scale="one"), invocation.operands(run.inputs))
    except RuntimeError:
        return
    if result.scores.shape != seen.shape:
        return
    known = (seen > -1e3) & seen.isfinite()
    if known.sum() < 10:
        return
    x, y = result.scores[known], seen[known]
    slope = float((x - x.mean()) @ (y - y.mean()) / (x - x.mean()).square().sum())
    straight = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    p = invocation.projections
    if p is not None and p.bilinear and abs(slope - 1) < 1e-2:
        return  # the one map may hold the scale
    size = p.query.weight.shape[1] // p.heads if p else invocation.size
    right = factor(case.base, size, invocation.heads, 1)
    if straight > 0.9999 and abs(slope / right - 1) > 1e-2:
        deviation, reference = float(y.std()), float((x * right).std())
        case.find("scale", slope=slope, expected=right, deviation=deviation, reference=reference)


def _padding(case: Case, invocation: Invocation, run: Run) -> None:
    name = next((n for n in invocation.call.masks if re.search("mask|pad", n, re.IGNORECASE)), None)
    if name is not None:
        padding_leaks(case, invocation, name)


def _half(case: Case, invocation: Invocation, run: Run) -> None:
    half_range(case, Fit(invocation, case.base), None, None)


def _draw(case: Case, invocation: Invocation, run: Run) -> None:
    """Weights that came back, or that unit values read off, beside the reference's."""
    reference = compute(case.base, invocation.operands(run.inputs, case.sinks)).weights
    theirs, note = run.reading.weights, "weights of text {b}, head {h}; [ ] is the first cell that differs"
    keys = run.inputs[1].shape[-2]
    if theirs is None and invocation.call.inputs == 3 and not invocation.flat and keys <= invocation.size:
        output = invocation.run((*run.inputs[:2], unit_values(run.inputs[2])), seed=11, **case.options).output
        theirs = None if output is None else output[..., :keys]
        note += "; theirs is what it gives to unit vectors as values"
    if theirs is None or theirs.shape != reference.shape:
        return
    cells = ((theirs - reference).abs().nan_to_num(nan=1.0) > 1e-4).nonzero()
    b, h, *cell = cells[0].tolist() if len(cells) else (0, 0)
    first, note = (cell[0], cell[1]) if cell else None, note.format(b=b, h=h)
    case.matrices = Matrices(theirs[b, h], reference[b, h], first, note, theirs[b], reference[b])
