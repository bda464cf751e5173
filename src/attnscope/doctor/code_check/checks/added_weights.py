"""Something that is added to the weights, after the softmax: the same for every text, so that it shows as a straight line of the values."""

import re

import torch
from torch import Tensor

from attnscope.attention import repeat_heads
from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.search import Fit, Search, Trials, conventions, operands_of
from attnscope.doctor.code_check.recipe import Operands, compute

_ADDS = re.compile(r"bias|alibi|slope|rel|pos|dist", re.IGNORECASE)
_NEAR = 1e-3  # of the output's standard deviation
_LEAST = 1e-2  # that rows are off their sum of 1


def added_weights(case: Case, trials: Trials) -> bool:
    """Whether the output is the right one and, beside it, fixed weights times the values, whose rows do not sum to 0: a finding then."""
    if not _ADDS.search(case.text):
        return False
    search = Search(case.base, case.causal, case.text, case.sinks, case.options)
    for invocation, runs in trials[:4]:
        if any(run.reading.output is None for run in runs) or invocation.queries_apart:
            continue
        for recipe, order in conventions(invocation, search.base, search.causal, search.text, every=False):
            sums = []
            for run in runs:
                try:
                    operands = operands_of(Fit(invocation, recipe, (), order), run, case.sinks)
                    right = compute(recipe, operands).output
                except RuntimeError:
                    break
                theirs = run.reading.output
                if theirs is None or right.shape != theirs.shape or not bool((right - theirs).isfinite().all()):
                    break
                added = _added(operands, (theirs - right).double(), float(theirs.std()))
                if added is None or not _varied(added):
                    break
                sums.append(float(added.sum(-1).abs().max()))
            if len(sums) == len(runs) and max(sums) > _LEAST:
                case.compared = True
                case.find("bias-after-softmax", most=max(sums))
                return True
    return False


def _varied(added: Tensor) -> bool:
    """Whether the keys beside a query's own get unlike weights: a share of the query's own value, or of the mean of all, is a design."""
    own = torch.eye(*added.shape[-2:], dtype=torch.bool)
    others = added.masked_fill(own, torch.nan)
    mean = others.nanmean(-1, keepdim=True)
    return bool((((others - mean).abs() > 0.05 * added.abs().max()).sum(-1) > 2).any())


def _added(operands: Operands, rest: Tensor, spread: float) -> Tensor | None:
    """[H, Q, K] fixed weights whose product with the values is `rest`, in every text; None where there are none."""
    value = operands.value
    if operands.heads:
        if operands.order != "head-major":
            return None
        value = value.unflatten(-1, (operands.kv_heads, -1)).transpose(1, 2)
        value = repeat_heads(value, operands.heads)
    value = value.double()
    heads, keys, size = value.shape[1:]
    if operands.heads:  # outputs [B, Q, M] hold all heads
        out = torch.eye(heads * size).double() if operands.out is None else operands.out[0].double()
        columns = torch.einsum("bhkd,hdm->bmhk", value, out.unflatten(0, (heads, size))).flatten(2)
        columns, rows = columns.flatten(0, 1), rest.permute(0, 2, 1).flatten(0, 1)  # [B·M, H·K], [B·M, Q]
        if len(columns) < 1.5 * columns.shape[1]:
            return None
        found = torch.linalg.lstsq(columns, rows).solution  # [H·K, Q]
        miss, added = columns @ found - rows, found.unflatten(0, (heads, keys)).permute(0, 2, 1)
    else:
        columns, rows = value.permute(1, 0, 3, 2).flatten(1, 2), rest.permute(1, 0, 3, 2).flatten(1, 2)
        if columns.shape[1] < 1.5 * keys:
            return None
        found = torch.linalg.lstsq(columns, rows).solution  # [H, K, Q]
        miss, added = columns @ found - rows, found.mT
    return added if float(miss.abs().max()) < _NEAR * spread else None
