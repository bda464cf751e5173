"""When no known recipe fits: the first invariant that fails, with its numbers."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from attnscope.doctor.diagnosis import Finding
from attnscope.doctor.recipe import compute
from attnscope.doctor.search import Run, error_of
from attnscope.doctor.suspects import Suspect

if TYPE_CHECKING:
    from attnscope.doctor.examine import Examination


def unmatched(exam: "Examination", ways: list[tuple[Suspect, list[Run]]]) -> None:
    """Row sums, batch, causality, permutation; then, for a function, that it differs at all."""
    suspect, runs = ways[0]
    exam.conventions["layout"] = suspect.layout
    for test in (_row_sums, _batch, _causality, _permutation):
        found = test(exam, suspect, runs[0])
        if found is not None:
            exam.findings.append(found)
            return
    reference = compute(exam.base, suspect.operands(runs[0].inputs, exam.sinks))
    assert runs[0].reading.output is not None
    far = error_of(runs[0].reading.output, reference.output)
    if isinstance(exam.fn, nn.Module):
        unused = suspect.projections.unused if suspect.projections else ()
        exam.not_examined.append(
            "the comparison with the reference: no reading of its parameters as projections reproduces it"
            + (f" (not understood: {', '.join(unused)})" if unused else "")
            + "; like= a reference with the same weights makes it possible"
        )
        return
    exam.findings.append(Finding(
        "differs", None, "it computes something else than attention, and no known mistake explains it", "",
        "if it is meant (a window, a position bias, another kernel), compare it with like=; else compare step by step with attnscope.attention.attention_steps",
        f"output differs from the reference by up to {far:.2g} standard deviations", "output = softmax(q · kᵀ / √d) · v", "the whole function",
    ))  # fmt: skip


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
    again = suspect.run(changed, seed=11, still=exam.still, sinks=exam.sinks).output
    if again is None or run.reading.output is None:
        return None
    moved = float((again[0] - run.reading.output[0]).abs().max())
    if not moved > 1e-3:
        return None
    return Finding("batch-leak", 22, "a text's output depends on the other texts of its batch", "Attention, or a reshape, runs across the batch.", "keep the batch axis first, and use transpose, not reshape, to move axes",
                   f"text 0 moves by {moved:.3g} when only text 1 changes", "a text's output does not change when another text of the batch changes", "the order of the axes")  # fmt: skip


def _causality(exam: "Examination", suspect: Suspect, run: Run) -> Finding | None:
    if not exam.causal:
        return None
    changed = tuple(x.clone() for x in run.inputs)
    for x in changed:
        x[..., -1, :] += 1.7
    again = suspect.run(changed, seed=11, still=exam.still, sinks=exam.sinks).output
    if again is None or run.reading.output is None:
        return None
    moved = (again - run.reading.output).abs().flatten(0, -3).amax((0, -1))[:-1]
    if not bool((moved > 1e-3).any()):
        return None
    return Finding("sees-the-future", None, "it is declared causal, and earlier tokens see the last one", "", "allow only keys at or before the query",
                   f"tokens {(moved > 1e-3).nonzero().flatten().tolist()} change when only the last token does", "what a token sees does not change when a later token changes", "the causal mask")  # fmt: skip


def _permutation(exam: "Examination", suspect: Suspect, run: Run) -> Finding | None:
    """Keys and values in another order leave the output as it is; nothing causal or positional does."""
    if suspect.call.inputs != 3 or exam.causal or suspect.flat:
        return None
    order = torch.randperm(run.inputs[1].shape[-2], generator=torch.Generator().manual_seed(3))
    mixed = (run.inputs[0], run.inputs[1][..., order, :], run.inputs[2][..., order, :])
    again = suspect.run(mixed, seed=11, still=exam.still, sinks=exam.sinks).output
    if again is None or run.reading.output is None:
        return None
    moved = float((again - run.reading.output).abs().max())
    if not moved > 1e-3:
        return None
    return Finding("order-of-keys", None, "the order of keys and values changes the output", "Attention without positions is a sum over a set. If a position bias or a mask is built in, that is why.", "look for a reshape where a transpose belongs",
                   f"output moves by {moved:.3g} when keys and values change places together", "when keys and values change places together, outputs stay", "reshapes")  # fmt: skip
