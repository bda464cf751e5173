"""Which recipe computes what the code under test computes: the right one, one with a mistake, one with two."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attnscope.doctor.code_check.match.designs import PATTERN_FREE, designs
from attnscope.doctor.code_check.match.mistakes import BY_NAME, Mistake, with_mistakes
from attnscope.doctor.code_check.recipe import Operands, Recipe, compute
from attnscope.doctor.code_check.run.invocation import Invocation, Run
from attnscope.doctor.code_check.run.outputs import Reading
from attnscope.doctor.code_check.run.parameters import numbers_in

EXACT, HALF, BFLOAT = 3e-4, 2e-2, 8e-2  # of the output's standard deviation
PATIENCE = {
    "right": 3000,
    "windows": 600,
    1: 2500,
    2: 1800,
}  # recipes tried: counts, so that a busy machine finds the same


@dataclass(frozen=True)
class Fit:
    """A recipe that reproduces the code's outputs, and the mistakes it makes."""

    invocation: Invocation
    recipe: Recipe
    mistakes: tuple[Mistake, ...] = ()
    order: str = "head-major"

    def operands(self, inputs: tuple[Tensor, Tensor, Tensor], sinks: Tensor | None = None) -> Operands:
        return self.invocation.operands(inputs, sinks, self.order)


def error_of(theirs: Tensor, reference: Tensor) -> float:
    """Largest difference over the reference's spread, where the reference says anything; inf where theirs is not finite."""
    if theirs.shape != reference.shape:
        return float("inf")
    most = float((theirs - reference).abs().max())
    if math.isfinite(most):  # so both are finite everywhere: asked thousands of times in a search
        return most / max(float(reference.std()), 1e-6)
    known = reference.isfinite()
    if known.float().mean() < 0.2:
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
    runs = list(runs)
    first = runs[0]
    for run in runs:
        if run.reading.output is None:
            continue
        try:
            result = compute(fit.recipe, operands_of(fit, run, sinks), run.allowed)
        except (RuntimeError, ValueError, IndexError):
            if fit.recipe.sources != Recipe().sources and run is not first:
                continue  # keys and values of inputs of different lengths: torch's fused attention takes even those
            return False
        if error_of(run.reading.output, result.output) > tolerance(run.reading):
            return False
    return True


def operands_of(fit: Fit, run: Run, sinks: Tensor | None) -> Operands:
    """Made once for a run and an invocation: hundreds of recipes are tried on them. The objects stay, so their ids do."""
    who = (id(fit.invocation), fit.order, id(sinks))
    if who not in run.known:
        run.known[who] = (fit.operands(run.inputs, sinks), fit.invocation, sinks)
    return run.known[who][0]


def conventions(
    invocation: Invocation, base: Recipe, causal: bool | None, text: str, every: bool
) -> Iterator[tuple[Recipe, str]]:
    """What is free to choose: causal or not, rotary embedding or not and how, the order within the width."""
    heads, p = max(invocation.heads, 1), invocation.projections
    for order in ("head-major", "size-major") if every and p is not None and heads > 1 else ("head-major",):
        for turn, theta, turned in _turns(invocation, text, every):
            for is_causal in (False, True) if causal is None else (causal,):
                recipe = base.but(causal=is_causal, rotary=turn, theta=theta, turned=turned)
                yield recipe, order
                if is_causal and invocation.call.inputs > 1:  # else there are as many queries as keys
                    yield recipe.but(aligned="lower"), order


