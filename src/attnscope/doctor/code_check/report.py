"""What a fit says: conventions, findings in the code's own words and numbers, and the two matrices."""

import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.mistakes import SOURCES, Mistake, changes
from attnscope.doctor.code_check.match.search import Fit, error_of
from attnscope.doctor.code_check.recipe import Recipe, compute, factor
from attnscope.doctor.code_check.run.candidates import batch_is_first, length_first
from attnscope.doctor.code_check.run.invocation import Run
from attnscope.doctor.code_check.suspect_line import suspect_line
from attnscope.doctor.findings import REGISTRY
from attnscope.doctor.matrices import Matrices

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
    words = {"queries": fit.invocation.queries_dim, "shape": fit.invocation.shape}
    words["sources"] = SOURCES.get(mistake.change.get("sources", ()), "")
    words |= {"power": f"{mistake.change.get('power', 1):g}", "shift": mistake.change.get("shift", 0)}
    words["signs"] = _SIGNS.get(mistake.change.get("signs", ""), "")
    words["which"] = ", ".join(mistake.change.get("turned_weights", ()))
    case.find(id, line=suspect_line(case.source, REGISTRY[id].row), evidence=_evidence(mistake, fit, run), **words)


def state(case: Case, fit: Fit, runs: list[Run]) -> None:
    """What the fit says, as conventions and findings."""
    case.compared = True
    _conventions(case, fit, runs[-1])
    for mistake in fit.mistakes:
        add(case, mistake, fit, runs[0])
    _of_its_own(case, fit, runs[0])
    p = fit.invocation.projections
    orders = {"".join(names).lower() for names in _UNPACKED.findall(case.text)}
    if p is not None and p.layout == "k|q|v blocks" and orders == {"qkv"} and "kqv" not in case.text.lower():
        case.find("queries-and-keys-exchanged", evidence=FUSED)
    still = fit.recipe.rotary == "none" and fit.invocation.own is None
    turned = runs[0].reading.outcome.seen.turned and re.search("rot|rope|freq", case.text, re.IGNORECASE)
    if still and (turned or _rotary_called(fit, runs[0])):
        case.find("rotary-without-effect")
    draw(case, fit, runs[0])


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


def undeclared_numbers(case: Case, fit: Fit) -> None:
    """A scale or a soft cap that was not declared: what it is, and how to declare it."""
    cap, declared = fit.recipe.softcap, case.base.softcap
    if cap is not None and declared is None:
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


# --- conventions --------------------------------------------------------------------------------------------------


def _conventions(case: Case, fit: Fit, other: Run) -> None:
    recipe, invocation, p = fit.recipe, fit.invocation, fit.invocation.projections
    found = case.conventions
    found["layout"] = invocation.layout
    if p is not None:
        groups = f", {p.kv_heads} key/value heads" if p.kv_heads != p.heads else ""
        layout = f", {p.layout}" if p.layout != "separate" else ""
        found["projections"] = f"{p.heads} heads{groups}, {p.found}{layout}"
    if invocation.call.inputs > 1 and other.inputs[0].shape[-2] == other.inputs[1].shape[-2]:
        found["lengths"] = "queries and keys of one length only"
    if not invocation.patterned:
        found["causal"] = "yes" if recipe.causal else "no"
    if recipe.qk != "plain":
        length = {"l2": "to length 1", "rms": "to a mean square of 1", "layer": "to mean 0 and variance 1"}[recipe.qk]
        found["queries and keys"] = f"normalised {length}"
    elif p is not None and p.norms != (None, None):
        found["queries and keys"] = "normalised by its own norms"
    if recipe.scale == "one" and "queries and keys" in found:
        found["scale"] = "1, since queries and keys are normalised"
    if invocation.talk != (None, None):
        found["heads"] = "mixed by a map of its own"
    if invocation.relative is not None:
        parts = [name for name in ("keys", "values") if getattr(invocation.relative, name) is not None]
        found["positions"] = f"{' and '.join(parts)} of each distance, from tables of its own"
    if invocation.gate is not None:
        found["gate"] = "on the heads' outputs, from the input"
    if recipe.scale == "own" and invocation.factors is not None:
        factors = dict.fromkeys(round(float(x), 4) for x in invocation.factors)
        found["scale"] = "cosines times " + ", ".join(f"{x:.4g}" for x in factors)
    if recipe.most:
        found["keys"] = (
            f"the {recipe.most:g} with the largest scores"
            if recipe.most >= 1
            else f"a share of {recipe.most:g}, the largest scores"
        )
    if recipe.features:
        found["weights"] = f"linear attention: products of features ({recipe.features}) in place of a softmax"
    if recipe.window:
        found["window"] = f"{recipe.window} keys"
    if recipe.rotary != "none":
        pairs = "halves" if recipe.rotary == "half" else "adjacent"
        dimensions = f", {recipe.turned} dimensions of each head" if recipe.turned else ""
        found["rotary"] = (
            f"{pairs if not fit.mistakes else recipe.rotary}, base {recipe.theta:g}{dimensions}{', backwards' * (recipe.signs == 'back')}"
        )


def _of_its_own(case: Case, fit: Fit, run: Run) -> None:
    """A bias and a pattern that were measured: a convention, but for what no design explains."""
    invocation = fit.invocation
    queries, keys = run.inputs[0].shape[-2], run.inputs[1].shape[-2]
    own = invocation.own.at(queries, keys) if invocation.own else None
    if own is None:
        return
    if bool(own.bias.any()):
        by_head = len(own.bias) > 1 and not torch.equal(own.bias[0], own.bias[-1])
        kind = f"depends on the distance i - j{' and the head' * by_head}"
        kind = kind if own.along_diagonals else "is fixed, a number for each pair of positions"
        case.conventions["position bias"] = f"its own; {kind}"
    if not invocation.patterned:
        return
    pattern = own.pattern[0]
    reach = [n for n in range(2 - queries, keys - 1) if torch.equal(pattern, torch.ones_like(pattern).tril(n))]
    if reach:
        far = reach[0]
        if far:
            sees = f"sees the next {far}" if far > 0 else f"misses its last {-far}"
            case.find("causal-off", sees=sees, shift=far)
        return
    future = bool(pattern.triu(1).any())
    count = f"{int(pattern.sum())} of {pattern.numel()} pairs may look"
    case.conventions["pattern"] = f"its own; {count}" + ("" if future else ", none ahead")
    if future and case.causal:
        query, key = pattern.triu(1).nonzero()[0].tolist()
        case.find("sees-the-future", evidence=f"query {query} sees key {key}")
    empty = (~pattern).all(-1).nonzero().flatten().tolist()
    if empty:
        case.find("pattern-empty-row", queries=empty)


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
