"""What a fit says: conventions, findings in the code's own words and numbers, and the two matrices."""

import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.as_found import conventions, of_its_own
from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.mistakes import SOURCES, Mistake, changes
from attnscope.doctor.code_check.match.numbers import named_caps
from attnscope.doctor.code_check.match.search import Fit, error_of
from attnscope.doctor.code_check.recipe import Recipe, compute, factor
from attnscope.doctor.code_check.run.candidates import batch_is_first, length_first, prose
from attnscope.doctor.code_check.run.invocation import Run
from attnscope.doctor.code_check.run.parameters import numbers_in
from attnscope.doctor.code_check.suspect_line import suspect_line
from attnscope.doctor.findings import REGISTRY
from attnscope.doctor.matrices import Matrices

_LEFT_OUT = re.compile(
    r"(\bnot|n't|\bno|\bnever|\bwithout)\s+(\w+\s+){0,2}(re)?scal(e|ed|es|ing)\b|\bunscaled\b|\bscal(e|ing)( factor)? (is|of) (1|one)\b",
    re.I,
)
_OF_T5 = re.compile(r"relative_attention_bias|\b[mM]?T5|\bnum_buckets\b|\b_?rel(ative)?(_pos\w*)?_buckets?\b")
_SCALE = re.compile(r"scal|sqrt|√|\*\*\s*\(?-?\s*(0?\.5|1\s*/\s*2)", re.I)  # a code that means to scale says so
_FILLED = {"mask-multiplied": "mask-filled-with-zero", "causal-multiplied": "causal-filled-with-zero"}
SAME_SCALE = 1e-3  # a search for the scale comes no nearer

_SCALED_ROTARY = re.compile(
    r"(cos|sin)\w*(\(\))?\s*\*\s*(self\.)?\w*(scal|factor)|(scal\w*|factor)\s*\*\s*\w*(cos|sin)", re.I
)
_UNPACKED = re.compile(r"(?<![\w.])([qkv])\w*\s*,\s*([qkv])\w*\s*,\s*([qkv])\w*\s*=(?!=)", re.IGNORECASE)
FUSED = "the source takes q, k, v in this order out of the fused weight, and the output is that of k, q, v"
_ROTARY = re.compile(r"rope(?!r)|rotary|rotaryemb", re.IGNORECASE)
_SIGNS = {
    "keys": "keys are turned the other way round than queries",
    "none": "the turned half has lost its minus, so nothing is rotated",
}
NOTE = "weights of text {b}, head {h}; [ ] is the first cell that differs"
RECOMPUTED = "; theirs is recomputed, by the recipe that reproduces their output"


def add(case: Case, mistake: Mistake, fit: Fit, run: Run) -> None:
    """A known mistake becomes a finding, in the code's own words and numbers."""
    id = mistake.name
    if run.reading.outcome.seen.filled:  # the same numbers, another line of code
        id = _FILLED.get(id, id)
    if id == "batch-and-sequence-swapped" and length_first(case.fn) and not batch_is_first(case.text):
        id = "length-first-assumed"
    if id == "scale-missing" and left_unscaled(case.text):
        id = "scale-left-out"
    elif id == "scale-missing" and _has_learned_bias(fit) and not _SCALE.search(case.text):
        id = "scale-unstated"
    words = {"queries": fit.invocation.queries_dim, "shape": fit.invocation.shape}
    words["sources"] = SOURCES.get(mistake.change.get("sources", ()), "")
    words |= {"power": f"{mistake.change.get('power', 1):g}", "shift": mistake.change.get("shift", 0)}
    words["signs"] = _SIGNS.get(mistake.change.get("signs", ""), "")
    words["which"] = ", ".join(mistake.change.get("turned_weights", ()))
    case.find(id, line=suspect_line(case.source, REGISTRY[id].row), evidence=_evidence(mistake, fit, run), **words)


def left_unscaled(text: str) -> bool:
    """Whether comments or docstrings say that the scores are not scaled on purpose, or the code is T5's: by its name, by the name of its
    bias, or by distances in buckets."""
    return bool(_LEFT_OUT.search(prose(text)) or _OF_T5.search(text))


def _has_learned_bias(fit: Fit) -> bool:
    """Whether a bias was measured beside q · k, and the module has a table that it may be from: numbers for each head."""
    module, heads = fit.invocation.fn, fit.invocation.heads
    if fit.invocation.own is None or not isinstance(module, nn.Module):
        return False
    return any(heads in (p.shape[0], p.shape[-1]) for p in module.parameters() if p.ndim > 1 and p.requires_grad)


