"""Which recipe computes what the suspect computes: the right one, one with a mistake, one with two."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from attnscope.doctor.mistakes import Mistake, with_mistakes
from attnscope.doctor.projections import numbers_in
from attnscope.doctor.recipe import Operands, Recipe, compute
from attnscope.doctor.suspects import Reading, Suspect

EXACT, HALF, BFLOAT = 3e-4, 2e-2, 8e-2  # of the output's standard deviation
PATIENCE = 4000  # recipes tried with pairs of mistakes: a count, so that a busy machine finds the same


@dataclass(frozen=True)
class Run:
    """One probe through one way of calling."""

    inputs: tuple[Tensor, Tensor, Tensor]
    reading: Reading
    allowed: Tensor | None = None


@dataclass(frozen=True)
class Fit:
    """A recipe that reproduces the suspect's outputs, and the mistakes it makes."""

    suspect: Suspect
    recipe: Recipe
    mistakes: tuple[Mistake, ...] = ()
    order: str = "head-major"

    def operands(self, inputs: tuple[Tensor, Tensor, Tensor], sinks: Tensor | None = None) -> Operands:
        return self.suspect.operands(inputs, sinks, self.order)


def error_of(theirs: Tensor, reference: Tensor) -> float:
    """Largest difference over the reference's spread, where the reference says anything; inf where theirs is not finite."""
    known = reference.isfinite()
    if theirs.shape != reference.shape or known.float().mean() < 0.2:
        return float("inf")
    a, b = theirs[known], reference[known]
    if not bool(a.isfinite().all()):
        return float("inf")
    return float((a - b).abs().max() / b.std().clamp_min(1e-6))


def tolerance(reading: Reading) -> float:
    low = reading.outcome.seen.low
    return EXACT if low is None else HALF if low == torch.float16 else BFLOAT


def agrees(fit: Fit, runs: Iterable[Run], sinks: Tensor | None = None) -> bool:
    """Whether the recipe reproduces every run."""
    for run in runs:
        if run.reading.output is None:
            continue
        try:
            result = compute(fit.recipe, fit.operands(run.inputs, sinks), run.allowed)
        except (RuntimeError, ValueError, IndexError):
            return False
        if error_of(run.reading.output, result.output) > tolerance(run.reading):
            return False
    return True


def conventions(suspect: Suspect, base: Recipe, causal: bool | None, text: str, every: bool) -> Iterator[tuple[Recipe, str]]:  # fmt: skip
    """What is free to choose: causal or not, rotary embedding or not and how, the order within the width."""
    turns: list[tuple[str, float]] = [("none", 1e4)]
    heads = max(suspect.heads, 1)
    p = suspect.projections
    size = p.query.weight.shape[1] // heads if p else 1
    if p is not None and size % 2 == 0 and (every or re.search("rot|rope|cos|freq|polar", text, re.IGNORECASE)):
        named = [float(v) for n, v in numbers_in(suspect.fn).items() if re.search("theta|base|rope", n, re.IGNORECASE) and v > 10] if isinstance(suspect.fn, torch.nn.Module) else []  # fmt: skip
        for theta in dict.fromkeys([*named, 1e4, *((5e5, 1e6) if every else ())]):
            turns += [("half", theta), ("adjacent", theta)]
    for order in ("head-major", "size-major") if every and p is not None and heads > 1 else ("head-major",):
        for turn, theta in turns:
            for is_causal in (False, True) if causal is None else (causal,):
                recipe = base.but(causal=is_causal, rotary=turn, theta=theta)
                yield recipe, order
                if is_causal:
                    yield recipe.but(aligned="lower"), order


def search(
    ways: list[tuple[Suspect, list[Run]]], base: Recipe, causal: bool | None, text: str, sinks: Tensor | None = None,
    fits: Callable[[Fit, list[Run]], bool] | None = None,
) -> Fit | None:  # fmt: skip
    """The right recipe under any convention; else one mistake; else two. The fewest mistakes win, then the order."""
    fits = fits or (lambda fit, runs: agrees(fit, runs, sinks))
    for suspect, runs in ways:
        for recipe, order in conventions(suspect, base, causal, text, every=True):
            fit = Fit(suspect, recipe, (), order)
            if fits(fit, runs):
                return fit
    for suspect, runs in ways[:6]:
        for recipe, order in conventions(suspect, base, causal, text, every=False):
            for window in range(1, 7) if recipe.aligned == "upper" else ():
                fit = Fit(suspect, recipe.but(window=window), (), order)
                if fits(fit, runs):
                    return fit
    tried = 0
    for count, reach in ((1, 24), (2, 4)):
        for suspect, runs in ways[:reach]:
            p = suspect.projections
            for recipe, order in conventions(suspect, base, causal, text, every=False):
                if (recipe.aligned == "lower" and count == 2) or tried > PATIENCE:
                    continue
                kv = p.kv_heads if p else suspect.kv_heads
                for wrong, mistakes in with_mistakes(recipe, suspect.heads, kv, suspect.flat, count):
                    fit = Fit(suspect, wrong, mistakes, order)
                    tried += count == 2
                    if fits(fit, runs):
                        return fit
    return None


def scale_of(ways: list[tuple[Suspect, list[Run]]], base: Recipe, causal: bool | None, text: str) -> Fit | None:
    """A scale or a soft cap of the suspect's own, by trying: the right recipe but for one number."""
    for suspect, runs in ways[:3]:
        for recipe, order in conventions(suspect, base, causal, text, every=False):
            if base.softcap is None:
                for cap in (10.0, 15.0, 20.0, 30.0, 50.0, 100.0):
                    fit = Fit(suspect, recipe.but(softcap=cap), (), order)
                    if agrees(fit, runs):
                        return fit
            fit = _best_scale(suspect, recipe, order, runs)
            if fit is not None:
                return fit
    return None


def _best_scale(suspect: Suspect, recipe: Recipe, order: str, runs: list[Run]) -> Fit | None:
    """Golden search for the factor that brings the outputs nearest, on a logarithmic axis."""

    def miss(log: float) -> float:
        tried = recipe.but(scale="declared", scaling=10**log)
        result = compute(tried, suspect.operands(runs[0].inputs, order=order))
        theirs = runs[0].reading.output
        known = result.output.isfinite()
        if theirs is None or theirs.shape != result.output.shape or not bool(theirs[known].isfinite().all()):
            return float("inf")
        return float((theirs[known] - result.output[known]).square().mean())

    try:
        grid = [-3 + i * 0.15 for i in range(30)]
        best = min(grid, key=miss)
        low, high, golden = best - 0.15, best + 0.15, 0.6180339887
        for _ in range(45):
            a, b = high - golden * (high - low), low + golden * (high - low)
            low, high = (low, b) if miss(a) < miss(b) else (a, high)
    except RuntimeError:
        return None
    fit = Fit(suspect, recipe.but(scale="declared", scaling=10 ** ((low + high) / 2)), (), order)
    return fit if agrees(fit, runs) else None
