"""What a larger module does around its attention: what queries and keys are made of, and what the output is added to."""

import torch
from torch import Tensor

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.checks.around_sums import sums_and_norms
from attnscope.doctor.code_check.match.mistakes import SOURCES
from attnscope.doctor.code_check.run.invocation import Invocation, Run


def around(case: Case, whole: Invocation, outer: Run, inner: Run) -> None:
    """Queries that are made of other numbers than keys, and a sum that starts from normed numbers: warnings. Keys of the wrong input: an error. `outer`: the run of the whole
    module; `inner`: the same, with what went into its projections and came out of the last."""
    names = {"query": "queries", "key": "keys", "value": "values"}
    if inner.reading.twice:
        case.find("projected-twice", what=" and ".join(names[role] for role in inner.reading.twice))
        return
    if _of_another_input(case, whole, outer, inner):
        return
    sums_and_norms(case, whole, outer, inner)
    saw, out, y = inner.reading.saw, inner.reading.output, outer.reading.output
    if saw is None or out is None or whole.call.inputs != 1 or whole.queries_apart:
        return
    x, (query, key, _) = outer.inputs[0], saw
    if _same(key, x) and query.shape == x.shape and not _same(query, x):
        case.find("inputs-unlike")
    if y is None or _same(query, x) or not _same(key, query) or not y.shape == out.shape == query.shape:
        return
    if _same(y, query + out) and not _same(y, x + out):
        case.find("residual-of-the-norm")


def _of_another_input(case: Case, whole: Invocation, outer: Run, inner: Run) -> bool:
    """Whether a module of two inputs makes its keys, or its values, of the input that its queries are made of: a finding then."""
    if inner.reading.saw is None or whole.call.inputs != 2:
        return False
    (query, key, value), memory = inner.reading.saw, outer.inputs[1]
    wrong = None
    if _same(key, query) and _same(value, memory) and not _same(value, query):
        wrong = (0, 0, 2)
    elif _same(value, query) and _same(key, memory) and not _same(key, query):
        wrong = (0, 1, 0)
    if wrong is not None:
        case.find("wrong-source", evidence="what goes into the two projections is equal", sources=SOURCES[wrong])
    return wrong is not None


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-5)
