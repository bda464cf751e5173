"""What a fit says: conventions, findings in the suspect's own words and numbers, and the two matrices."""

import math
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attnscope.doctor.code_check.match.mistakes import BY_NAME, Mistake
from attnscope.doctor.code_check.match.recipe import Recipe, compute, factor
from attnscope.doctor.code_check.match.search import Fit, error_of
from attnscope.doctor.code_check.run.invocation import Run
from attnscope.doctor.code_check.run.sandbox import lines_of, own_parts
from attnscope.doctor.diagnosis import Finding, Matrices

if TYPE_CHECKING:
    from attnscope.doctor.code_check.examine import Examination


def add(exam: "Examination", mistake: Mistake, fit: Fit, run: Run, evidence: str = "") -> None:
    """A known mistake becomes a finding, in the suspect's own words and numbers."""
    if run.reading.outcome.seen.filled and mistake.name in _FILLED:  # the same numbers, another line of code
        mistake = BY_NAME[_FILLED[mistake.name]]
    words = {"queries": fit.suspect.queries_dim, "shape": fit.suspect.shape}
    title = mistake.title.format(**words)
    said = evidence or _evidence(mistake, fit, run)
    line = _line(exam, mistake)
    exam.findings.append(Finding(mistake.name, mistake.row, title, mistake.why, mistake.cure, said, mistake.invariant, mistake.place, line))  # fmt: skip


_FILLED = {"mask-multiplied": "mask-filled-with-zero", "causal-multiplied": "causal-filled-with-zero"}
SAME_SCALE = 1e-3  # a search for the scale comes no nearer

_LINES = {  # what a line speaks of that may hold the mistake of a row
    1: r"softmax|\.exp\(|sum\(", 2: r"sqrt|\*\* ?-?0?\.5|scal|rsqrt", 3: r"sqrt|\*\* ?-?0?\.5|scal|rsqrt", 4: "mask|tril|triu", 5: r"mask|tril|triu|\bwhere\(",
    6: r"-\s*(?:1e\d|\d{2,}|float|inf|math)", 7: r"-\s*(?:float|math\.inf|torch\.inf|inf|np\.inf)", 8: r"-\s*1e\d|-\s*\d{5,}", 9: "mask|tril|triu", 10: "mask|tril|triu", 11: "tril|triu|mask",
    12: "mask", 13: r"\.(?:view|reshape)\(", 14: r"\.(?:view|reshape|flatten)\(", 16: r"\.(?:repeat|tile|expand)\(", 17: r"cat\(|stack\(|repeat_interleave", 19: "dropout", 22: "transpose|permute|batch_first|reshape", 23: r"mask.*(?:repeat|expand)",
}  # fmt: skip
_NARROW = {
    1: "softmax",
    4: "masked_fill|\\*",
    5: "masked_fill|\\*",
    9: "masked_fill|tril|triu",
    10: "\\+",
    11: "tril|triu",
    12: "masked_fill",
}


def _line(exam: "Examination", mistake: Mistake) -> int | None:
    """The suspect line, where exactly one line of the source speaks of such a thing."""
    if mistake.row not in _LINES or not exam.source:
        return None
    start, lines = exam.source
    spoken = [(n, line.split("#")[0]) for n, line in enumerate(lines, start) if not line.lstrip().startswith(("def ", "class ", "#", '"'))]  # fmt: skip
    hits = [(n, line) for n, line in spoken if re.search(_LINES[mistake.row], line)]
    if len(hits) > 1 and mistake.row in _NARROW:
        hits = [(n, line) for n, line in hits if re.search(_NARROW[mistake.row], line)]
    return hits[0][0] if len(hits) == 1 else None


def source_lines(fn: Any) -> tuple[int, tuple[str, ...]] | None:
    """The number of the first line and the lines of the user's source, where there is one."""
    parts = own_parts(fn)
    part = next((p for p in parts if isinstance(p, type) and "forward" in vars(p)), parts[0])
    start, lines = lines_of(part)
    return (start, tuple(lines)) if lines else None