def state(case: Case, fit: Fit, runs: list[Run], more: bool = False) -> None:
    """What the fit says, as conventions and findings. `more`: whether the scores are more than the fit's q · k."""
    case.compared = True
    conventions(case, fit, runs[-1])
    for mistake in fit.mistakes:
        add(case, mistake, fit, runs[0])
    of_its_own(case, fit, runs[0])
    p = fit.invocation.projections
    orders = {"".join(names).lower() for names in _UNPACKED.findall(case.text)}
    if p is not None and p.layout == "k|q|v blocks" and orders == {"qkv"} and "kqv" not in case.text.lower():
        case.find("queries-and-keys-exchanged", evidence=FUSED)
    module, said = fit.invocation.fn, fit.recipe.window - 1
    if said > 0 and fit.recipe.causal and isinstance(module, nn.Module) and said in _windows_named(module):
        case.find("window-one-more", said=said, seen=said + 1)
    if p is not None and p.out is not None and p.out.twice:
        case.find("output-projected-twice")
    still = fit.recipe.rotary == "none" and fit.invocation.own is None and not more
    turned = runs[0].reading.outcome.seen.turned and re.search("rot|rope|freq", case.text, re.IGNORECASE)
    if still and (turned or _rotary_called(fit, runs[0])):
        case.find("rotary-without-effect")
    draw(case, fit, runs[0])


def _windows_named(module: nn.Module) -> list[float]:
    """Numbers among its attributes that are called a window, or those of its class."""
    own = {**{n: v for n, v in vars(type(module)).items() if isinstance(v, int)}, **numbers_in(module)}
    return [v for n, v in own.items() if re.search(r"^(\w+_)?(window|win)(_size|_len\w*)?$", n, re.IGNORECASE)]


