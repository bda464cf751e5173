"""Mistakes beside a design, and two at once, where the search in order has ended: those first that come nearest to the output.

The search in order tries so many recipes and no more, and its pairs fill that with the first few conventions. Here the recipes are
ranked by how far their output is from the code's: of two mistakes, one alone mostly comes nearer than none.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from attnscope.doctor.code_check.match.designs import PATTERN_FREE
from attnscope.doctor.code_check.match.mistakes import changes
from attnscope.doctor.code_check.match.search import (
    Fit,
    Search,
    Trials,
    agrees,
    conventions,
    mistakes_of,
    operands_of,
    with_its_mistake,
)
from attnscope.doctor.code_check.recipe import compute
from attnscope.doctor.code_check.run.invocation import Run

MOST = 900  # recipes without a mistake that are ranked
WAYS, SINGLES = 10, 24  # those kept, with none and with one
Way = tuple[Fit, list[Run]]


def nearest(search: Search, trials: Trials) -> Fit | None:
    """The fit with one mistake or two among the recipes that come nearest."""
    ways = _ranked(search, islice(_ways(search, trials), MOST))[:WAYS]
    singles = []
    for fit, runs in ways:
        for one in _with_one_more(fit):
            if agrees(one, runs, search.sinks):
                return with_its_mistake(one)
            singles.append((one, runs))
    for fit, runs in _ranked(search, singles)[:SINGLES]:
        if not fit.mistakes[-1].alone:
            for two in _with_one_more(fit):
                if not two.mistakes[-1].alone and agrees(two, runs, search.sinks):
                    return with_its_mistake(two)
    return None


def _ways(search: Search, trials: Trials) -> Iterator[Way]:
    """Recipes without a mistake: plain ones, then designs."""
    for invocation, runs in trials[:8]:
        for recipe, order in conventions(invocation, search.base, search.causal, search.text, every=False):
            if recipe.aligned == "upper":
                yield Fit(invocation, recipe, (), order), runs
    for own, runs, recipe, order in search.designed(trials[:6]):
        yield Fit(own, recipe, (), order), runs


def _with_one_more(fit: Fit) -> Iterator[Fit]:
    """The fit with each mistake that it may make besides, in the order of the table."""
    for one in mistakes_of(fit.invocation, fit.recipe, fit.order, 1):
        mistake = one.mistakes[0]
        both = (*fit.mistakes, mistake)
        if len(changes(both)) < sum(len(m.change) for m in both):  # one undoes the other, or is the same
            continue
        if not (fit.invocation.patterned and any(field in mistake.change for field in PATTERN_FREE)):
            yield Fit(fit.invocation, one.recipe, both, fit.order)


def _ranked(search: Search, ways: Iterable[Way]) -> list[Way]:
    """Nearest first; those that give no such output are left out."""
    found = [(_miss(search, *way), i, way) for i, way in enumerate(ways)]
    return [way for miss, _, way in sorted(found, key=lambda one: one[:2]) if miss <= 1]


def _miss(search: Search, fit: Fit, runs: list[Run]) -> float:
    """The share of the output's variance that the recipe's, times any number, leaves: small outputs are no nearer than large ones."""
    theirs = runs[0].reading.output
    try:
        mine = compute(fit.recipe, operands_of(fit, runs[0], search.sinks)).output
    except (RuntimeError, ValueError, IndexError):
        return float("inf")
    known = mine.isfinite()
    if theirs is None or theirs.shape != mine.shape or not bool(known.any()):
        return float("inf")
    a, b = (x[known] - x[known].mean() for x in (theirs, mine))
    miss = 1 - float((a * b).sum().square() / (a.square().sum() * b.square().sum()).clamp_min(1e-12))
    return miss if miss == miss else float("inf")
