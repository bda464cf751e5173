"""One examination, from the first call to the Diagnosis: run, match, then mask, extremes and what was asked besides."""

import re
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check import report
from attnscope.doctor.code_check.arguments import refuse_unfit
from attnscope.doctor.code_check.checks import comparisons, execution, invariants, mask_argument
from attnscope.doctor.code_check.match.measured_bias import undeclared_sinks
from attnscope.doctor.code_check.match.recipe import Recipe
from attnscope.doctor.code_check.match.search import Fit, Hunt, Ways
from attnscope.doctor.code_check.run.candidates import layout_hints, of_function, of_groups, of_module, width_of
from attnscope.doctor.code_check.run.invocation import Run, Suspect
from attnscope.doctor.code_check.run.outputs import Reading
from attnscope.doctor.code_check.run.probes import HEADS
from attnscope.doctor.code_check.run.sandbox import TOTAL, Spent, budget, one_thread, source_of
from attnscope.doctor.code_check.run.signature import by_position
from attnscope.doctor.code_check.run.submodule import Ends
from attnscope.doctor.diagnosis import Diagnosis, Finding, Matrices
from attnscope.errors import InputError

LENGTHS = (7, 5)


def check(
    fn: Any, *, scaling: float | None = None, softcap: float | None = None, sinks: Tensor | None = None,
    causal: bool | None = None, like: Any = None, cached: Any = None, model: Any = None, hint: int | None = None,
) -> Diagnosis:  # fmt: skip
    """Name the mistake in a hand-written attention function or module.

    `fn` is a function (query, key, value[, mask][, ...]) on (B, T, D) or (B, H, T, D), or a module with projections; it
    returns the output, or output and weights in either order. What it does on purpose is declared: `scaling` (what
    q · k is multiplied by, 1/√D unless said), `softcap`, `sinks` ([H] or [1], one more score each), `causal`. The axes of
    a function are told by its comments (# (batch, heads, length, size)) where trying leaves two readings.

    `like` is a reference with the same weights (a module, or a function). `cached`: for a function of query, key, value
    True (fn itself takes Q < K) or a function for the last queries; for a module whose forward takes a cache True, or a
    function that makes an empty one. `model` is a module or function of (ids or embeddings, mask) that uses the attention:
    it is run on one text and on a batch. `hint` = 1 reports only the invariant that fails, 2 the place as well, 3 everything.

    Returns a Diagnosis, which is true when nothing was found. The code under test is given 10 seconds a call and 40 in
    all. The limit of a call holds on the main thread of a Unix process only, and code that swallows every exception
    (`except BaseException` in a loop) never returns all the same; `attnscope check FILE.py:NAME` kills whatever takes
    longer. Seeds that it sets are ignored, so that they hide no dice. Raises InputError where there is nothing to check,
    where an argument is missing that nothing tells how to fill, or where what is declared cannot be meant.
    """
    refuse_unfit(scaling=scaling, softcap=softcap, sinks=sinks, causal=causal, like=like, cached=cached, model=model, hint=hint)  # fmt: skip
    return Examination(fn, scaling, softcap, sinks, causal, like, cached, model, hint).diagnose()