def _rotary_called(fit: Fit, run: Run) -> bool:
    """Whether a part of the module that is a rotary embedding by its name is called while it runs."""
    module, called = fit.invocation.fn, []
    if not isinstance(module, nn.Module) or any(
        kind in ("none turned", "zeros like x") for _, kind in fit.invocation.fill
    ):
        return False
    named = [part for path, part in module.named_modules() if path and _ROTARY.search(f"{path} {type(part).__name__}")]
    hooks = [part.register_forward_hook(lambda *_: called.append(True)) for part in named]
    try:
        if hooks and fit.invocation.ends is None:
            fit.invocation.run(run.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return bool(called)


# --- what was not declared ----------------------------------------------------------------------------------------


def undeclared_sinks(case: Case, sinks: Tensor) -> None:
    """One more score joins the softmax, and was not declared."""
    case.find("sinks-undeclared", numbers=", ".join(f"{float(x):.3g}" for x in sinks.flatten()))


def undeclared_causality(case: Case) -> None:
    """What was declared and what it does contradict each other."""
    does = "is not causal: every query sees every key" if case.causal else "is causal"
    case.find("causality", declared=case.causal, does=does)


def _called_a_cap(case: Case, cap: float) -> str:
    """The attribute, or the parameter with a default, that holds this soft cap and is called one."""
    return next((name for name, own in named_caps(case.fn, case.text).items() if abs(own / cap - 1) < 1e-2), "")


def undeclared_numbers(case: Case, fit: Fit) -> None:
    """A scale or a soft cap that was not declared: what it is, and how to declare it."""
    cap, declared = fit.recipe.softcap, case.base.softcap
    if cap is not None and declared is None and (name := _called_a_cap(case, cap)):
        case.conventions["soft cap"] = f"{cap:.4g}, a number of its own called {name}"
    elif cap is not None and declared is None:
        case.find("softcap-undeclared", cap=cap)
    elif cap != declared:
        found = "no soft cap was found" if cap is None else f"soft cap found: {cap:.4g}"
        case.find(
            "softcap-other", found=found, declared=declared, cap="no cap" if cap is None else f"softcap={cap:.4g}"
        )
    used = fit.recipe.scaling or 0.0
    if fit.recipe.scaling == case.base.scaling:
        return
    p = fit.invocation.projections
    size = p.query.weight.shape[1] // p.heads if p else fit.invocation.size
    right = factor(case.base, size, fit.invocation.heads, 1)
    if abs(used / right - 1) < SAME_SCALE:
        return
    if fit.recipe.rotary != "none" and _SCALED_ROTARY.search(case.text):
        case.conventions["scale"] = f"cosines and sines times {math.sqrt(used / right):.4g}, as YaRN has it"
        return
    digits = next((n for n in range(4, 8) if f"{used:.{n}g}" != f"{right:.{n}g}"), 8)
    case.find(
        "scale-other",
        used=f"{used:.{digits}g}",
        expected=f"{right:.{digits}g}",
        declare=f"{used:.4g}",
        origin="1/√d" if case.base.scaling is None else "as declared",
        size=size,
    )


# --- matrices and numbers -----------------------------------------------------------------------------------------


def _meant(fit: Fit, run: Run) -> Tensor | None:
    """What the mask that was passed in allows. A run that masks queries carries it the other way round."""
    turned = run.allowed is not None and fit.recipe.mask_axis == "queries"
    return run.allowed.transpose(-1, -2) if turned and run.allowed is not None else run.allowed


def _without(mistakes: tuple[Mistake, ...], recipe: Recipe) -> Recipe:
    """The recipe with what these mistakes change put right."""
    return recipe.but(**{name: getattr(Recipe(), name) for name in changes(mistakes)})


def draw(case: Case, fit: Fit, run: Run) -> None:
    """The two matrices, of the first head where they differ."""
    if not case.findings or case.matrices is not None:
        return
    right = _without(fit.mistakes, fit.recipe)
    if case.found("weights-scaled"):
        right = right.but(weights_times=1.0)
    if case.found("scale-other"):
        right = right.but(scale=case.base.scale, scaling=case.base.scaling)
    if case.found("softcap-undeclared", "softcap-other"):
        right = right.but(softcap=case.base.softcap)
    operands = fit.operands(run.inputs, case.sinks)
    mine, theirs = compute(right, operands, _meant(fit, run)), compute(fit.recipe, operands, run.allowed)
    got, weights, note = run.reading.weights, theirs.weights, NOTE
    if got is None:
        note += RECOMPUTED
    elif got.shape == weights.shape:
        weights = got
    if weights.shape != mine.weights.shape:
        return
    different = (weights - mine.weights).abs().nan_to_num(nan=1.0) > 1e-4
    cells = different.nonzero()
    b, h, *cell = cells[0].tolist() if len(cells) else (0, 0)
    may = mine.scores[b] > -torch.inf  # what the reference lets a query see
    size, heads = operands.query.shape[-1] // max(operands.heads, 1), fit.invocation.heads
    case.matrices = Matrices(
        theirs=weights[b, h],
        reference=mine.weights[b, h],
        cell=(cell[0], cell[1]) if cell else None,
        note=note.format(b=b, h=h),
        all_theirs=weights[b],
        all_reference=mine.weights[b],
        operands=_heads_of(operands, b),
        scaling=factor(right, size, heads, weights.shape[-1]),
        allowed=None if bool(may.all()) else may,
    )


def _heads_of(operands: Any, b: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v of one text, [H, T, D]."""
    q, k, v = operands.query[b], operands.key[b], operands.value[b]
    if not operands.heads:
        return q, k, v
    heads, kv_heads = operands.heads, operands.kv_heads
    q, k, v = (x.unflatten(-1, (n, -1)).transpose(0, 1) for x, n in ((q, heads), (k, kv_heads), (v, kv_heads)))
    return q, k, v


def _evidence(mistake: Mistake, fit: Fit, run: Run) -> str:
    """Numbers: theirs beside the reference's, and how well the mistake explains them."""
    operands = fit.operands(run.inputs)
    right = _without((mistake,), fit.recipe)
    try:
        allowed = _meant(fit, run) if "mask_axis" in mistake.change else run.allowed
        theirs, mine = compute(fit.recipe, operands, run.allowed), compute(right, operands, allowed)
    except RuntimeError:
        return ""
    evidence = []
    row = REGISTRY[mistake.name].row
    if row in (2, 3):
        known = theirs.scores.isfinite() & mine.scores.isfinite()
        spread, other = float(theirs.scores[known].std()), float(mine.scores[known].std())
        evidence.append(f"standard deviation of the scores {spread:.3g}, reference {other:.3g}")
    elif row in (1, 4):
        sums = theirs.weights.nan_to_num().sum(-1)
        evidence.append(f"row sums between {float(sums.min()):.3g} and {float(sums.max()):.3g}, reference 1")
    if run.reading.output is not None:
        far, near = error_of(run.reading.output, mine.output), error_of(run.reading.output, theirs.output)
        apart = f"by up to {far:.2g} standard deviations" if math.isfinite(far) else "in values that are not finite"
        explained = f", by {near:.1g} with this mistake in it" if math.isfinite(near) else ""
        evidence.append(f"output differs from the reference {apart}{explained}")
    return "; ".join(evidence)
