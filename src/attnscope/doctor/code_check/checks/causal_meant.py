"""Code that means to be causal and is not: its words say so, or it makes a triangle that masks nothing.

Where a mask can be passed in, or a flag or an attribute says whether it is causal, the code rightly looks ahead without: then nothing is said.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.search import Trials
from attnscope.doctor.code_check.run.candidates import prose
from attnscope.doctor.code_check.run.invocation import Invocation, Run

MOVED = 1e-3  # outputs are of the order of 1
_SAID = r"\bcausal(ly)?\b|\bautoregressive(ly)?\b|\b(may|can|must)( not|not) (see|look|attend)[^.]{0,20}\b(future|later|ahead)\b"
_BUT = r"\bnon|\bnot?\b|\bwithout\b|n't\b|\bnever\b|\bif\b|\bwhen\b|\bunless\b|\bwhere\b|\boption|\bor\b|\bbi-?directional|\bfull\b|\bvs\b|\bunlike\b|\bpass\b|\bprefix|\bblocks?\b|\?"
_CHOICE = re.compile(r"causal|autoregress|decoder|bidirection|is_?cross|look_?ahead", re.IGNORECASE)


def meant_causal(case: Case, trials: Trials) -> None:
    """A finding where the code is meant to be causal, and its first tokens see the last."""
    invocation, runs = trials[0]
    if (
        case.causal is not None
        or case.findings
        or invocation.queries_apart
        or invocation.call.guessed
        or _has_a_choice(case, invocation)
    ):
        return
    words, where = _stated(case), _triangle(case, invocation, runs[0])
    if not words and not where:
        return
    moved = _ahead(case, invocation, runs[0])
    if moved is None or not bool((moved > MOVED).any()):
        return
    if where and bool((moved > MOVED).all()):
        case.find("triangle-without-effect", length=runs[0].inputs[0].shape[-2], where=where, moved=float(moved.max()))
    elif words:
        case.find("not-causal-as-stated", words=words, moved=float(moved.max()))


def _has_a_choice(case: Case, invocation: Invocation) -> bool:
    """Whether an argument or an attribute may make it causal."""
    call = invocation.call
    parts = case.fn.modules() if isinstance(case.fn, nn.Module) else ()
    names = [name for part in parts for name, value in vars(part).items() if value is not True]
    return bool(call.masks or call.causal_flag or any(map(_CHOICE.search, [*names, *call.fills, *call.fixed])))


def _stated(case: Case) -> str:
    """The words that say it: of its name, or of a sentence in its prose that takes nothing back."""
    own = case.name if not isinstance(case.fn, nn.Module) else type(case.fn).__name__
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", own).replace("_", " ")
    if re.search(_SAID, parts, re.IGNORECASE) and not re.search(_BUT, parts, re.IGNORECASE):
        return own
    sentences = re.split(r"(?<=[.;])\s|\n", prose(case.text))
    said = [s.strip() for s in sentences if re.search(_SAID, s, re.IGNORECASE) and s.strip()]
    return said[0] if said and not any(re.search(_BUT, s, re.IGNORECASE) for s in said) else ""


def _triangle(case: Case, invocation: Invocation, run: Run) -> str:
    """Where it has a triangle that could hide later tokens: in a run of one sequence, or among its buffers."""
    queries, keys = (x.shape[-2] for x in run.inputs[:2])
    if queries != keys:
        return ""
    with _Triangles(queries) as made:
        invocation.run(run.inputs, seed=11, **case.options)
    if made.names and len(set(made.names)) == 1:  # both of them make a band
        return f"torch.{made.names[0]}"
    buffers = case.fn.named_buffers() if isinstance(case.fn, nn.Module) else ()
    return next((f"its buffer {name}" for name, x in buffers if _triangular(x)), "")


def _triangular(x: Tensor) -> bool:
    """Whether the last two axes hold a triangle of two values, such as 0 and 1, on the diagonal or next to it."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2] or not 4 <= x.shape[-1] <= 4096 or x.is_complex():
        return False
    square = x.detach().reshape(-1, *x.shape[-2:])[0][:16, :16]
    low, high = square[-1, 0], square[0, -1]
    if bool(low == high):
        return False
    below = torch.ones(square.shape, dtype=torch.bool)
    return any(torch.equal(torch.where(below.tril(n), low, high), square) for n in (0, -1))


class _Triangles(TorchFunctionMode):
    """The names of tril and triu where they gave a triangle of this many tokens."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length, self.names = length, []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").rstrip("_")
        square = isinstance(result, Tensor) and tuple(result.shape[-2:]) == (self.length, self.length)
        if name in ("tril", "triu") and square and _triangular(result):
            self.names.append(name)
        return result


def _ahead(case: Case, invocation: Invocation, run: Run) -> Tensor | None:
    """How far each token but the last moves when only the last changes; None where that cannot be told."""
    if run.inputs[0].shape[-2] != run.inputs[1].shape[-2] or run.reading.output is None:
        return None
    changed = tuple(x.clone() for x in run.inputs)
    for x in changed:
        x[..., -1, :] += 1.7
    again = invocation.run(changed, seed=11, **case.options).output
    if again is None or again.shape != run.reading.output.shape or not bool(again.isfinite().all()):
        return None
    apart = (again - run.reading.output).abs()
    return apart.flatten(0, -3).amax((0, -1))[:-1]