class Examination:
    """Collects findings; each step leaves what it learned for the next."""

    def __init__(
        self, fn: Any, scaling: float | None, softcap: float | None, sinks: Tensor | None, causal: bool | None, like: Any,
        cached: Any, model: Any, hint: int | None,
    ) -> None:  # fmt: skip
        self.name = _name(fn)
        self.fn = _ready(fn, self.name)
        self.sinks, self.causal, self.like, self.cached, self.model, self.hint = (
            sinks,
            causal,
            like,
            cached,
            model,
            hint,
        )
        self.base = Recipe(scale="head" if scaling is None else "declared", scaling=scaling, softcap=softcap)
        self.text = source_of(self.fn)
        self.source = report.source_lines(self.fn)
        self.findings: list[Finding] = []
        self.conventions: dict[str, str] = {}
        self.notes: list[str] = []
        self.not_examined: list[str] = []
        self.matrices: Matrices | None = None
        self.still = False
        self.grouped: Ways = []  # ways of calling a function with fewer key heads than query heads
        self.started = time.perf_counter()

    # --- the course of it ----------------------------------------------------------------------------------------

    @property
    def options(self) -> dict[str, Any]:
        """What every run of the suspect is given."""
        return {"still": self.still, "sinks": self.sinks}

    def diagnose(self) -> Diagnosis:
        with budget(), one_thread():
            try:
                self._course()
            except Spent:
                execution.too_long(self, TOTAL)
        return Diagnosis(
            self.name, tuple(self.findings), self.conventions, tuple(dict.fromkeys(self.not_examined)),
            tuple(dict.fromkeys(self.notes)), self.matrices, self.hint, time.perf_counter() - self.started, self.source,
        )  # fmt: skip

    def _course(self) -> None:
        ways = self._first_runs()
        if ways:
            execution.side_effects(self, ways)
            execution.dice(self, ways[0])
            ways = self._stilled(ways) if self.still else ways
            fit = self._match(ways) or self._inside(ways)
            if fit is not None:
                mask_argument.after_match(self, fit)
            else:
                invariants.unmatched(self, ways)
            comparisons.examine(self, fit, ways)

    def _first_runs(self) -> Ways:
        """Every way of calling that works, with its runs; findings where none does."""
        heads = self.sinks.numel() if self.sinks is not None and self.sinks.numel() > 1 else None
        if isinstance(self.fn, nn.Module):
            tiers = [list(of_module(self.fn, self.name))]
        else:
            tiers = of_function(self.fn, self.name, heads or HEADS)
            self.grouped = self._working(of_groups(self.fn, self.name, heads))[0]
        if isinstance(self.fn, nn.Module) and not tiers[0]:
            raise InputError(
                f"no query, key and value projections were found in {self.name}"
                + (f" (its width seems to be {width_of(self.fn)})" if width_of(self.fn) else "")
                + "; name them so that q, k and v can be told apart, or check the function inside it."
            )
        failed: list[Reading] = []
        for tier in tiers:
            ways, errors = self._working(tier)
            failed += errors
            if ways:
                return ways
            if failed and failed[-1].outcome.timed_out:
                execution.not_run(self, failed[-1])
                return []
        if self.grouped:
            return self.grouped
        shape = next((r for r in failed if r.wrong), None)
        unused = tiers[0][0].projections.unused if isinstance(self.fn, nn.Module) and tiers[0][0].projections else ()
        if shape is not None and unused:
            self.not_examined.append(f"everything: it {shape.wrong}; {', '.join(unused)} may be queries of its own. Check the function inside it")  # fmt: skip
        elif shape is not None and isinstance(self.fn, nn.Module) and shape.as_given:
            self.not_examined.append("everything: it returns as many numbers for each token as it was given, and no reading of its parameters as projections says so. Check the function inside it")  # fmt: skip
        else:
            half = next((r for r in failed if execution.beyond_half(r.outcome)), None)
            execution.not_run(self, half or shape or failed[0])
        return []

    def _working(self, tier: list[Suspect]) -> tuple[Ways, list[Reading]]:
        """Those ways that give an output, with their runs; and what the others gave, up to the first that never returned."""
        ways: Ways = []
        failed: list[Reading] = []
        known: dict[tuple, list[Run]] = {}
        for suspect in (way for one in tier for way in one.permitting()):
            key = _same_call(suspect)
            if key not in known:
                known[key] = self._runs(suspect)
                failed += [r.reading for r in known[key][:1] if r.reading.output is None]
                if failed and failed[-1].outcome.timed_out:
                    return [], failed
            if known[key][0].reading.output is not None:
                ways.append((suspect, [_reread(suspect, run) for run in known[key]]))
        return ways, failed

    def _runs(self, suspect: Suspect) -> list[Run]:
        first, second = LENGTHS
        runs = [suspect.probe(suspect.inputs("self", first), seed=11, **self.options)]
        if runs[0].reading.output is None:
            return runs
        other = suspect.probe(suspect.inputs("other", second, None if suspect.call.inputs == 1 else first), seed=12, **self.options)  # fmt: skip
        if other.reading.output is None and suspect.call.inputs != 1:
            other = suspect.probe(suspect.inputs("other", second), seed=12, **self.options)
        return [*runs, other]

    def _stilled(self, ways: Ways) -> Ways:
        """The same ways, run again with dropout switched off."""
        known: dict[tuple, list[Run]] = {}
        for suspect, _ in ways:
            known.setdefault(_same_call(suspect), self._runs(suspect))
        return [(suspect, [_reread(suspect, r) for r in known[_same_call(suspect)]]) for suspect, _ in ways]

    # --- matching ------------------------------------------------------------------------------------------------

    def _match(self, ways: Ways) -> Fit | None:
        hunt = Hunt(self.base, self.causal, self.text, self.sinks, self.options)
        fit = self._of_groups(hunt, ways) or hunt.search(ways)
        if fit is None and self.causal is not None:
            fit = replace(hunt, causal=not self.causal).search(ways)
            if fit is not None:
                report.undeclared_causality(self)
        if fit is None:
            fit = hunt.other_scale(ways)
            if fit is not None:
                report.undeclared(self, fit)
        if fit is None and self.sinks is None:
            fit = self._undeclared_sinks(hunt, ways)
        if fit is not None:
            self._ambiguity(hunt, ways, fit)
            report.state(self, fit, next((runs for suspect, runs in ways if _same_call(suspect) == _same_call(fit.suspect)), ways[0][1]))  # fmt: skip
        return fit

    def _of_groups(self, hunt: Hunt, ways: Ways) -> Fit | None:
        """With fewer key heads than query heads, where a function takes that: it shows more than heads of one number."""
        if not self.grouped or ways is self.grouped or any(s.ends for s, _ in ways):
            return None
        grouped = self._stilled(self.grouped) if self.still else self.grouped
        fit = hunt.right(grouped) or hunt.mistaken(grouped, 1)
        told = re.search(r"repeat|expand|tile|kv_heads|gqa|group", self.text, re.IGNORECASE)
        fit = fit or (hunt.search(grouped) if told else None)
        if fit is not None:
            ways[:] = grouped
        return fit

    def _ambiguity(self, hunt: Hunt, ways: Ways, fit: Fit) -> None:
        """Another layout of a function's axes under which the mistake has another name: its text can settle that."""
        if not fit.mistakes or fit.suspect.projections is not None or layout_hints(self.text):
            return
        for suspect, runs in ways:
            if suspect.layout == fit.suspect.layout or suspect.heads == fit.suspect.heads:
                continue
            other = hunt.mistaken([(suspect, runs)], 1)
            if other is not None and other.mistakes != fit.mistakes:
                names = " and ".join(m.name.replace("-", " ") for m in other.mistakes)
                self.notes.append(f"its axes were taken as {fit.suspect.layout}; as {suspect.layout} the mistake is: {names}. Write the one that is meant into it as a comment, # {suspect.layout}, to settle it.")  # fmt: skip
                return

    def _undeclared_sinks(self, hunt: Hunt, ways: Ways) -> Fit | None:
        """One more score in the softmax: the module's own parameter, or one that its row sums tell."""
        suspect, _ = ways[0]
        named = [p.detach().flatten() for n, p in self.fn.named_parameters() if "sink" in n.lower()] if isinstance(self.fn, nn.Module) else []  # fmt: skip
        for sinks in [*named, *undeclared_sinks(suspect, self.options)]:
            fit = replace(hunt, sinks=sinks).right(ways) if sinks.numel() in (1, suspect.heads) else None
            if fit is not None:
                self.sinks = sinks
                report.sinks_found(self, sinks)
                return fit
        return None

    def _inside(self, ways: Ways) -> Fit | None:
        """The attention inside a larger module, between its projections."""
        ends = Ends.of(ways[0][0].projections)
        if ends is None:
            return None
        whole, _ = ways[0]
        runs = self._runs(replace(whole, ends=ends))
        if runs[0].reading.output is None:
            return None
        inner = [(replace(suspect, ends=ends), runs) for suspect, _ in ways]
        fit = self._match(inner)
        if fit is not None:
            self.notes.append(f"there is more in it than attention; compared was what happens {ends}.")
        return fit


