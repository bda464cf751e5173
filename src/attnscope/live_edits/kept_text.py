"""A text that a model has read, kept so that edits of it cost what lies behind the edited layer."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from attnscope.editing.band import draws_of, moved, names_of_draw
from attnscope.editing.described import make_edits
from attnscope.editing.edit import Edit
from attnscope.editing.measure import Answers, Question, answers, question_of, rows_at_once
from attnscope.editing.rules import Rule, in_rows
from attnscope.head_effects.asked import (
    Watched,
    first_reading,
    keep_reading,
    outputs_of,
    starts_in_the_middle,
)
from attnscope.head_effects.units import units_of
from attnscope.tracing.trace import Trace
from attnscope.views.head_edits import HeadEdit

TOKENS_AT_ONCE = 256  # of a batch of control runs: a newer edit waits for one batch at most


class KeptText:
    """The pass of `inputs` (of one row) through a model, and what each of its blocks returned.

    `watched`: the model. `other`, `align`: what a patch takes from, as for attnscope.editing.described.make_edits.
    """

    def __init__(
        self,
        watched: Watched,
        inputs: Mapping[str, Any],
        other: Trace | None = None,
        align: Mapping[int, int] | None = None,
    ) -> None:
        self.watched, self._inputs, self._other, self._align = watched, inputs, other, align
        self._reading = first_reading(watched, inputs)
        self._outputs, self._sizes = keep_reading(watched, self._reading)
        self.question_of(None, None)  # raises where the model cannot answer at all
        self.rows = rows_at_once(inputs, TOKENS_AT_ONCE)
        starts_in_the_middle(watched, self._reading, self.rows, self._outputs)
        kept = self._reading.kept
        assert kept is not None
        layers = units_of(kept, watched.addresses, self._sizes, "layer", None, None)
        self._starts = {(unit.stack or None, unit.layer): first for unit, first in layers.items()}

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        kept = self._reading.kept
        return sum(map(_bytes, (ran.output for ran in kept.runs))) if kept is not None else 0

    def question_of(self, target: int | None, against: int | None) -> Question:
        """What is asked: `target` and `against` by their ids; None: the most probable prediction, and the next one. Raises InputError where the model cannot answer."""
        watched = self.watched
        return question_of(watched.model, watched.tokenizer, self._inputs, self._outputs, target, against)

    def clean(self, question: Question) -> Answers:
        """The answer without an edit."""
        return answers(self.watched.model, self._reading.inputs, question, self._outputs)

    def edited(self, question: Question, edits: Sequence[HeadEdit]) -> tuple[Answers, list[Rule]]:
        """The answer with all of `edits`, and the rules that they are. Raises as the verbs do, and CaptureError where an edit changes nothing or does not pass its
        receipt."""
        with Edit(self.watched.model, self.watched.tokenizer) as edit:
            make_edits(edit, edits, self._other, self._align)
            made = self._run(question, self._first(edit.rules), 1)
        return made, list(edit.rules)

    def draws(
        self, rules: Sequence[Rule], count: int, seed: int
    ) -> tuple[list[list[Rule]], list[tuple[str, ...]], int]:
        """Up to `count` times the same `rules` in other heads, the names of the heads, and from how many layers away the farthest is. `seed`: of the draw."""
        found, reach = draws_of(rules, self._sizes, count, seed)
        return [moved(rules, draw) for draw in found], [*map(names_of_draw, found)], reach

    def scores(self, question: Question, variants: Sequence[Sequence[Rule]]) -> list[float]:
        """The score with each of some lists of rules, every one a row of one batch. At most `rows` of them."""
        with Edit(self.watched.model, self.watched.tokenizer) as edit:
            for rule in in_rows(variants):
                edit.add(rule)
            return self._run(question, self._first(edit.rules), len(variants)).score.tolist()

    def _run(self, question: Question, first: int, rows: int) -> Answers:
        outputs = outputs_of(self.watched, self._reading, first, rows)
        return answers(self.watched.model, self._reading.inputs, question, outputs)

    def _first(self, rules: Sequence[Rule]) -> int:
        """The block with which a pass must begin."""
        return min(
            (
                first
                for rule in rules
                for (stack, layer), first in self._starts.items()
                if rule.heads.covers(stack, layer)
            ),
            default=0,
        )


def _bytes(output: Any) -> int:
    if isinstance(output, Tensor):
        return output.nbytes
    several = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return sum(map(_bytes, several))
