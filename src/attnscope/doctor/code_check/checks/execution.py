"""Findings about running alone: it raises, never returns, gives another shape, changes its inputs, throws dice."""

import re
from typing import TYPE_CHECKING

from torch import Tensor

from attnscope.doctor.code_check.checks.numerics import range_finding
from attnscope.doctor.code_check.run.invocation import Run, Suspect
from attnscope.doctor.code_check.run.outputs import Reading
from attnscope.doctor.code_check.run.sandbox import Outcome
from attnscope.doctor.diagnosis import Finding

if TYPE_CHECKING:
    from attnscope.doctor.code_check.examine import Examination


def not_run(exam: "Examination", reading: Reading) -> None:
    """The code did not give an output: what happened is the finding."""
    outcome = reading.outcome
    if beyond_half(outcome):
        exam.findings.append(range_finding(f"it raises {outcome.error}", outcome.line))
        return
    if outcome.timed_out:
        name, title, cure = "too-slow", f"it {outcome.error}", "look for a loop that never ends"
    elif reading.wrong:
        name, title, cure = "wrong-shape", f"it {reading.wrong}", "return the output in the shape of the queries (with the size of the values), alone or with the weights"  # fmt: skip
    elif re.search("cuda|nvidia|mps", outcome.error, re.IGNORECASE):
        name, title, cure = "needs-a-gpu", f"it needs a GPU: it raises {outcome.error}", "make it run on the CPU: take the device from the inputs (x.device), and no .cuda()"  # fmt: skip
    else:
        name, title, cure = "raises", f"it raises {outcome.error}", "make it run on query, key and value of (batch, length, size) or (batch, heads, length, size)"  # fmt: skip
    exam.findings.append(Finding(name, None, title, "", cure, "", "it runs and returns one vector for each query", "the call itself", outcome.line))  # fmt: skip


def beyond_half(outcome: Outcome) -> bool:
    """Whether it raised because half precision cannot hold a number."""
    return "without overflow" in outcome.error and outcome.seen.low is not None


def side_effects(exam: "Examination", ways: list[tuple[Suspect, list[Run]]]) -> None:
    """What the first run did besides returning."""
    outcome = ways[0][1][0].reading.outcome
    if outcome.printed.strip():
        exam.notes.append(f"it prints ({outcome.printed.strip().splitlines()[0][:60]!r} …); that was not shown.")
    if outcome.mutated:
        names = [("first", "second", "third")[i] if i < 3 else f"{i + 1}th" for i in outcome.mutated]
        exam.findings.append(Finding("mutates-inputs", None, f"it changes its {' and '.join(names)} argument in place", "The caller's tensor is another one after the call; the next layer, or the next test, then works on wrong numbers.", "use masked_fill, mul, add instead of masked_fill_, mul_, add_ on arguments", "", "inputs are the same after the call", "operations that end in _ or assign to slices"))  # fmt: skip


def dice(exam: "Examination", way: tuple[Suspect, list[Run]]) -> None:
    """Dropout or other dice in eval mode: the same probe with another seed, and with dropout switched off."""
    suspect, runs = way
    first = runs[0].reading
    seen = first.outcome.seen
    again = suspect.run(runs[0].inputs, seed=97, sinks=exam.sinks)
    calm = suspect.run(runs[0].inputs, seed=97, sinks=exam.sinks, still=True)
    assert first.output is not None
    moved = _apart(first.output, again.output)
    if seen.dropout and moved == 0:
        moved = _apart(first.output, calm.output)
    if not moved:
        return
    exam.still = True
    if seen.dropout:
        title = f"dropout is active in eval (p = {seen.dropout:g})"
        cure = "pass self.training: F.dropout(x, p, training=self.training), dropout_p=p if self.training else 0.0"
    else:
        title, cure = "two runs in eval mode differ", "take the randomness out, or only when self.training"
    exam.findings.append(Finding("dropout-in-eval", 19, title, "Every evaluation then gives other numbers, and worse ones.", cure, f"two runs on the same input differ by up to {moved:.3g}", "two runs in eval mode are equal", "dropout"))  # fmt: skip


def _apart(a: Tensor, b: Tensor | None) -> float:
    return 0.0 if b is None or a.shape != b.shape else float((a.nan_to_num() - b.nan_to_num()).abs().max())


def too_long(exam: "Examination", seconds: float) -> None:
    """All calls together took longer than an examination may."""
    exam.findings.append(Finding("too-slow", None, f"its calls took {seconds:g} s together, on tensors of a few hundred numbers", "", "look for a loop that grows with every call, or a sleep", "", "it runs and returns", "the call itself"))  # fmt: skip
