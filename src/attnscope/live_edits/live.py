"""What a live view asks: predictions before and after some edits, at once; then the band, a few draws at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

from attnscope.editing.measure import Question
from attnscope.editing.rules import Rule
from attnscope.errors import InputError, NotCaptured
from attnscope.head_effects.measure import watch
from attnscope.live_edits.answers import answer_of, band_of
from attnscope.live_edits.kept_text import KeptText
from attnscope.tracing.trace import Trace
from attnscope.views.head_edits import HeadEdit, parse_edits

CONTROL, SEED = 20, 0  # draws of the band, and their seed


class LiveEdits:
    """Answers questions about edits of the text of one trace, on the model that read it. The text is read when the first question comes.

    `model`, `tokenizer`: as in attnscope.trace. `trace`: of the text. `other`: of a comparison, the trace that a patch takes from; `align`: {position here:
    position there}, where the two have not as many tokens.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        trace: Trace,
        *,
        other: Trace | None = None,
        align: Mapping[int, int] | None = None,
    ) -> None:
        self._held, self._trace, self._other, self._align = (model, tokenizer), trace, other, align
        self._kept: KeptText | None = None
        self._last: tuple[tuple[HeadEdit, ...], list[Rule]] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that are kept of the text."""
        return 0 if self._kept is None else self._kept.nbytes

    def answer(
        self, edits: Sequence[object], target: int | None = None, against: int | None = None, first: int | None = None
    ) -> dict[str, Any]:
        """Plain values that JSON holds (docs/payload.md): predictions before and after, or with `first` the band.

        `edits`: as an address holds them, such as ["off_L2H8"]; all hold at once. `target`, `against`: ids of what is asked about; None: the most probable
        prediction, and the next one. `first`: the draw of other heads that is asked for, from 0; the answer holds it and as many after it as run at once.

        Raises InputError for what does not fit, NotCaptured where the trace cannot be run again, CaptureError for a model that cannot be edited, and where an edit
        changes nothing or does not pass its receipt.
        """
        wanted = parse_edits(edits)
        kept = self._kept = self._kept or KeptText(watch(*self._held), self._read(), self._other, self._align)
        question = kept.question_of(target, against)
        return (
            self._before_and_after(kept, question, wanted)
            if first is None
            else self._band(kept, question, wanted, first)
        )

    def _before_and_after(self, kept: KeptText, question: Question, edits: tuple[HeadEdit, ...]) -> dict[str, Any]:
        clean = kept.clean(question)
        edited, rules = kept.edited(question, edits) if edits else (clean, [])
        self._last = edits, rules
        return answer_of(edits, question, clean, edited, rules, kept.watched.tokenizer)

    def _band(self, kept: KeptText, question: Question, edits: tuple[HeadEdit, ...], first: int) -> dict[str, Any]:
        if not edits:
            raise InputError("there is no edit yet to draw other heads for.")
        if self._last is None or self._last[0] != edits:
            self._last = edits, kept.edited(question, edits)[1]
        variants, names, reach = kept.draws(self._last[1], CONTROL, SEED)
        some = slice(first, first + kept.rows)
        clean = float(kept.clean(question).score[0])
        totals = [clean - score for score in kept.scores(question, variants[some])] if variants[some] else []
        return band_of(edits, first, totals, names[some], len(variants), reach, SEED)

    def _read(self) -> Mapping[str, Any]:
        """The inputs of the text."""
        if self._trace.inputs is None:
            raise NotCaptured(
                "this trace does not have the model's inputs, so it cannot be run again with an edit: a trace from a file, or of tensors. Trace the text again."
            )
        return self._trace.inputs
