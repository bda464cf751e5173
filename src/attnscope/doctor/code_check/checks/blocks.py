"""Code that cuts its tokens into blocks of some size, which seven tokens do not fill: it is run in smaller ones too.

Blocks that are a design (each token sees those of its own block, or of the ones beside it) change what is computed, and are left alone.
"""

import contextlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from attnscope.doctor.code_check import report
from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.blocks import running
from attnscope.doctor.code_check.match.measured_bias import OwnScores
from attnscope.doctor.code_check.match.search import Fit, Search, agrees, error_of
from attnscope.doctor.code_check.recipe import Recipe, compute
from attnscope.doctor.code_check.run.invocation import Invocation, Run

SMALL = 2  # tokens in a block
_NAMES = re.compile(
    r"(^|_)(blocks?|chunks?|tiles?|segments?|splits?)(_?(size|len|length|q|k|kv|m|n))?$|^b[rcqk]$|^block_[mnqk]$",
    re.IGNORECASE,
)
_LOCAL = re.compile(
    r"\blocal|window|sparse|dilat|stride|diagonal|routing|lsh|hash|landmark|hierarch|compress", re.IGNORECASE
)


def smaller_blocks(case: Case, fit: Fit) -> None:
    """A finding where right code is not right in smaller blocks."""
    names = _sizes(case, fit.invocation)
    if fit.mistakes or case.findings or not names or _LOCAL.search(case.text):
        return
    recipes: list[tuple[Recipe, bool | None]] = [(fit.recipe, None)]
    if case.conventions.get("causal") == f"with {fit.invocation.call.causal_flag}=True":
        recipes.append((fit.recipe.but(causal=True), True))
    with _attributes(fit.invocation, names) as invocation:
        for recipe, flag in recipes:
            one = replace(fit, recipe=recipe)
            run = _first_that_runs(case, invocation, flag)
            if run is None or agrees(one, [run], case.sinks):
                continue
            if not _by_design(case, invocation, run):
                _report(case, one, run, names)
                return


def _first_that_runs(case: Case, invocation: Invocation, flag: bool | None) -> Run | None:
    """Seven tokens leave a rest; six do not, which is all that some code takes."""
    for length in (7, 6):
        run = invocation.probe(invocation.inputs("blocks", length), seed=11, causal=flag, **case.options)
        if run.reading.output is not None:
            return run
    return None


def _report(case: Case, fit: Fit, run: Run, names: dict[str, int]) -> None:
    search = Search(case.base, fit.recipe.causal, case.text, case.sinks, case.options)
    found = running(search, [(fit.invocation, [run])])
    if found is not None:
        report.add(case, found.mistakes[0], found, run)
        return
    name, length = next(iter(names)), run.inputs[0].shape[-2]
    assert run.reading.output is not None
    far = error_of(run.reading.output, compute(fit.recipe, fit.operands(run.inputs, case.sinks)).output)
    case.find("blocks-change-output", name=name, size=SMALL, default=names[name], length=length, far=far)


def _sizes(case: Case, invocation: Invocation) -> dict[str, int]:
    """Numbers of more tokens than a probe has, among a function's defaults and a module's attributes that are called blocks."""
    fn = invocation.fn
    if isinstance(fn, nn.Module):
        found = dict(vars(fn))
    else:
        with contextlib.suppress(TypeError, ValueError):
            return _large(
                {p.name: p.default for p in inspect.signature(getattr(fn, "__wrapped__", fn)).parameters.values()}
            )
        return {}
    loops = re.search(r"\b(for|while)\b|\.(split|chunk)\(", case.text)
    return _large(found) if loops else {}


def _large(numbers: dict) -> dict[str, int]:
    return {n: v for n, v in numbers.items() if _NAMES.search(n) and type(v) is int and v > 7}


@contextlib.contextmanager
def _attributes(invocation: Invocation, names: dict[str, int]) -> Iterator[Invocation]:
    """The same way of calling in blocks of `SMALL`: arguments of a function, attributes of the copy of a module."""
    if not isinstance(invocation.fn, nn.Module):
        yield replace(
            invocation, call=replace(invocation.call, fixed={**invocation.call.fixed, **dict.fromkeys(names, SMALL)})
        )
        return
    vars(invocation.fn).update(dict.fromkeys(names, SMALL))
    try:
        yield invocation
    finally:
        vars(invocation.fn).update(names)


def _by_design(case: Case, invocation: Invocation, run: Run) -> bool:
    """Whether tokens see keys of their own block and of those beside it alone."""
    length = run.inputs[0].shape[-2]
    own = OwnScores(invocation, case.options).at(length, length)
    if own is None:
        return False
    block = torch.arange(length) // SMALL
    apart = (block[:, None] - block).abs() > 1
    return not bool((own.pattern & apart).any()) and bool(own.pattern.diagonal(dim1=-2, dim2=-1).all())
