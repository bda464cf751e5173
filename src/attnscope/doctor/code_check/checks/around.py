"""What a larger module does around its attention: what queries and keys are made of, and what the output is added to."""

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.checks.around_sums import same, sums_and_norms
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
    if same(key, x) and query.shape == x.shape and not same(query, x):
        case.find("inputs-unlike")
    if y is None or same(query, x) or not same(key, query) or not y.shape == out.shape == query.shape:
        return
    if same(y, query + out) and not same(y, x + out):
        case.find("residual-of-the-norm")


def _of_another_input(case: Case, whole: Invocation, outer: Run, inner: Run) -> bool:
    """Whether a module of two inputs makes its keys, or its values, of the input that its queries are made of: a finding then."""
    if inner.reading.saw is None or whole.call.inputs != 2:
        return False
    (query, key, value), memory = inner.reading.saw, outer.inputs[1]
    wrong = None
    if same(key, query) and same(value, memory) and not same(value, query):
        wrong = (0, 0, 2)
    elif same(value, query) and same(key, memory) and not same(key, query):
        wrong = (0, 1, 0)
    if wrong is not None:
        case.find("wrong-source", evidence="what goes into the two projections is equal", sources=SOURCES[wrong])
    return wrong is not None
