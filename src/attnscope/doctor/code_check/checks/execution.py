"""Findings about running alone: it raises, never returns, gives another shape, changes its inputs, is random."""

import re

from torch import Tensor

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.run.invocation import Invocation, Run
from attnscope.doctor.code_check.run.outputs import Reading
from attnscope.doctor.code_check.run.sandbox import Outcome

# Errors that another way of calling might not raise.
_OF_CALLING = re.compile(
    r"shape|size|dim|expected|must match|broadcast|unpack|index|argument|positional|NoneType|dtype|AssertionError|KeyError|TypeError"
    r"|multipl|view|mat1|tensor|channels|out of range|not supported|bool value|subscript|iter",
    re.IGNORECASE,
)


_OF_NAMES = re.compile(r"(AttributeError(?!.*NoneType)|NameError|UnboundLocalError|ImportError|ModuleNotFoundError)\b")


def not_run(case: Case, reading: Reading, certain: bool) -> None:
    """The code did not give an output: what happened is the finding. Where another way of calling might not raise (`certain` is
    false), nothing was compared."""
    outcome = reading.outcome
    if beyond_half(outcome):
        case.find("sentinel-beyond-half", line=outcome.line, evidence=f"it raises {outcome.error}")
    elif outcome.timed_out:
        case.find("too-slow", line=outcome.line, took=outcome.error)
    elif reading.wrong:
        case.find("wrong-shape", line=outcome.line, shapes=reading.wrong)
    elif re.search("cuda|nvidia|mps", outcome.error, re.IGNORECASE):
        case.find("needs-a-gpu", line=outcome.line, error=outcome.error)
        case.skip("gpu")
    elif certain or _OF_NAMES.match(outcome.error) or not _OF_CALLING.search(outcome.error):
        case.find("raises", line=outcome.line, error=outcome.error)
    else:
        case.skip("calling", error=outcome.error)


def beyond_half(outcome: Outcome) -> bool:
    """Whether it raised because half precision cannot hold a number."""
    return "without overflow" in outcome.error and outcome.seen.low is not None


def side_effects(case: Case, trials: list[tuple[Invocation, list[Run]]]) -> None:
    """What the first run did besides returning."""
    outcome = trials[0][1][0].reading.outcome
    if outcome.printed.strip():
        first = outcome.printed.strip().splitlines()[0][:60]
        case.notes.append(f"it prints ({first!r} …); the report leaves that out.")
    if outcome.mutated:
        names = [("first", "second", "third")[i] if i < 3 else f"{i + 1}th" for i in outcome.mutated]
        case.find("mutates-inputs", arguments=" and ".join(names))


def nondeterminism(case: Case, trial: tuple[Invocation, list[Run]]) -> None:
    """Dropout or other randomness in eval mode: the same probe with another seed, and with dropout switched off."""
    invocation, runs = trial
    first = runs[0].reading
    seen = first.outcome.seen
    again = invocation.run(runs[0].inputs, seed=97, sinks=case.sinks)
    calm = invocation.run(runs[0].inputs, seed=97, sinks=case.sinks, still=True)
    assert first.output is not None
    moved = _apart(first.output, again.output)
    if seen.dropout and moved == 0:
        moved = _apart(first.output, calm.output)
    if moved:
        case.still = True
        reason = f": dropout is active (p = {seen.dropout:g})" if seen.dropout else ""
        case.find("dropout-in-eval", reason=reason, moved=moved)


def _apart(a: Tensor, b: Tensor | None) -> float:
    return 0.0 if b is None or a.shape != b.shape else float((a.nan_to_num() - b.nan_to_num()).abs().max())


def too_long(case: Case, seconds: float) -> None:
    """All calls together took longer than an examination may."""
    case.find("too-slow", took=f"took {seconds:g} s for all its calls together, on tensors of a few hundred numbers")
