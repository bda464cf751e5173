"""Where the scores are more than q · k (Transformer-XL, DeBERTa, and the like): the comparison takes them as they enter the softmax.

What the code adds to q · k may depend on the query or on the key, but hardly on both at once. So two proofs stand in for one. With the
scores that were seen, the recipe must give the code's output: that holds the softmax, the values and the heads against the reference. And
where a query and a key both move, the scores must move by what q · k moves beyond the two moves alone: that holds the scale, the heads
and the projections of q and k against it, whatever else is added.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check import report
from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.measured_bias import MASKED, scores_seen
from attnscope.doctor.code_check.match.mistakes import with_mistakes
from attnscope.doctor.code_check.match.search import Fit, Trials, conventions, error_of, tolerance
from attnscope.doctor.code_check.recipe import Recipe, compute
from attnscope.doctor.code_check.run.invocation import Invocation, Run

MOST = 400  # recipes that are tried on the scores of one way of calling
CLOSE = 2e-3  # of the spread of what is compared
Inputs = tuple[Tensor, Tensor, Tensor]
Moves = tuple[list[Inputs], Tensor, Tensor]
Observed = tuple[list[Tensor | None], Moves | None]


def compared(case: Case, trials: Trials) -> bool:
    """Whether the code is softmax attention over scores of which q · k is a part: it is then described, with its mistake if it has one."""
    for count in (0, 1):
        for fit, runs, scores in _fits(case, trials, count):
            _state(case, fit, runs, scores)
            return True
    return False


def surely_more(case: Case, trials: Trials) -> bool:
    """Whether a module is that without a mistake, and what it adds to q · k moves with its input. No design of the search does so: a
    longer one would find nothing. Code that speaks of a triangle and masks nothing is left to it."""
    if not isinstance(case.fn, nn.Module) or trials[0][0].ends is not None:
        return False
    for fit, runs, scores in _fits(case, trials, 0):
        own = compute(fit.recipe, fit.operands(runs[0].inputs)).scores
        known = (scores > MASKED).all(0)
        hidden = not bool(known.all()) or not re.search("tril|triu|causal", case.text)
        added = (scores - own)[:, known]
        case.by_scores = hidden and bool((added - added[:1]).abs().max() > CLOSE * own.std())
        break
    return case.by_scores


def _fits(case: Case, trials: Trials, count: int) -> Iterator[tuple[Fit, list[Run], Tensor]]:
    """Recipes with `count` mistakes that agree with the output and with how scores move, the runs, and the scores of the first."""
    if case.sinks is not None or case.base.softcap is not None:
        return
    for invocation, runs in trials[:12]:
        scores, moves = _observed(case, invocation, runs)
        if moves is None or scores[0] is None:
            continue
        for recipe, mistakes in _recipes(case, invocation, count):
            fit = Fit(invocation, recipe, mistakes)
            if _same_output(fit, runs, scores) and _same_moves(fit, *moves):
                yield fit, runs, scores[0]


def _observed(case: Case, invocation: Invocation, runs: list[Run]) -> Observed:
    """The scores of each run, and how they move: the code is run for them once, however often they are asked for."""
    if id(runs) not in case.observed:
        scores = [_seen(invocation, run) for run in runs]
        moves = None if scores[0] is None else _moves_seen(case, invocation)
        case.observed[id(runs)] = runs, (scores, moves)  # held, so that no other list has this id
    return case.observed[id(runs)][1]


def _recipes(case: Case, invocation: Invocation, count: int) -> Iterator[tuple[Recipe, tuple]]:
    p, tried = invocation.projections, 0
    kv_heads = p.kv_heads if p else invocation.kv_heads
    for recipe, order in conventions(invocation, case.base, False, case.text, every=False):
        if order != "head-major":
            continue
        several = [(sums, recipe.but(scale="declared", scaling=_scale(invocation, sums))) for sums in (2, 3)]
        for sums, one in [(1, recipe), *(several if case.base.scale == "head" else [])]:
            made = with_mistakes(one, invocation.heads, kv_heads, invocation.flat, count) if count else [(one, ())]
            for wrong, mistakes in made if sums == 1 or not count else ():
                tried += 1
                if tried > MOST:
                    return
                yield wrong, mistakes


def _scale(invocation: Invocation, sums: int) -> float:
    """1/√(sums · d): of scores that are sums of two or three products, as in DeBERTa."""
    p = invocation.projections
    size = p.query.weight.shape[1] // p.heads if p else invocation.size
    return (sums * size) ** -0.5


def _seen(invocation: Invocation, run: Run) -> Tensor | None:
    inputs = run.inputs
    if run.reading.output is None:
        return None
    return scores_seen(run.reading, inputs[0].shape[0], invocation.heads, inputs[0].shape[-2], inputs[1].shape[-2])


def _same_output(fit: Fit, runs: list[Run], scores: list[Tensor | None]) -> bool:
    for run, given in zip(runs, scores, strict=True):
        if run.reading.output is None or given is None:
            continue
        try:
            operands = replace(fit.operands(run.inputs), given=given)
            far = error_of(run.reading.output, compute(fit.recipe, operands).output)
        except (RuntimeError, ValueError, IndexError):
            return False
        if far > tolerance(run.reading):
            return False
    return True


def _moved(invocation: Invocation, inputs: Inputs) -> tuple[list[Inputs], Tensor]:
    """The inputs as they are, with queries moved, with keys moved, with both; and which pairs of query and key that concerns, [Q, K].
    Where one sequence gives both, every second token moves as a query, and the others as keys."""
    queries, keys = inputs[0].shape[-2], inputs[1].shape[-2]
    first, second = torch.arange(queries) % 2 == 0, torch.arange(keys) % 2 == 1
    alone = invocation.call.inputs == 1 and not invocation.queries_apart
    if not alone:
        first, second = torch.ones_like(first), torch.ones_like(second)
    step = [torch.randn(x.shape, generator=torch.Generator().manual_seed(n)) for n, x in enumerate(inputs[:2])]

    def at(a: bool, b: bool) -> Inputs:
        if alone:
            x = inputs[0] + a * step[0] * first[:, None] + b * step[0] * second[:, None]
            return x, x, x
        key = inputs[1] + b * step[1]
        return inputs[0] + a * step[0], key, key if invocation.call.inputs == 2 else inputs[2]

    return [at(False, False), at(True, False), at(False, True), at(True, True)], first[:, None] & second


def _together(four: list[Tensor]) -> Tensor:
    """What moves with a query and a key beyond what moves with each of them alone."""
    return four[3] - four[1] - four[2] + four[0]


def _moves_seen(case: Case, invocation: Invocation) -> Moves | None:
    """The four inputs; where their scores are known, [B, H, Q, K]; and how they move together."""
    if invocation.queries_apart or invocation.ends is not None:
        return None
    four, pairs = _moved(invocation, invocation.inputs("moved", 7))
    found = []
    for inputs in four:
        reading = invocation.run(inputs, seed=11, **case.options)
        scores = _seen(invocation, Run(inputs, reading))
        if scores is None:
            return None
        found.append(scores)
    known = torch.stack([x > MASKED for x in found]).all(0) & pairs
    return None if int(known.sum()) < 20 else (four, known, _together(found))


def _same_moves(fit: Fit, four: list[Inputs], known: Tensor, seen: Tensor) -> bool:
    try:
        mine = _together([compute(fit.recipe, fit.operands(x)).scores for x in four])
    except (RuntimeError, ValueError, IndexError):
        return False
    if mine.shape != seen.shape:
        return False
    return bool((mine - seen)[known].abs().max() < CLOSE * mine[known].std().clamp_min(1e-6))


def _state(case: Case, fit: Fit, runs: list[Run], scores: Tensor) -> None:
    """Conventions, the mistake, and what the triangle of the seen scores says."""
    report.state(case, fit, runs, more=True)
    case.conventions.pop("causal", None)
    if fit.recipe.scale == "declared" and case.base.scale == "head":
        sums = round(fit.recipe.scaling**-2 / _scale(fit.invocation, 1) ** -2)  # type: ignore[operator]
        case.conventions["scale"] = f"1/√({sums} d), as of a sum of {sums} products"
    case.conventions["scores"] = "q · k and more, which was taken as it enters the softmax"
    pattern = (scores > scores.amax(-1, keepdim=True) + MASKED)[0, 0]
    case.conventions["causal"] = "no" if bool(pattern.triu(1).any()) else "yes"
    offset = next((n for n in (1, -1, 2, -2) if torch.equal(pattern, torch.ones_like(pattern).tril(n))), 0)
    if offset:
        sees = f"sees the next {offset}" if offset > 0 else f"misses its last {-offset}"
        case.find("causal-off", sees=sees, shift=offset)
    case.skip("own-scores")