def state(exam: "Examination", fit: Fit, runs: list[Run]) -> None:
    """What the fit says, as conventions and findings."""
    _found_conventions(exam, fit, runs[-1])
    for mistake in fit.mistakes:
        add(exam, mistake, fit, runs[0])
    _of_its_own(exam, fit, runs[0])
    if runs[0].reading.outcome.seen.turned and fit.recipe.rotary == "none" and fit.suspect.own is None and re.search("rot|rope|freq", exam.text, re.IGNORECASE):  # fmt: skip
        exam.findings.append(Finding(
            "rotary-without-effect", 17, "rotary: angles are computed, and where a token stands changes nothing", "Queries and keys of all places are turned alike, so the turns cancel: the angles follow the heads or the batch instead of the tokens, or are not applied.",
            "let the angles' axis of positions meet the axis of tokens: (1, 1, T, D) for (batch, heads, length, size)", "attention without positions gives the same output", "a score depends on i - j", "the rotary embedding",
        ))  # fmt: skip
    draw(exam, fit, runs[0])


def sinks_found(exam: "Examination", sinks: Tensor) -> None:
    """One more score joins the softmax, and nobody said so."""
    numbers = ", ".join(f"{float(x):.3g}" for x in sinks.flatten())
    exam.findings.append(Finding(
        "sinks-undeclared", None, f"one more score joins the softmax: pass sinks=torch.tensor([{numbers}]) to declare it",
        "The rows that are seen then sum to less than 1: part of the weight goes nowhere.", "right for gpt-oss: pass sinks=; else take the column, or the 1 under the fraction, out",
        "with these sinks the reference gives the same output", "every query's weights sum to 1", "the softmax",
    ))  # fmt: skip


def undeclared_causality(exam: "Examination") -> None:
    """What was declared and what it does contradict each other."""
    if exam.causal:
        title, cure = "it is not causal, and causal=True was declared: every query sees every key", "allow only keys at or before the query: torch.ones(T, T, dtype=torch.bool).tril()"  # fmt: skip
    else:
        title, cure = "it is causal, and causal=False was declared", "leave the triangle out"
    exam.findings.append(Finding("causality", None, title, "", cure, "", "what a token sees does not change when a later token changes", "the causal mask"))  # fmt: skip


def undeclared(exam: "Examination", fit: Fit) -> None:
    """A scale or a soft cap that was not declared: what it is, and how to declare it."""
    cap, declared, used = fit.recipe.softcap, exam.base.softcap, fit.recipe.scaling or 0.0
    if cap is not None and declared is None:
        exam.findings.append(Finding(
            "softcap-undeclared", None, f"it caps its scores at about {cap:.4g}: pass softcap={cap:.4g} to declare it",
            "Scores bent by tanh never pass the cap, so no key can take all the weight. Gemma 2 does so on purpose; weights trained without it are changed by it.",
            f"right for Gemma 2: pass softcap={cap:.4g}; else leave the tanh out", f"with softcap={cap:.4g} the reference gives the same output",
            "scores grow in proportion to q · k", "the scores, before the softmax",
        ))  # fmt: skip
    elif cap != declared:
        title = f"no soft cap was found; declared: {declared:.4g}" if cap is None else f"soft cap found: {cap:.4g}, declared: {declared:.4g}"  # fmt: skip
        exam.findings.append(Finding(
            "softcap-other", None, title, "Weights that were trained with one cap give other attention under another.",
            f"softcap * torch.tanh(scores / softcap) with softcap = {declared:.4g}, or declare what is meant", f"with {'no cap' if cap is None else f'softcap={cap:.4g}'} the reference gives the same output",
            "scores are bent into what was declared", "the scores, before the softmax",
        ))  # fmt: skip
    if fit.recipe.scaling == exam.base.scaling:
        return
    p = fit.suspect.projections
    size = p.query.weight.shape[1] // p.heads if p else fit.suspect.size
    right = factor(exam.base, size, fit.suspect.heads, 1)
    if abs(used / right - 1) < SAME_SCALE:
        return
    digits = next((n for n in range(4, 8) if f"{used:.{n}g}" != f"{right:.{n}g}"), 8)
    exam.findings.append(Finding(
        "scale-other", 2, f"scores are multiplied by {used:.{digits}g}; {right:.{digits}g} was expected" + (" (1/√d)" if exam.base.scaling is None else " (as declared)"),
        "The spread of the scores decides how sharp attention is.", f"scores / math.sqrt(head_size). If it is meant (Gemma's query_pre_attn_scalar, say), pass scaling={used:.4g}",
        f"head size {size}", "for queries and keys of unit variance, scores have a standard deviation near 1", "the scale of the scores",
    ))  # fmt: skip


