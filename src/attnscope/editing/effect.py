"""The effect of an edit on a prediction: the same text without and with it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.editing.band import Band, Sizes, draws_of, moved, names_of_draw
from attnscope.editing.direct import Direct, DirectEffect
from attnscope.editing.last_state import LastState, beside
from attnscope.editing.measure import (
    Answers,
    Question,
    answers,
    names_of,
    position_of,
    question_of,
    repeated,
    rows_at_once,
    run,
)
from attnscope.editing.rules import Rule, Times, in_rows
from attnscope.errors import InputError
from attnscope.models.inputs import prepare
from attnscope.text.format import chance, digits_apart
from attnscope.tracing.places import is_number

TOP = 10
NO_OTHERS = "There are no other heads to draw a control from."
SAME = (
    "The edit fired and changed nothing: what it puts there is what the model has there, as the mean by position of the text itself is. "
    "Take the mean of other texts, or over all tokens."
)

Predictions = tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class Effect:
    """What an edit does to a prediction. Every effect is clean − edited: positive where the edited heads push to the target.

    `target`, `against`: what was asked about, empty where the model predicts nothing; then `probability` and `kl` are NaN, and `top` is empty.
    `measure`: the score, in words: a logit difference, a difference of summed log-probabilities (targets of
        several tokens), or the log-probability of the target alone.
    `clean`, `edited`: the score without and with the edit. `total`: clean − edited.
    `probability`: of the target without and with the edit. `kl`: Σ p · (log p − log p'), p without and p' with the edit, over all predictions, in nats.
    `top`: the ten most probable predictions without and with the edit, each with its probability.
    `change`: ‖Δx‖ / ‖x‖ of the residual stream, row l of what enters layer l, the last row of what leaves the last layer (transformers has put the final
        norm on it), by position; None where the model does not return it.
    `reference`: what stands in the place of the model's own: zero, a mean, another text. Each asks another question.
    `direct`: what the change of the heads' own writes does to the difference of the logits (of the first tokens) with every norm frozen, before a cap; None where that
        cannot be told, and `notes` say why. `rescaling`: what of the total comes from the scale of the final norm, which moves with the edit.
    `band`: the same edit in other heads; None: no control yet.
    `last_state`: of a model that predicts nothing, how its last hidden state turned and grew.
    `edits`: as they were written. `notes`: what a reader must know.
    """

    target: str
    against: str
    measure: str
    clean: float
    edited: float
    probability: tuple[float, float]
    kl: float
    top: tuple[Predictions, Predictions]
    reference: str
    edits: tuple[str, ...]
    change: Float[Tensor, "L T"] | None = field(default=None, repr=False)
    direct: float | None = None
    rescaling: float | None = None
    band: Band | None = None
    notes: tuple[str, ...] = ()
    last_state: LastState | None = None

    @property
    def total(self) -> float:
        """clean − edited."""
        return self.clean - self.edited

    @property
    def downstream(self) -> float | None:
        """total − direct: what goes through later layers (mediation or repair), and the final norm's `rescaling`. None where direct is, or where the
        total is of several tokens."""
        return None if self.direct is None or self.measure != "logit difference" else self.total - self.direct

    @property
    def repair(self) -> bool | None:
        """Whether later layers make up for the heads: downstream opposes direct, and leaves less of it than there was. None where downstream is."""
        if self.downstream is None or self.direct is None:
            return None
        return self.downstream * self.direct < 0 and abs(self.total) < abs(self.direct)

    @property
    def outside_band(self) -> bool | None:
        """Whether the total lies outside of what other heads do; None: no control yet."""
        return None if self.band is None else not self.band.holds(self.total)

    def __str__(self) -> str:
        first = f"{'; '.join(self.edits)} (reference: {self.reference})"
        if self.last_state is not None:
            return "\n".join([first, str(self.last_state), self._control, *self.notes])
        asked = f"{self.target!r}" + (f" against {self.against!r}" if self.against else "")
        digits = 3 if self.band is None else digits_apart(self.total, self.band.low, self.band.high)
        lines = [
            first,
            f"{self.measure} of {asked}: {self.clean:+.3f} → {self.edited:+.3f}, total {self.total:+.{digits}f}",
            *self._split,
            f"probability of {self.target!r}: {chance(self.probability[0])} → {chance(self.probability[1])}; KL {self.kl:.3g} nats",
            *(
                "{}: {}".format(when, ", ".join(f"{name!r} {chance(p)}" for name, p in top[:5]))
                for when, top in zip(("before", "after"), self.top, strict=True)
            ),
            self._control,
            *self.notes,
        ]
        return "\n".join(lines)

    @property
    def _split(self) -> list[str]:
        if self.direct is None:
            return []
        if self.downstream is None:
            return [f"direct {self.direct:+.3f} (the first token)"]
        scale = "" if self.rescaling is None else f", of which {self.rescaling:+.3f} by the scale of the final norm"
        name = " (repair)" if self.repair else ""
        return [f"direct {self.direct:+.3f}, downstream {self.downstream:+.3f}{name}{scale}"]

    @property
    def _control(self) -> str:
        if NO_OTHERS in self.notes:
            return "no control: no other heads are left"
        if self.band is None:
            return "no control yet: give control=20 to see what the same edit does in other heads"
        return f"{'outside' if self.outside_band else 'within'} the band of other heads: {self.band.beside(self.total)}"

    def __repr__(self) -> str:
        control = (
            "no control yet" if self.band is None else "outside the band" if self.outside_band else "within the band"
        )
        return f"Effect(total {self.total:+.3f} {self.measure}, {control})"

    def _repr_html_(self) -> str:
        """The lines, for notebooks."""
        return "".join(f"<div>{escape(line)}</div>" for line in str(self).splitlines())


@runtime_checkable
class OpenEdit(Protocol):
    """The edit whose effect is asked."""

    model: nn.Module
    tokenizer: Any

    @property
    def rules(self) -> tuple[Rule, ...]: ...
    @property
    def sizes(self) -> Sizes: ...
    def paused(self) -> Any: ...
    def writing_at(self, position: int) -> Any: ...
    def beside(self) -> Any: ...
    def check_fired(self, before: Sequence[int] | None = None) -> None: ...


def effect_of(
    edit: OpenEdit, text: Any, text_pair: Any, inputs: Any, target: Any, against: Any, control: int, seed: int
) -> Effect:
    """See `Edit.effect`."""
    if not edit.rules:
        raise InputError(
            'there is no edit yet whose effect could be asked: write one first, such as edit.head("L18H6").off().'
        )
    if not is_number(control) or control < 0 or not is_number(seed):
        raise InputError(
            f"expected control and seed as whole numbers, control from 0; got {control!r:.20} and {seed!r:.20}."
        )
    model, tokenizer = edit.model, edit.tokenizer
    prepared = prepare(model, tokenizer, text=text, text_pair=text_pair, inputs=inputs)
    direct = DirectEffect(model, position_of(model, tokenizer, prepared.inputs))
    with edit.paused():
        with direct.recorder:
            outputs = run(model, prepared.inputs, states=True)
        question = question_of(model, tokenizer, prepared.inputs, outputs, target, against)
        clean = answers(model, prepared.inputs, question, outputs)
    at = question.at if question.at is not None or question.state is not None else outputs.logits.shape[1] - 1
    if at is not None:
        at = direct.ask(question, at)
    before = [rule.fired for rule in edit.rules]
    with direct.watching(), edit.writing_at(at or 0) as written:
        outputs = run(model, prepared.inputs, states=True)
    edited = answers(model, prepared.inputs, question, outputs)
    edit.check_fired(before)
    total = float(clean.score[0] - edited.score[0]) if question.measure == "logit difference" else None
    found = direct.found(written, total)
    band = band_of(edit, prepared.inputs, question, float(clean.score[0]), int(control), int(seed)) if control else None
    return _effect(edit, question, clean, edited, found, band, prepared.notes)


def _effect(
    edit: OpenEdit,
    question: Question,
    clean: Answers,
    edited: Answers,
    direct: Direct,
    band: Band | None,
    notes: Sequence[str],
) -> Effect:
    references = dict.fromkeys(rule.change.reference for rule in edit.rules)
    more = [*notes, *question.notes]
    if any(isinstance(rule.change, Times) and rule.change.factor == 0 for rule in edit.rules):
        more.append(
            "Zero is no output that these heads have in any text, so it takes the model out of its distribution; mean(over=texts) asks what these heads add to what they "
            "always write."
        )
    if bool((clean.logits == edited.logits).all()):
        more.append(SAME)
    if direct.why:
        more.append(f"{direct.why}.".replace("..", "."))
    if direct.direct is not None and direct.capped:
        more.append("The model caps its logits: direct is before the cap, so downstream holds what the cap does too.")
    if band is not None and not band.totals:
        band = None
        more.append(NO_OTHERS)
    return Effect(
        target=question.names[0],
        against=question.names[1],
        measure=question.measure,
        clean=float(clean.score[0]),
        edited=float(edited.score[0]),
        probability=(float(clean.probability[0]), float(edited.probability[0])),
        kl=kl_of(clean, edited),
        top=(_top(edit, question, clean), _top(edit, question, edited)),
        reference="; ".join(references),
        edits=tuple(rule.name for rule in edit.rules),
        change=_change(clean.states, edited.states),
        direct=direct.direct,
        rescaling=direct.rescaling,
        band=band,
        notes=tuple(more),
        last_state=states_beside(clean, edited),
    )


def states_beside(clean: Answers, edited: Answers) -> LastState | None:
    """The last states of both, where that is what was asked about."""
    if clean.last is None or edited.last is None:
        return None
    return beside(clean.last[0][0], edited.last[0][0], (clean.last[1][0], edited.last[1][0]))


def kl_of(clean: Answers, edited: Answers) -> float:
    """Σ p · (log p − log p') over all predictions of the first row, in nats; NaN where there are none."""
    if not clean.logits.shape[1]:
        return math.nan
    logs = [one.logits[0].log_softmax(-1) for one in (clean, edited)]
    return float((logs[0].exp() * (logs[0] - logs[1]).nan_to_num(0.0)).sum())


def leading(answers: Answers) -> list[tuple[int, float]]:
    """The most probable predictions of the first row, each with its probability."""
    found = answers.logits[0].softmax(-1).topk(min(TOP, answers.logits.shape[1]))
    return list(zip(found.indices.tolist(), found.values.tolist(), strict=True))


def _top(edit: OpenEdit, question: Question, found: Answers) -> Predictions:
    best = leading(found)
    names = names_of(edit.tokenizer, question, [number for number, _ in best])
    return tuple(zip(names, (chance for _, chance in best), strict=True))


def _change(clean: Sequence[Tensor], edited: Sequence[Tensor]) -> Float[Tensor, "L T"] | None:
    if not clean or len(clean) != len(edited) or len({one.shape for one in clean}) > 1:
        return None
    rows = [
        (after[0].float() - before[0].float()).norm(dim=-1) / before[0].float().norm(dim=-1).clamp_min(1e-30)
        for before, after in zip(clean, edited, strict=True)
    ]
    return torch.stack(rows).cpu()


def band_of(
    edit: OpenEdit, inputs: Mapping[str, Any], question: Question, clean: float, control: int, seed: int
) -> Band:
    """The totals of the same edit in other heads. `clean`: the score without any."""
    draws, reach = draws_of(edit.rules, edit.sizes, control, seed)
    with edit.paused():
        scores = scores_of(edit, inputs, question, [moved(edit.rules, draw) for draw in draws])
    return Band(tuple(clean - score for score in scores), tuple(map(names_of_draw, draws)), seed, control, reach)


def scores_of(
    edit: OpenEdit, inputs: Mapping[str, Any], question: Question, variants: Sequence[Sequence[Rule]]
) -> list[float]:
    """The score of a prediction with each of some `variants`, every one a list of rules in the place of the edit's own. Texts run as batches, a variant a
    row; other inputs one after another."""
    step = rows_at_once(inputs)
    found: list[float] = []
    for first in range(0, len(variants), step):
        some = variants[first : first + step]
        rows = repeated(inputs, len(some)) if len(some) > 1 else dict(inputs)
        assert rows is not None
        with edit.beside() as other:
            for rule in in_rows(some):
                other.add(rule)
            found += answers(edit.model, rows, question).score.tolist()
    return found
