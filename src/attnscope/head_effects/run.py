"""All heads in all texts: what is measured when, stopped and gone on with."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

from attnscope.editing.edit import Edit
from attnscope.editing.rules import Cut, Put, Rule, Times
from attnscope.errors import InputError
from attnscope.head_effects.asked import Asked, Watched, ask, scores, starts_in_the_middle
from attnscope.head_effects.blocks import Kept
from attnscope.head_effects.cases import Case, asked_in_words
from attnscope.head_effects.gradient import effects_by_gradient
from attnscope.head_effects.progress import Progress
from attnscope.head_effects.table import EffectTable
from attnscope.head_effects.units import Edge, Unit, units_of

WHOLE = "The layers of this model could not be run alone (without an edit, a pass from the middle gave other logits), so every head cost a whole pass."

Totals = dict[Unit, list[float]]


class Run:
    """The measurement of one call. `watched`: the model; `cases`: its texts; `change`: the edit. `each`, `layers`, `stack`, `edges`: what is edited in turn. `quiet`: no
    progress on stderr. `totals`: of each unit its effect in every text, NaN where it is not known yet; `clean`: the scores without edits; `score`: what they are."""

    def __init__(
        self,
        watched: Watched,
        cases: Sequence[Case],
        change: Times | Put | Cut,
        each: str,
        layers: Sequence[int] | None,
        stack: str | None,
        quiet: bool,
        edges: Sequence[Edge] = (),
    ) -> None:
        self.watched, self.cases, self.change = watched, cases, change
        self._each, self._layers, self._stack, self._quiet, self._edges = each, layers, stack, quiet, edges
        self.totals: Totals = {}
        self.clean = [math.nan] * len(cases)
        self.notes: list[str] = []
        self.score, self.stopped = "", False
        self._is_tried = False

    def resume(self, table: Any, key: str) -> None:
        """Go on from a table that was stopped; None: begin. Raises InputError for the table of another call than that of `key`."""
        if table is None:
            return
        if not isinstance(table, EffectTable):
            raise InputError(f"expected resume as the EffectTable that was stopped, got {type(table).__name__}.")
        if table.key != key:
            raise InputError(
                "the table in resume= is of another call: other texts, targets, model or edits. Give the same ones, or leave resume= out."
            )
        self.totals = {unit: list(row) for unit, row in (table.totals or {}).items()}
        self.clean, self.score = list(table.clean), table.measure

    def table(self, model: str, reference: str, **more: Any) -> EffectTable:
        """What was measured. `model`: its name; `reference`, `more`: as of an EffectTable."""
        return EffectTable.of(
            self.totals,
            clean=tuple(self.clean),
            measure=self.score,
            reference=reference,
            asked=asked_in_words(self.cases, self.watched.tokenizer),
            model=model,
            stopped=self.stopped,
            **more,
        )

    def measure(self, how: "Measure", only: Collection[Unit] | None = None) -> None:
        """The effects of all units (of those of `only`) that are not known yet, by `how`. Ctrl-C ends it, and what was done is kept, if anything was."""
        progress = Progress(self._quiet)
        try:
            for number in range(len(self.cases)):
                self._text(number, how, only, progress)
        except KeyboardInterrupt:
            self.stopped = True
            if not self.totals:
                raise
        finally:
            progress.close()

    def exact_of(self, count: int) -> Totals:
        """The effects of the units with the largest means, each with its edit: for how far off an approximation is."""
        means = {unit: abs(sum(row) / len(row)) for unit, row in self.totals.items()}
        largest = sorted(means, key=lambda unit: -means[unit])[:count]
        beside = Run(self.watched, self.cases, self.change, self._each, self._layers, self._stack, self._quiet)
        if largest:
            beside.measure(one_by_one, largest)
            self.notes += beside.notes
        return {unit: row for unit, row in beside.totals.items() if unit in largest}

    def _text(self, number: int, how: "Measure", only: Collection[Unit] | None, progress: Progress) -> None:
        known = [row[number] for unit, row in self.totals.items() if only is None or unit in only]
        if known and not any(map(math.isnan, (*known, self.clean[number]))):
            return
        asked = ask(self.watched, *self.cases[number])
        self.score, self.clean[number] = asked.measure, asked.clean
        self.notes += [note for note in asked.notes if note not in self.notes]
        if not self._is_tried and how is one_by_one:
            self._is_tried = True
            self.notes += _tried(self.watched, asked)
        kept = kept_of(asked)
        asks = self._each, self._layers, self._stack, self._edges
        starts = units_of(kept, self.watched.addresses, asked.sizes or {}, *asks)
        starts = {unit: first for unit, first in starts.items() if only is None or unit in only}
        for unit in starts:
            self.totals.setdefault(unit, [math.nan] * len(self.cases))
        left = {unit: first for unit, first in starts.items() if math.isnan(self.totals[unit][number])}
        progress.begin(number, len(self.cases), _costs(left, kept))

        def found(units: Sequence[Unit], effects: Sequence[float]) -> None:
            for unit, effect in zip(units, effects, strict=True):
                self.totals[unit][number] = effect
            progress.done(units)

        how(self.watched, asked, left, self.change, found)


Found = Callable[[Sequence[Unit], Sequence[float]], None]
Measure = Callable[[Watched, Asked, Mapping[Unit, int], Any, Found], None]


def one_by_one(
    watched: Watched, asked: Asked, starts: Mapping[Unit, int], change: Times | Put | Cut, found: Found
) -> None:
    """Each unit edited in turn, as rows of batches that begin at its layer. `starts`: the units, with the number of blocks before each. `found`: gets the effects."""
    for first, group in groupby(starts, key=lambda unit: starts[unit]):
        units = list(group)
        for at in range(0, len(units), asked.rows):
            some = units[at : at + asked.rows]
            with Edit(watched.model, watched.tokenizer) as edit:
                for row, unit in enumerate(some):
                    edit.add(_rule(unit, change, row if len(some) > 1 else None))
                made = scores(watched, asked, first, len(some)).tolist()
            found(some, [asked.clean - score for score in made])


def _rule(unit: Unit, change: Times | Put | Cut, row: int | None) -> Rule:
    return Rule(unit.chosen, unit.cut or change, f"the edit of {unit.name}", row=row)


def gradients(watched: Watched, asked: Asked, starts: Mapping[Unit, int], change: Times | Put, found: Found) -> None:
    """All units at once, to first order. `starts`, `found`: as of `one_by_one`."""
    units = [*starts]
    found(units, effects_by_gradient(watched, asked, units, change))


def kept_of(asked: Asked) -> Kept:
    """What the pass of a text left behind."""
    kept = asked.readings[0].kept
    assert kept is not None
    return kept


def _tried(watched: Watched, asked: Asked) -> list[str]:
    """Whether passes may begin in the middle; where not, whole passes are run from now on."""
    if starts_in_the_middle(watched, asked.readings[0], asked.rows):
        return []
    for one in asked.readings:
        one.kept = None if one.kept is None else type(one.kept)([], one.kept.calls)
    return [WHOLE]


def _costs(starts: Mapping[Unit, int], kept: Kept) -> dict[Unit, float]:
    """How much of a pass each unit costs, about."""
    runs = len(kept.runs)
    return {unit: (runs - first) / runs if runs else 1.0 for unit, first in starts.items()}
