"""One examination, from the first call to the Diagnosis: run, match, then mask, extremes and what was asked besides."""

import inspect
import math
import re
import time
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor import beside, extremes, inside, invariants
from attnscope.doctor.diagnosis import Diagnosis, Finding, Matrices
from attnscope.doctor.mistakes import Mistake
from attnscope.doctor.recipe import Recipe, compute, factor
from attnscope.doctor.search import Fit, Run, error_of, scale_of, search
from attnscope.doctor.suspects import Reading, Suspect, of_function, of_module, width_of
from attnscope.doctor.trial import source_of
from attnscope.errors import InputError

LENGTHS = (7, 5)


def check(
    fn: Any, *, scaling: float | None = None, softcap: float | None = None, sinks: Tensor | None = None,
    causal: bool | None = None, like: Any = None, cached: Any = None, model: Any = None, hint: int | None = None,
) -> Diagnosis:  # fmt: skip
    """Name the mistake in a hand-written attention function or module.

    `fn` is a function (query, key, value[, mask][, ...]) on (B, T, D) or (B, H, T, D), or a module with projections; it
    returns the output, or output and weights in either order. What it does on purpose is declared: `scaling` (what
    q · k is multiplied by, 1/√D unless said), `softcap`, `sinks`, `causal`. `like` is a reference with the same weights (a
    module, or a function), `cached` a function for the last queries over all keys (True: fn itself takes Q < K).
    `hint` = 1 reports only the invariant that fails, 2 the place as well, 3 everything.

    Returns a Diagnosis, which is true when nothing was found. The code under test is given 10 seconds a call, which
    holds on the main thread of a Unix process only; `attnscope check FILE.py:NAME` kills whatever takes longer. Raises
    InputError where there is nothing to check, or where an argument is missing that nothing tells how to fill.
    """
    if hint not in (None, 1, 2, 3):
        raise InputError(f"hint is {hint!r}; it is 1 (what fails), 2 (and where) or 3 (the mistake and its cure).")
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
        self.findings: list[Finding] = []
        self.conventions: dict[str, str] = {}
        self.notes: list[str] = []
        self.not_examined: list[str] = []
        self.matrices: Matrices | None = None
        self.still = False
        self.started = time.perf_counter()

    # --- the course of it ----------------------------------------------------------------------------------------

    def diagnose(self) -> Diagnosis:
        ways = self._first_runs()
        if ways and not self._fatal(ways):
            self._dice(ways[0])
            fit = self._match(ways)
            if fit is not None:
                extremes.after_match(self, fit)
            elif not self._inside(ways):
                invariants.unmatched(self, ways)
            beside.examine(self, fit, ways)
        return Diagnosis(
            self.name, tuple(self.findings), self.conventions, tuple(dict.fromkeys(self.not_examined)),
            tuple(dict.fromkeys(self.notes)), self.matrices, self.hint, time.perf_counter() - self.started,
        )  # fmt: skip

    def _first_runs(self) -> list[tuple[Suspect, list[Run]]]:
        """Every way of calling that works, with its runs; findings where none does."""
        tiers = [list(of_module(self.fn, self.name))] if isinstance(self.fn, nn.Module) else of_function(self.fn, self.name)  # fmt: skip
        if isinstance(self.fn, nn.Module) and not tiers[0]:
            raise InputError(
                f"no query, key and value projections were found in {self.name}"
                + (f" (its width seems to be {width_of(self.fn)})" if width_of(self.fn) else "")
                + "; name them so that q, k and v can be told apart, or check the function inside it."
            )
        failed: list[Reading] = []
        for tier in tiers:
            ways, known = [], {}
            for suspect in (way for one in tier for way in one.permitting()):
                key = (
                    suspect.permit,suspect.layout, suspect.widths, suspect.spread, suspect.kv_heads if not suspect.flat else 0, suspect.flat)  # fmt: skip
                if key not in known:
                    known[key] = self._runs(suspect)
                    failed += [r.reading for r in known[key][:1] if r.reading.output is None]
                    if failed and failed[-1].outcome.timed_out:
                        self._verdict(failed[-1])
                        return []
                if known[key] and known[key][0].reading.output is not None:
                    runs = known[key] if not suspect.flat else [self._reread(suspect, run) for run in known[key]]
                    ways.append((suspect, runs))
            if ways:
                return ways
        self._verdict(next((r for r in failed if r.wrong), failed[0]))
        return []

    def _runs(self, suspect: Suspect) -> list[Run]:
        first, second = LENGTHS
        inputs = suspect.inputs("self", first)
        runs = [Run(inputs, suspect.run(inputs, seed=11, sinks=self.sinks, still=self.still))]
        if runs[0].reading.output is None:
            return runs
        other = suspect.inputs("other", second, None if suspect.call.inputs == 1 else first)
        reading = suspect.run(other, seed=12, sinks=self.sinks, still=self.still)
        if reading.output is None and suspect.call.inputs != 1:
            other = suspect.inputs("other", second)
            reading = suspect.run(other, seed=12, sinks=self.sinks, still=self.still)
        return [*runs, Run(other, reading)]

    def _reread(self, suspect: Suspect, run: Run) -> Run:
        """The same run under another reading of the projections: only the expected shape may differ."""
        return Run(run.inputs, suspect._read(run.reading.outcome, run.inputs), run.allowed)

    def _verdict(self, reading: Reading) -> None:
        """The code did not give an output: what happened is the finding."""
        outcome = reading.outcome
        if outcome.timed_out:
            name, title, cure = "too-slow", f"it {outcome.error}", "look for a loop that never ends"
        elif reading.wrong:
            name, title, cure = "wrong-shape", f"it {reading.wrong}", "return the output in the shape of the queries (with the size of the values), alone or with the weights"  # fmt: skip
        else:
            gpu = "cuda" in outcome.error.lower() or "nvidia" in outcome.error.lower()
            name, title, cure = "raises", f"it raises {outcome.error}", "make it run on the CPU: take the device from the inputs" if gpu else "make it run on query, key and value of (batch, length, size) or (batch, heads, length, size)"  # fmt: skip
        self.findings.append(Finding(name, None, title, "", cure, "", "it runs and returns one vector for each query", "the call itself", outcome.line))  # fmt: skip

    def _fatal(self, ways: list[tuple[Suspect, list[Run]]]) -> bool:
        outcome = ways[0][1][0].reading.outcome
        if outcome.printed.strip():
            self.notes.append(f"it prints ({outcome.printed.strip().splitlines()[0][:60]!r} …); that was not shown.")
        if outcome.mutated:
            names = [("first", "second", "third")[i] if i < 3 else f"{i + 1}th" for i in outcome.mutated]
            self.findings.append(Finding("mutates-inputs", None, f"it changes its {' and '.join(names)} argument in place", "The caller's tensor is another one after the call; the next layer, or the next test, then works on wrong numbers.", "use masked_fill, mul, add instead of masked_fill_, mul_, add_ on arguments", "", "inputs are the same after the call", "operations that end in _ or assign to slices"))  # fmt: skip
        return False

    def _dice(self, way: tuple[Suspect, list[Run]]) -> None:
        """Dropout or other dice in eval mode: the same probe with another seed, and with dropout switched off."""
        suspect, runs = way
        first = runs[0].reading
        seen = first.outcome.seen
        again = suspect.run(runs[0].inputs, seed=97, sinks=self.sinks)
        calm = suspect.run(runs[0].inputs, seed=97, sinks=self.sinks, still=True)
        assert first.output is not None
        moved = _apart(first.output, again.output)
        if seen.dropout and moved == 0:
            moved = _apart(first.output, calm.output)
        if not moved:
            return
        self.still = True
        if seen.dropout:
            title = f"dropout is active in eval (p = {seen.dropout:g})"
            cure = "pass self.training: F.dropout(x, p, training=self.training), dropout_p=p if self.training else 0.0"
        else:
            title, cure = "two runs in eval mode differ", "take the randomness out, or only when self.training"
        self.findings.append(Finding("dropout-in-eval", 19, title, "Every evaluation then gives other numbers, and worse ones.", cure, f"two runs on the same input differ by up to {moved:.3g}", "two runs in eval mode are equal", "dropout"))  # fmt: skip

    # --- matching ------------------------------------------------------------------------------------------------

    def _match(self, ways: list[tuple[Suspect, list[Run]]]) -> Fit | None:
        if self.still:
            known: dict[tuple, list[Run]] = {}
            for i, (suspect, _) in enumerate(ways):
                key = (suspect.layout, suspect.widths, suspect.heads if not suspect.flat else 0)
                known.setdefault(key, self._runs(suspect))
                ways[i] = (suspect, [self._reread(suspect, r) for r in known[key]])
        fit = search(ways, self.base, self.causal, self.text, self.sinks)
        if fit is None and self.causal is not None:
            fit = search(ways, self.base, not self.causal, self.text, self.sinks)
            if fit is not None:
                self._undeclared_causality(fit)
        if fit is None:
            fit = scale_of(ways, self.base, self.causal, self.text)
            if fit is not None:
                self._other_scale(fit)
        if fit is None:
            return None
        self._state(fit, ways)
        return fit

    def _inside(self, ways: list[tuple[Suspect, list[Run]]]) -> bool:
        """The attention inside a larger module: only its arithmetic is compared, since masks come from outside."""
        if not isinstance(self.fn, nn.Module) or not isinstance(ways[0][0].fn, nn.Module):
            return False
        options = {"still": self.still, "sinks": self.sinks}
        found = inside.between(ways[0][0].fn, *ways[0], options)
        if found is None:
            return False
        runs, where = found
        inner = [(suspect, runs) for suspect, _ in ways]
        fit = search(inner, self.base, self.causal, self.text, self.sinks)
        if fit is None:
            return False
        self._state(fit, inner)
        self.notes.append(f"there is more in it than attention; compared was what happens {where}.")
        self.not_examined.append(
            "masks, empty rows, sentinels (rows 4 to 8, 12) of an attention inside a larger module"
        )
        return True

    def _state(self, fit: Fit, ways: list[tuple[Suspect, list[Run]]]) -> None:
        """What the fit says, as conventions and findings."""
        runs = next((runs for suspect, runs in ways if suspect is fit.suspect), ways[0][1])
        run = runs[0]
        self._found_conventions(fit, runs[-1])
        for mistake in fit.mistakes:
            self.add(mistake, fit, run)
        self.draw(fit, run)

    def add(self, mistake: Mistake, fit: Fit, run: Run, evidence: str = "") -> None:
        """A known mistake becomes a finding, in the suspect's own words and numbers."""
        words = {"queries": fit.suspect.queries_dim, "shape": fit.suspect.shape}
        title = mistake.title.format(**words)
        said = evidence or _evidence(mistake, fit, run)
        line = self._line(mistake)
        self.findings.append(Finding(mistake.name, mistake.row, title, mistake.why, mistake.cure, said, mistake.invariant, mistake.place, line))  # fmt: skip

    def _line(self, mistake: Mistake) -> int | None:
        """The suspect line, where exactly one line of the source speaks of such a thing."""
        patterns = {1: r"softmax", 13: r"\.view\(|\.reshape\(", 16: r"\.repeat\(|\.tile\(", 19: "dropout"}
        pattern = patterns.get(mistake.row or 0) or (r"tril|triu" if mistake.row in (9, 11) else None)
        if pattern is None or not self.text:
            return None
        hits = [i for i, line in enumerate(self.text.splitlines()) if re.search(pattern, line.split("#")[0]) and "def " not in line]  # fmt: skip
        if len(hits) != 1:
            return None
        try:
            target = type(self.fn) if isinstance(self.fn, nn.Module) else inspect.unwrap(self.fn)
            return inspect.getsourcelines(target)[1] + hits[0]
        except (OSError, TypeError):
            return None

    def _undeclared_causality(self, fit: Fit) -> None:
        if self.causal:
            title, cure = "it is not causal, and causal=True was declared: every query sees every key", "allow only keys at or before the query: torch.ones(T, T, dtype=torch.bool).tril()"  # fmt: skip
        else:
            title, cure = "it is causal, and causal=False was declared", "leave the triangle out"
        self.findings.append(Finding("causality", None, title, "", cure, "", "what a token sees does not change when a later token changes", "the causal mask"))  # fmt: skip

    def _other_scale(self, fit: Fit) -> None:
        if fit.recipe.softcap != self.base.softcap:
            self.notes.append(f"scores are soft-capped at {fit.recipe.softcap:g}, as Gemma 2 does; pass softcap={fit.recipe.softcap:g} to declare it.")  # fmt: skip
            return
        p = fit.suspect.projections
        size = p.query.weight.shape[1] // p.heads if p else fit.suspect.size
        right = factor(self.base, size, fit.suspect.heads, 1)
        used = fit.recipe.scaling or 0.0
        self.findings.append(Finding(
            "scale-other", 2, f"scores are multiplied by {used:.4g}; {right:.4g} was expected" + (" (1/√d)" if self.base.scaling is None else " (as declared)"),
            "The spread of the scores decides how sharp attention is.", f"scores / math.sqrt(head_size). If it is meant (Gemma's query_pre_attn_scalar, say), pass scaling={used:.4g}",
            f"head size {size}", "for queries and keys of unit variance, scores have a standard deviation near 1", "the scale of the scores",
        ))  # fmt: skip

    def _found_conventions(self, fit: Fit, other: Run) -> None:
        recipe, suspect = fit.recipe, fit.suspect
        self.conventions["layout"] = suspect.layout
        if suspect.projections is not None:
            p = suspect.projections
            groups = f", {p.kv_heads} key/value heads" if p.kv_heads != p.heads else ""
            self.conventions["projections"] = f"{p.heads} heads{groups}, {p.found}" + (f", {p.layout}" if p.layout != "separate" else "")  # fmt: skip
        if suspect.call.inputs > 1 and other.inputs[0].shape[-2] == other.inputs[1].shape[-2]:
            self.conventions["lengths"] = "queries and keys of one length only"
        self.conventions["causal"] = "yes" if recipe.causal else "no"
        if recipe.window:
            self.conventions["window"] = f"{recipe.window} keys"
        if recipe.rotary != "none":
            pairs = "halves" if recipe.rotary == "half" else "adjacent"
            self.conventions["rotary"] = f"{pairs if not fit.mistakes else recipe.rotary}, base {recipe.theta:g}"

    def draw(self, fit: Fit, run: Run) -> None:
        """The two matrices, of the first head where they differ."""
        if not self.findings or self.matrices is not None:
            return
        right = fit.recipe.but(**{k: getattr(Recipe(), k) for m in fit.mistakes for k in m.change})
        if any(f.name == "scale-other" for f in self.findings):
            right = right.but(scale=self.base.scale, scaling=self.base.scaling)
        operands = fit.operands(run.inputs, self.sinks)
        mine, theirs = compute(right, operands, run.allowed), compute(fit.recipe, operands, run.allowed)
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
        qkv = _heads_of(operands, b)
        self.matrices = Matrices(weights[b, h], mine.weights[b, h], (cell[0], cell[1]) if cell else None, note.format(b=b, h=h), qkv)  # fmt: skip


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
        theirs, mine = compute(fit.recipe, operands, run.allowed), compute(right, operands, run.allowed)
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


def _apart(a: Tensor, b: Tensor | None) -> float:
    return 0.0 if b is None or a.shape != b.shape else float((a.nan_to_num() - b.nan_to_num()).abs().max())


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
    return fn