def _same_call(suspect: Suspect) -> tuple:
    """Ways that differ in nothing but the reading of the projections share their runs."""
    return (suspect.permit, suspect.layout, suspect.widths, suspect.spread, suspect.size, suspect.flat, () if suspect.flat else (suspect.heads, suspect.kv_heads))  # fmt: skip


def _reread(suspect: Suspect, run: Run) -> Run:
    """The same run under another reading of the projections: only the expected shape may differ."""
    return run if run.reading.saw else Run(run.inputs, suspect.read(run.reading.outcome, run.inputs), run.allowed)


def _name(fn: Any) -> str:
    return getattr(fn, "__name__", None) or type(fn).__name__


def _ready(fn: Any, name: str) -> Any:
    """Something to call: a class without required arguments is made, all else must be callable."""
    if isinstance(fn, type):
        if not issubclass(fn, nn.Module):
            raise InputError(f"{name} is a class, and not an nn.Module; pass a function or an instance.")
        try:
            torch.manual_seed(0)
            return fn()
        except TypeError as error:
            raise InputError(f"{name} is a class that needs arguments ({error}); pass an instance: check({name}(…)).") from None  # fmt: skip
    if not callable(fn):
        raise InputError(f"{name} cannot be called; check wants a function of (query, key, value[, mask]) or a module.")
    return fn if isinstance(fn, nn.Module) else by_position(fn, name)