def _found_conventions(exam: "Examination", fit: Fit, other: Run) -> None:
    recipe, suspect = fit.recipe, fit.suspect
    exam.conventions["layout"] = suspect.layout
    if suspect.projections is not None:
        p = suspect.projections
        groups = f", {p.kv_heads} key/value heads" if p.kv_heads != p.heads else ""
        exam.conventions["projections"] = f"{p.heads} heads{groups}, {p.found}" + (f", {p.layout}" if p.layout != "separate" else "")  # fmt: skip
    if suspect.call.inputs > 1 and other.inputs[0].shape[-2] == other.inputs[1].shape[-2]:
        exam.conventions["lengths"] = "queries and keys of one length only"
    if not suspect.patterned:
        exam.conventions["causal"] = "yes" if recipe.causal else "no"
    if recipe.qk != "plain":
        length = {"l2": "to length 1", "rms": "to a mean square of 1", "layer": "to mean 0 and variance 1"}[recipe.qk]
        exam.conventions["queries and keys"] = f"normalised {length}"
    elif suspect.projections is not None and suspect.projections.norms != (None, None):
        exam.conventions["queries and keys"] = "normalised by its own norms"
    if recipe.scale == "own" and suspect.factors is not None:
        exam.conventions["scale"] = "cosines times " + ", ".join(f"{x:.4g}" for x in dict.fromkeys(round(float(x), 4) for x in suspect.factors))  # fmt: skip
    if recipe.window:
        exam.conventions["window"] = f"{recipe.window} keys"
    if recipe.rotary != "none":
        pairs = "halves" if recipe.rotary == "half" else "adjacent"
        exam.conventions["rotary"] = f"{pairs if not fit.mistakes else recipe.rotary}, base {recipe.theta:g}" + (
            f", {recipe.turned} dimensions of each head" if recipe.turned else ""
        )


def _of_its_own(exam: "Examination", fit: Fit, run: Run) -> None:
    """A bias and a pattern that were measured: a convention, but for what no design explains."""
    suspect = fit.suspect
    queries, keys = run.inputs[0].shape[-2], run.inputs[1].shape[-2]
    own = suspect.own.at(queries, keys) if suspect.own else None
    if own is None:
        return
    if bool(own.bias.any()):
        kind = "depends on the distance i - j" + (" and the head" if len(own.bias) > 1 and not torch.equal(own.bias[0], own.bias[-1]) else "") if own.along_diagonals else "is fixed, a number for each pair of places"  # fmt: skip
        exam.conventions["position bias"] = f"its own; {kind}"
    if not suspect.patterned:
        return
    pattern = own.pattern[0]
    reach = [n for n in range(2 - queries, keys - 1) if torch.equal(pattern, torch.ones_like(pattern).tril(n))]
    if reach and reach[0]:
        far = reach[0]
        title = f"the causal triangle is off: each token sees the next {far}" if far > 0 else f"the causal triangle is off: a token does not see the last {-far}"  # fmt: skip
        exam.findings.append(Finding(
            "causal-off", 11, title, "Rows are queries, columns are keys; a token sees itself and what came before.",
            "tril(diagonal=0), or triu(diagonal=1) for what to drop", f"the keys that are seen end {far} after the diagonal",
            "what a token sees does not change when a later token changes", "the diagonal of the causal triangle",
        ))  # fmt: skip
        return
    if reach:
        return
    future = bool(pattern.triu(1).any())
    exam.conventions["pattern"] = f"its own; {int(pattern.sum())} of {pattern.numel()} pairs may look" + ("" if future else ", none ahead")  # fmt: skip
    if future and exam.causal:
        ahead = pattern.triu(1).nonzero()[0].tolist()
        exam.findings.append(Finding("sees-the-future", 11, "causal=True was declared, and its pattern lets tokens look ahead", "", "allow only keys at or before the query", f"query {ahead[0]} sees key {ahead[1]}", "what a token sees does not change when a later token changes", "the pattern of keys"))  # fmt: skip
    empty = (~pattern).all(-1).nonzero().flatten().tolist()
    if empty:
        exam.findings.append(Finding("pattern-empty-row", 7, "its pattern leaves a query without any key", "Its weights are then NaN or even over masked keys.", "let every token see itself", f"queries {empty} may see no key", "every query may see a key", "the pattern of keys"))  # fmt: skip


