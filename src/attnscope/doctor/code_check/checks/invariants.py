"""When no known recipe fits: the first invariant that fails, with its numbers."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from attnscope.doctor.code_check.checks.numerics import half_range, kept_nan
from attnscope.doctor.code_check.match.measured_bias import OwnScores, scores_seen, unit_values
from attnscope.doctor.code_check.match.recipe import Recipe, compute, factor
from attnscope.doctor.code_check.match.search import Fit, Ways, error_of
from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.invocation import Run, Suspect
from attnscope.doctor.diagnosis import Finding, Matrices

if TYPE_CHECKING:
    from attnscope.doctor.code_check.examine import Examination

MOVED = 1e-3  # outputs are of the order of 1


def unmatched(exam: "Examination", ways: Ways) -> None:
    """Row sums, batch, permutation, causality, scale, padding, half precision; then, for a function, that it differs."""
    suspect, runs = ways[0]
    exam.conventions["layout"] = suspect.layout
    if any(f.name == "dropout-in-eval" for f in exam.findings) and error_of(runs[0].reading.output, suspect.run(runs[0].inputs, seed=12, **exam.options).output) > 1e-5:  # type: ignore[arg-type]  # fmt: skip
        exam.not_examined.append(
            "the comparison with the reference: two runs differ, with every dropout switched off too"
        )
        return
    if _never_finite(exam, ways):
        return
    tests: tuple[Callable[[Examination, Suspect, Run], Finding | None], ...] = (_row_sums, _batch, _permutation, _causality, _scale, _padding, _half)  # fmt: skip
    for test in tests:
        found = test(exam, suspect, runs[0])
        if found is not None:
            exam.findings.append(found)
            _draw(exam, suspect, runs[0])
            return
    if isinstance(exam.fn, nn.Module):
        unused = suspect.projections.unused if suspect.projections else ()
        exam.not_examined.append(
            "the comparison with the reference: no reading of its parameters as projections reproduces it"
            + (f" (not understood: {', '.join(unused)})" if unused else "")
            + "; like= a reference with the same weights makes it possible"
        )
        return
    if _turns(exam):
        exam.not_examined.append("the comparison with the reference: it turns queries and keys in a way of its own (rotary); like= a reference makes it possible")  # fmt: skip
        return
    reference = compute(exam.base, suspect.operands(runs[0].inputs, exam.sinks))
    assert runs[0].reading.output is not None
    far = error_of(runs[0].reading.output, reference.output)
    exam.findings.append(Finding(
        "differs", None, "it computes something else than attention, and no known mistake explains it", "",
        "if it is meant (another kernel, a part of its own), compare it with like=; else compare step by step with attnscope.attention.attention_steps",
        f"output differs from the reference by up to {far:.2g} standard deviations", "output = softmax(q · kᵀ / √d) · v", "the whole function",
    ))  # fmt: skip
    _draw(exam, suspect, runs[0])


def _never_finite(exam: "Examination", ways: Ways) -> bool:
    """Nothing but NaN, however it is called: where a mask must be passed, under every mask that may permit all."""
    readings = [runs[0].reading for _, runs in ways]
    if any(r.output is None or bool(r.output.isfinite().any()) for r in readings):
        return False
    masks = ways[0][0].call.masks if ways[0][0].call.needs_mask else ()
    if masks:
        outcome = next((r.outcome for r in readings if r.outcome.seen.overflow), readings[0].outcome)
        said = f"with {masks[0]!r} of 1 everywhere, and of 0 everywhere, every output is NaN"
        exam.findings.append(kept_nan(masks[0], outcome, said))
    else:
        exam.findings.append(Finding("not-finite", None, "its output is not a number anywhere", "", "look for 0 / 0, 0 · inf, the logarithm of 0, or a softmax of nothing but -inf",
                                     "no output is finite for queries, keys and values of unit variance", "finite inputs give finite outputs", "the whole function"))  # fmt: skip
    return True


def _turns(exam: "Examination") -> bool:
    return bool(re.search(r"rope|rotary|rotate|cos\(|polar", exam.text, re.IGNORECASE))


def _row_sums(exam: "Examination", suspect: Suspect, run: Run) -> Finding | None:
    weights = run.reading.weights
    if weights is None or exam.sinks is not None:
        return None
    sums = weights.sum(-1)
    if bool(((sums - 1).abs() < 1e-2).all()):
        return None
    return Finding("row-sums", 1, "the weights of a query do not sum to 1", "A query's output is then no average of values.", "softmax over the keys, the last axis, after masking",
                   f"row sums between {float(sums.min()):.3g} and {float(sums.max()):.3g}", "every query's weights sum to 1", "the softmax")  # fmt: skip


def _batch(exam: "Examination", suspect: Suspect, run: Run) -> Finding | None:
    if run.inputs[0].shape[0] < 2:
        return None
    changed = tuple(torch.cat([x[:1], x[1:] + 1.7]) for x in run.inputs)
    again = suspect.run(changed, seed=11, **exam.options).output
    if again is None or run.reading.output is None:
        return None
    moved = float((again[0] - run.reading.output[0]).abs().max())
    if not moved > MOVED:
        return None
    return Finding("batch-leak", 22, "a text's output depends on the other texts of its batch", "Attention, or a reshape, runs across the batch.", "keep the batch axis first, and use transpose, not reshape, to move axes",
                   f"text 0 moves by {moved:.3g} when only text 1 changes", "a text's output does not change when another text of the batch changes", "the order of the axes")  # fmt: skip


def _permutation(exam: "Examination", suspect: Suspect, run: Run) -> Finding | None:
    """Keys and values in another order leave the output as it is; nothing causal or positional does."""
    if suspect.call.inputs != 3 or exam.causal or suspect.flat or _turns(exam):
        return None
    own = OwnScores(suspect, exam.options).at(run.inputs[0].shape[-2], run.inputs[1].shape[-2])
    if own is not None and not own.plain:
        return None
    order = torch.randperm(run.inputs[1].shape[-2], generator=torch.Generator().manual_seed(3))
    mixed = (run.inputs[0], run.inputs[1][..., order, :], run.inputs[2][..., order, :])
    again = suspect.run(mixed, seed=11, **exam.options).output
    if again is None or run.reading.output is None:
        return None
    moved = float((again - run.reading.output).abs().max())
    if not moved > MOVED:
        return None
    return Finding("order-of-keys", None, "the order of keys and values changes the output", "Attention without positions is a sum over a set. If a position bias or a mask is built in, that is why.", "look for a reshape where a transpose belongs, a softmax over the other axis, or a running sum that is not rescaled",
                   f"output moves by {moved:.3g} when keys and values change places together", "when keys and values change places together, outputs stay", "reshapes")  # fmt: skip


def _causality(exam: "Examination", suspect: Suspect, run: Run) -> Finding | None:
    if not exam.causal:
        return None
    changed = tuple(x.clone() for x in run.inputs)
    for x in changed:
        x[..., -1, :] += 1.7
    again = suspect.run(changed, seed=11, **exam.options).output
    if again is None or run.reading.output is None:
        return None
    moved = (again - run.reading.output).abs().flatten(0, -3).amax((0, -1))[:-1]
    if not bool((moved > MOVED).any()):
        return None
    return Finding("sees-the-future", None, "it is declared causal, and earlier tokens see the last one", "", "allow only keys at or before the query",
                   f"tokens {(moved > MOVED).nonzero().flatten().tolist()} change when only the last token does", "what a token sees does not change when a later token changes", "the causal mask")  # fmt: skip


def _scale(exam: "Examination", suspect: Suspect, run: Run) -> Finding | None:
    """What enters the softmax, against q · k: a straight line whose slope is the scale."""
    seen = scores_seen(run.reading, run.inputs[0].shape[0], suspect.heads, run.inputs[0].shape[-2], run.inputs[1].shape[-2])  # fmt: skip
    if seen is None or exam.base.softcap is not None:
        return None
    try:
        result = compute(Recipe(scale="one"), suspect.operands(run.inputs))
    except RuntimeError:
        return None
    if result.scores.shape != seen.shape:
        return None
    known = (seen > -1e3) & seen.isfinite()
    if known.sum() < 10:
        return None
    x, y = result.scores[known], seen[known]
    slope = float((x - x.mean()) @ (y - y.mean()) / (x - x.mean()).square().sum())
    straight = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    p = suspect.projections
    size = p.query.weight.shape[1] // p.heads if p else suspect.size
    right = factor(exam.base, size, suspect.heads, 1)
    if straight < 0.9999 or abs(slope / right - 1) < 1e-2:
        return None
    return Finding("scale", 2, f"scores are q · k times {slope:.4g}; {right:.4g} was expected", "The spread of the scores decides how sharp attention is.",
                   f"scores / math.sqrt(head_size); if it is meant, pass scaling={slope:.4g}. It is not all that is wrong",
                   f"standard deviation of the scores {float(y.std()):.3g}, reference {float((x * right).std()):.3g}", "for queries and keys of unit variance, scores have a standard deviation near 1", "the scale of the scores")  # fmt: skip


def _padding(exam: "Examination", suspect: Suspect, run: Run) -> Finding | None:
    """What stands in a masked key changes nothing for the others, under some way of saying what is masked."""
    name = next((n for n in suspect.call.masks if re.search("mask|pad", n, re.IGNORECASE)), None)
    if name is None:
        return None
    inputs = suspect.inputs("padding", 7)
    allowed = probes.allowed_keys(inputs[0].shape[0], 7, 7)
    hidden = ~allowed[:, 0, 0]  # [B, K]
    filled = inputs if suspect.call.inputs == 1 else inputs[1:]
    other = [torch.where(hidden.view(len(hidden), *[1] * (x.ndim - 3), -1, 1), x + 2.3, x) for x in filled]
    changed = (other[0],) * 3 if suspect.call.inputs == 1 else (inputs[0], *other)
    leaks: list[float] = []
    plain = suspect.run(inputs, **exam.options).output
    for form in probes.FORMS:
        shaped = form.shaped(allowed)
        for convention in probes.CONVENTIONS if shaped is not None else ():
            mask = convention.encode(shaped)  # type: ignore[arg-type]
            one, two = (suspect.run(x, mask, name, **exam.options).output for x in (inputs, changed))
            if one is None or two is None or plain is None or error_of(one, plain) < 1e-5:
                continue
            seen = (~hidden).view(len(hidden), *[1] * (one.ndim - 3), -1, 1)
            moved = float(((one - two).abs() * seen).nan_to_num().max())
            if moved < MOVED:
                return None if bool(one.isfinite().all()) else Finding("masked-nan", 7, f"with {name!r} some outputs are not finite", "", "finfo(scores.dtype).min instead of -inf, or rows without a key set to 0", f"{form.name}, {convention.name}", "masked scores give finite outputs", "the sentinel of the mask")  # fmt: skip
            leaks.append(moved)
    if not leaks:
        return None
    return Finding("padding-leaks", 12, f"what stands in masked keys changes the other outputs, however {name!r} is written", "Padding then has a say in every text that is shorter than its batch.", "mask the key axis of the scores with -inf before the softmax",
                   f"outputs move by at least {min(leaks):.3g} in {len(leaks)} ways of writing the mask", "what is in the padding changes nothing for real tokens", "where the mask is applied")  # fmt: skip


def _half(exam: "Examination", suspect: Suspect, run: Run) -> Finding | None:
    return half_range(exam, Fit(suspect, exam.base), None, None)


def _draw(exam: "Examination", suspect: Suspect, run: Run) -> None:
    """Weights that came back, or that unit values read off, beside the reference's."""
    reference = compute(exam.base, suspect.operands(run.inputs, exam.sinks)).weights
    theirs, note = run.reading.weights, "weights of text {b}, head {h}; [ ] is the first cell that differs"
    keys = run.inputs[1].shape[-2]
    if theirs is None and suspect.call.inputs == 3 and not suspect.flat and keys <= suspect.size:
        output = suspect.run((*run.inputs[:2], unit_values(run.inputs[2])), seed=11, **exam.options).output
        theirs = None if output is None else output[..., :keys]
        note += "; theirs is what it gives to unit vectors as values"
    if theirs is None or theirs.shape != reference.shape:
        return
    cells = ((theirs - reference).abs().nan_to_num(nan=1.0) > 1e-4).nonzero()
    b, h, *cell = cells[0].tolist() if len(cells) else (0, 0)
    exam.matrices = Matrices(theirs[b, h], reference[b, h], (cell[0], cell[1]) if cell else None, note.format(b=b, h=h), theirs[b], reference[b])  # fmt: skip