def _turns(invocation: Invocation, text: str, every: bool) -> Iterator[tuple[str, float, int]]:
    """Rotary embeddings to try: pairs, base, and how many dimensions are turned (0: all)."""
    yield "none", 1e4, 0
    p = invocation.projections
    spoken = re.search(r"rot|rope|freq|polar|cos\(", text, re.IGNORECASE)
    if not spoken and (p is None or not every):
        return
    size = p.query.weight.shape[1] // max(invocation.heads, 1) if p else invocation.size
    numbers = numbers_in(invocation.fn) if isinstance(invocation.fn, torch.nn.Module) else {}
    named = [float(v) for n, v in numbers.items() if re.search("theta|base|rope", n, re.IGNORECASE) and v > 10]
    if spoken:
        named += bases_in(text)
    sizes = [0] if size % 2 == 0 else [size - 1]
    if spoken:  # a part of the head: by its number of dimensions, or as a share
        counts = [int(v * size) if isinstance(v, float) and 0 < v < 1 else v for v in numbers.values()]
        counts = [v for v in dict.fromkeys([*counts, size // 2]) if isinstance(v, int)]
        sizes += [v for v in counts if 2 <= v < size and v % 2 == 0][:4]
    if p is not None and p.turned:
        sizes = [p.turned]
    for turned in sizes:
        for theta in dict.fromkeys([*named, 1e4, *((5e5, 1e6) if every and spoken else ())]):
            yield "half", theta, turned
            yield "adjacent", theta, turned


def bases_in(text: str) -> list[float]:
    """Numbers of the source that may be the base of a rotary embedding: 10000.0, 500_000, 1e6; at most three."""
    code = "\n".join(line.split("#")[0] for line in text.splitlines())
    found = [float(n.replace("_", "")) for n in re.findall(r"(?<![\w.-])(\d[\d_]*(?:\.\d*)?(?:e\d+)?)(?![\w])", code)]
    return [x for x in dict.fromkeys(found) if 50 <= x <= 1e8 and x not in (1e9, 2048.0, 4096.0, 1024.0, 512.0)][:3]


Trials = list[tuple[Invocation, list[Run]]]


@dataclass(frozen=True)
class Search:
    """What to look for among the ways of calling: which conventions are declared, and what the source says."""

    base: Recipe
    causal: bool | None
    text: str
    sinks: Tensor | None
    options: dict[str, Any]

    def explain(self, trials: Trials, more: Callable[[], bool] = lambda: False) -> Fit | None:
        """The right recipe under any convention; else one mistake; else a design of the code's own, right or with one
        mistake; else two mistakes. The fewest mistakes win, then the order. `more`: whether the scores are surely more than q · k, asked
        where the right recipe does not agree; then nothing but keys of each distance may explain them."""
        fit = self.right(trials) or self._windows(trials[:6])
        if fit is None and more():
            return self._of_designs((one for one in self.designed(trials[:10]) if one[0].relative is not None), 0)
        fit = fit or self.mistaken(trials[:24], 1)
        if fit is not None:
            return fit
        own = list(self.designed(trials[:10]))
        measured = sorted(
            own, key=lambda one: one[0].own is None and not _takes_every_parameter(one[0])
        )  # few, and a triangle that was seen saves the search for one
        fit = self._of_designs(own, 0) or self._of_designs(measured, 1)
        return fit or self.mistaken(trials[:4], 2) or self._of_designs(measured[:6], 2)

    def right(self, trials: Trials) -> Fit | None:
        """The recipe without a mistake, under any convention."""
        tried, known = 0, {}
        for invocation, runs in trials:
            ahead = known.setdefault(
                (invocation.layout, invocation.widths, invocation.heads), self._looks_ahead(invocation, runs[0])
            )
            for recipe, order in conventions(invocation, self.base, self.causal, self.text, every=True):
                if recipe.causal == ahead:  # None: not known
                    continue
                tried += 1
                if tried > PATIENCE["right"]:
                    return None
                for one in (recipe, *_unscaled(invocation, recipe)):
                    fit = Fit(invocation, one, (), order)
                    if agrees(fit, runs, self.sinks):
                        return fit
        return None

    def sound(self, trials: Trials) -> Fit | None:
        """The recipe without a mistake, or a design of the code's own without one: a short search."""
        return self.right(trials) or self._windows(trials[:2]) or self._of_designs(self.designed(trials[:3]), 0)

    def _looks_ahead(self, invocation: Invocation, run: Run) -> bool | None:
        """Whether a query's output changes with the last token, which it may see only if nothing is causal. None: not known."""
        if (
            invocation.ends is not None
            or invocation.call.inputs != 1
            or invocation.queries_apart
            or self.causal is not None
            or run.reading.output is None
        ):
            return None
        changed = run.inputs[0].clone()
        changed[..., -1, :] += 1.7
        again = invocation.run((changed,) * 3, seed=11, **self.options).output
        if again is None or not bool(again.isfinite().all()):
            return None
        return bool(((again - run.reading.output).abs()[..., :-1, :] > 1e-5).any())

    def _few(self) -> list[dict[str, Any]]:
        """Designs that are one field: few keys for each query (a window, or those with the largest scores), rotation backwards."""
        chosen = (
            [*range(1, 7), 0.25, 0.5, 0.75] if re.search(r"top_?k|sort|kth|sparse|largest", self.text, re.I) else []
        )
        turned = [{"signs": "back"}] if re.search("rot|rope|freq|polar", self.text, re.IGNORECASE) else []
        return [*turned, *({"window": n} for n in range(2, 7)), *({"most": n} for n in chosen)]

    def _windows(self, trials: Trials) -> Fit | None:
        tried = 0
        for invocation, runs in trials:
            for recipe, order in conventions(invocation, self.base, self.causal, self.text, every=False):
                for change in self._few() if recipe.aligned == "upper" else ():
                    if "signs" in change and recipe.rotary == "none":
                        continue
                    tried += 1
                    if tried > PATIENCE["windows"]:
                        return None
                    fit = Fit(invocation, recipe.but(**change), (), order)
                    if agrees(fit, runs, self.sinks):
                        return fit
        return None

    def mistaken(self, trials: Trials, count: int) -> Fit | None:
        """The recipe with `count` known mistakes."""
        tried = 0
        for invocation, runs in trials:
            for recipe, order in conventions(invocation, self.base, self.causal, self.text, every=False):
                if recipe.aligned == "lower" and count == 2:
                    continue
                for one in (recipe, *(_unscaled(invocation, recipe) if count == 1 else ())):
                    for fit in mistakes_of(invocation, one, order, count):
                        tried += 1
                        if tried > PATIENCE[count]:
                            return None
                        if agrees(fit, runs, self.sinks):
                            return fit
        return None

    def designed(self, trials: Trials) -> Iterator[tuple[Invocation, list[Run], Recipe, str]]:
        """Suspects with something of their own measured, and the recipes to try on each."""
        for invocation, runs in trials:
            for own, fields in designs(invocation, runs[0].inputs, runs[0].reading, self.text, self.options):
                if own.patterned and self.causal is False and own.looks_back(runs[0].inputs):
                    continue  # a triangle, and it was declared that there is none
                base = self.base.but(**fields)
                causal = True if own.patterned else self.causal
                for recipe, order in conventions(own, base, causal, self.text, every=False):
                    if recipe.aligned == "upper":
                        yield own, runs, recipe, order
                    if recipe.aligned == "upper" and recipe.rotary != "none":
                        yield own, runs, recipe.but(signs="back"), order

    def _of_designs(self, own: Iterable[tuple[Invocation, list[Run], Recipe, str]], count: int) -> Fit | None:
        tried = 0
        for invocation, runs, recipe, order in own:
            if count and recipe.signs != "both":
                continue
            for fit in mistakes_of(invocation, recipe, order, count) if count else [Fit(invocation, recipe, (), order)]:
                if invocation.patterned and any(f in m.change for m in fit.mistakes for f in PATTERN_FREE):
                    continue
                tried += 1
                if tried > PATIENCE[2]:
                    return None
                if agrees(fit, runs, self.sinks):
                    return with_its_mistake(fit)
        return None


def _takes_every_parameter(invocation: Invocation) -> bool:
    """Whether what no projection holds are keys and values of the module's own: likelier than one of them as a projection."""
    p, extra = invocation.projections, invocation.extra
    return p is not None and extra is not None and len(p.unused) == 2 and extra.keys.shape[2] > 1


def _unscaled(invocation: Invocation, recipe: Recipe) -> list[Recipe]:
    """A scale of 1 is right as well where the module's own norms have set the size of queries and keys, and where one map meets the keys
    themselves (Luong et al., 2015)."""
    p = invocation.projections
    free = p is not None and (None not in p.norms or p.bilinear) and recipe.scale == "head"
    return [recipe.but(scale="one")] if free else []


def with_its_mistake(fit: Fit) -> Fit:
    """A design that is measured may be a mistake, whatever else there is: a pattern that only the weights show was applied after the
    softmax, and a norm along the wrong axis."""
    wrong = ["causal-after-softmax"] * (fit.recipe.causal_how == "after")
    wrong += [f"norm-over-{fit.recipe.qk_axis}"] * (fit.recipe.qk_axis != "size")
    more = tuple(BY_NAME[name] for name in wrong if name not in [m.name for m in fit.mistakes])
    return replace(fit, mistakes=(*fit.mistakes, *more))


def mistakes_of(invocation: Invocation, recipe: Recipe, order: str, count: int) -> Iterator[Fit]:
    """The recipe with every `count` mistakes that apply to this way of calling."""
    p = invocation.projections
    kv_heads = p.kv_heads if p else invocation.kv_heads
    for wrong, mistakes in with_mistakes(recipe, invocation.heads, kv_heads, invocation.flat, count):
        if wrong.sources != recipe.sources and (invocation.call.inputs == 1 or invocation.projections is None):
            continue
        yield Fit(invocation, wrong, mistakes, order)