def _meant(fit: Fit, run: Run) -> Tensor | None:
    """What the mask that was passed in allows. A run that masks queries carries it the other way round."""
    turned = run.allowed is not None and fit.recipe.mask_axis == "queries"
    return run.allowed.transpose(-1, -2) if turned and run.allowed is not None else run.allowed


def draw(exam: "Examination", fit: Fit, run: Run) -> None:
    """The two matrices, of the first head where they differ."""
    if not exam.findings or exam.matrices is not None:
        return
    right = fit.recipe.but(**{k: getattr(Recipe(), k) for m in fit.mistakes for k in m.change})
    if any(f.name == "scale-other" for f in exam.findings):
        right = right.but(scale=exam.base.scale, scaling=exam.base.scaling)
    if any(f.name.startswith("softcap-") for f in exam.findings):
        right = right.but(softcap=exam.base.softcap)
    operands = fit.operands(run.inputs, exam.sinks)
    mine, theirs = compute(right, operands, _meant(fit, run)), compute(fit.recipe, operands, run.allowed)
    got = run.reading.weights
    note = "weights of text {b}, head {h}; [ ] is the first cell that differs"
    weights = theirs.weights
    if got is not None and got.shape == weights.shape:
        weights = got
    elif got is None:
        note += "; theirs is recomputed, by the recipe that reproduces their output"
    if weights.shape != mine.weights.shape:
        return
    different = (weights - mine.weights).abs().nan_to_num(nan=1.0) > 1e-4
    cells = different.nonzero()
    b, h, *cell = cells[0].tolist() if len(cells) else (0, 0)
    may = mine.scores[b] > -torch.inf  # what the reference lets a query see
    scaling = factor(right, operands.query.shape[-1] // max(operands.heads, 1), fit.suspect.heads, weights.shape[-1])
    exam.matrices = Matrices(
        weights[b, h], mine.weights[b, h], (cell[0], cell[1]) if cell else None, note.format(b=b, h=h),
        weights[b], mine.weights[b], _heads_of(operands, b), scaling, None if bool(may.all()) else may,
    )  # fmt: skip


def _heads_of(operands: Any, b: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v of one text, [H, T, D]."""
    if not operands.heads:
        return operands.query[b], operands.key[b], operands.value[b]
    cut = lambda x, n: x[b].unflatten(-1, (n, -1)).transpose(0, 1)  # noqa: E731
    return cut(operands.query, operands.heads), cut(operands.key, operands.kv_heads), cut(operands.value, operands.kv_heads)  # fmt: skip


def _evidence(mistake: Mistake, fit: Fit, run: Run) -> str:
    """Numbers: theirs beside the reference's, and how well the mistake explains them."""
    operands = fit.operands(run.inputs)
    right = fit.recipe.but(**{k: getattr(Recipe(), k) for k in mistake.change})
    try:
        allowed = _meant(fit, run) if "mask_axis" in mistake.change else run.allowed
        theirs, mine = compute(fit.recipe, operands, run.allowed), compute(right, operands, allowed)
    except RuntimeError:
        return ""
    output = run.reading.output
    said = ""
    if mistake.row in (2, 3):
        known = theirs.scores.isfinite() & mine.scores.isfinite()
        said = f"standard deviation of the scores {float(theirs.scores[known].std()):.3g}, reference {float(mine.scores[known].std()):.3g}; "  # fmt: skip
    elif mistake.row in (1, 4):
        sums = theirs.weights.nan_to_num().sum(-1)
        said = f"row sums between {float(sums.min()):.3g} and {float(sums.max()):.3g}, reference 1; "
    if output is not None:
        far, near = error_of(output, mine.output), error_of(output, theirs.output)
        said += f"output differs from the reference by up to {far:.2g} standard deviations"
        said = said.replace("by up to inf standard deviations", "in values that are not finite")
        said += f", by {near:.1g} with this mistake in it" if math.isfinite(near) else ""
    return said
