"""A scale or a soft cap of the code's own, found by trying numbers."""

import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.match.search import Fit, Search, Trials, agrees, conventions, operands_of
from attnscope.doctor.code_check.recipe import Recipe, compute
from attnscope.doctor.code_check.run.invocation import Invocation, Run
from attnscope.doctor.code_check.run.parameters import numbers_in

CAPS = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 100.0)  # soft caps that are tried


def named_caps(fn: Any, text: str) -> dict[str, float]:
    """Numbers of the code's own that are called caps, attributes or defaults, where it bends something by a tanh."""
    if "tanh" not in text:
        return {}
    if isinstance(fn, nn.Module):
        named = numbers_in(fn)
    else:
        try:
            named = {p.name: p.default for p in inspect.signature(fn).parameters.values()}
        except (TypeError, ValueError):
            return {}
    known = {n: v for n, v in named.items() if isinstance(v, int | float) and not isinstance(v, bool) and v > 1}
    return {n: float(v) for n, v in known.items() if re.search(r"cap(ping|ped)?$|cap_|clip", n, re.IGNORECASE)}


def other_scale(search: Search, trials: Trials) -> Fit | None:
    """A scale or a soft cap of the code's own, by trying: the right recipe but for one or two numbers."""
    for invocation, runs in trials[:3]:
        for recipe, order in conventions(invocation, search.base, search.causal, search.text, every=False):
            fit = None if recipe.aligned == "lower" else _other_numbers(search, invocation, recipe, order, runs)
            if fit is not None:
                return fit
    return None


def other_weights(search: Search, trials: Trials) -> Fit | None:
    """The right recipe but for a number that its weights are multiplied by: what such a number does is a straight line."""
    for invocation, runs in trials[:3]:
        theirs = runs[0].reading.output
        for recipe, order in conventions(invocation, search.base, search.causal, search.text, every=False):
            plain = Fit(invocation, recipe, (), order)
            try:
                operands = operands_of(plain, runs[0], search.sinks)
                none, one = (compute(recipe.but(weights_times=n), operands).output for n in (0.0, 1.0))
            except RuntimeError:
                continue
            if theirs is None or theirs.shape != one.shape or not bool(one.isfinite().all()):
                continue
            step, apart = (one - none).double().flatten(), (theirs - none).double().flatten()
            times = float(apart @ step / step.square().sum().clamp_min(1e-12))
            fit = Fit(invocation, recipe.but(weights_times=times), (), order)
            if abs(times) > 1e-3 and abs(times - 1) > 1e-3 and agrees(fit, runs, search.sinks):
                return fit
    return None


def _other_numbers(search: Search, invocation: Invocation, recipe: Recipe, order: str, runs: list[Run]) -> Fit | None:
    """This recipe with another cap (none, where one was declared), another scale, or both."""
    for cap in (None, *CAPS) if recipe.softcap is not None else CAPS:
        fit = Fit(invocation, recipe.but(softcap=cap), (), order)
        if agrees(fit, runs, search.sinks):
            return fit
    fit = _one_number(search, invocation, recipe, order, runs, "scaling")
    if fit is None and (recipe.softcap is not None or "tanh" in search.text):
        fit = _one_number(search, invocation, recipe, order, runs, "softcap")
    if fit is None and recipe.softcap is not None:
        fit = _one_number(search, invocation, recipe.but(softcap=None), order, runs, "scaling")
    if fit is None and "tanh" in search.text:
        fit = _two_numbers(search, invocation, recipe, order, runs)
    return fit


def _two_numbers(search: Search, invocation: Invocation, recipe: Recipe, order: str, runs: list[Run]) -> Fit | None:
    """Scale and cap together: the best of a grid, then Gauss-Newton steps, on logarithmic axes."""
    theirs = runs[0].reading.output
    if theirs is None:
        return None

    def of(at: Tensor) -> Recipe:
        return recipe.but(scale="declared", scaling=10 ** float(at[0]), softcap=10 ** float(at[1]))

    def apart(at: Tensor) -> Tensor:
        return (compute(of(at), operands).output - theirs)[known].double()

    try:
        operands = operands_of(Fit(invocation, recipe, (), order), runs[0], search.sinks)
        known = compute(recipe, operands).output.isfinite()
        if theirs.shape != known.shape or not bool(theirs[known].isfinite().all()):
            return None
        grid = [torch.tensor([-2.5 + 0.2 * i, -0.5 + 0.25 * j]).double() for i in range(18) for j in range(12)]
        at = min(grid, key=lambda x: float(apart(x).square().mean()))
        if not float(apart(at).square().mean()) < 0.1 * float(theirs.var()):
            return None
        for _ in range(12):
            steps = 1e-2 * torch.eye(2).double()
            slope = torch.stack([(apart(at + h) - apart(at - h)) / 2e-2 for h in steps], dim=-1)  # [outputs, 2]
            at = at - torch.linalg.lstsq(slope, apart(at)[:, None]).solution[:, 0].clamp(-0.3, 0.3)
        fit = Fit(invocation, of(at), (), order)
    except (RuntimeError, OverflowError):
        return None
    return fit if agrees(fit, runs, search.sinks) else None


def _one_number(
    search: Search, invocation: Invocation, recipe: Recipe, order: str, runs: list[Run], name: str
) -> Fit | None:
    """Golden search for the number that brings the outputs nearest, on a logarithmic axis."""

    def of(log: float) -> Recipe:
        return recipe.but(scale="declared", scaling=10**log) if name == "scaling" else recipe.but(softcap=10**log)

    def miss(log: float) -> float:
        result = compute(of(log), operands)
        known = result.output.isfinite()
        if theirs is None or theirs.shape != result.output.shape or not bool(theirs[known].isfinite().all()):
            return float("inf")
        return float((theirs[known] - result.output[known]).square().mean())

    theirs = runs[0].reading.output
    try:
        operands = operands_of(Fit(invocation, recipe, (), order), runs[0], search.sinks)
        grid = [-3 + i * 0.15 for i in range(30)]
        least, best = min((miss(log), log) for log in grid)
        if theirs is None or not least < 0.1 * float(theirs.var()):  # between two numbers of the grid is not far
            return None
        low, high, golden = best - 0.15, best + 0.15, 0.6180339887
        for _ in range(26):
            a, b = high - golden * (high - low), low + golden * (high - low)
            low, high = (low, b) if miss(a) < miss(b) else (a, high)
    except RuntimeError:
        return None
    fit = Fit(invocation, of((low + high) / 2), (), order)
    return fit if agrees(fit, runs, search.sinks) else None
