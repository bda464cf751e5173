"""Answers as plain values that JSON holds; docs/payload.md says what each is."""

import math
from collections.abc import Sequence
from typing import Any

from attnscope.editing.effect import kl_of, leading, states_beside
from attnscope.editing.measure import Answers, Question
from attnscope.editing.rules import Rule
from attnscope.predictions.targets import texts_of
from attnscope.views.head_edits import HeadEdit


def answer_of(
    edits: Sequence[HeadEdit],
    question: Question,
    clean: Answers,
    edited: Answers,
    rules: Sequence[Rule],
    tokenizer: Any,
) -> dict[str, Any]:
    """Predictions before and after, and the score of the leading one."""
    tops = [leading(one) for one in (clean, edited)]
    asked = [*question.target[:1], *question.against[:1]]
    ids = dict.fromkeys([*asked, *(number for top in tops for number, _ in top)])
    known = ids if not question.labels else range(len(question.labels))
    words = question.labels or texts_of(tokenizer, [*ids])
    named = dict(zip(known, words, strict=True))
    chances = [one.logits[0].softmax(-1) for one in (clean, edited)]
    shown = dict.fromkeys(number for top in tops for number, _ in top)
    last = states_beside(clean, edited)
    return {
        "edits": [str(one) for one in edits],
        "task": "state" if last else "label" if question.labels else "next" if question.at is None else "fill",
        "position": question.at,
        "measure": question.measure,
        "asked": [{"id": number, "text": named[number]} for number in asked],
        "score": [_number(float(one.score[0])) for one in (clean, edited)],
        "kl": None if last else _number(kl_of(clean, edited)),
        "predictions": [
            {"id": number, "text": named[number], "probability": [_number(float(one[number])) for one in chances]}
            for number in shown
        ],
        "state": None
        if last is None
        else {
            "mean": [_number(last.mean_cosine), _number(last.mean_size)],
            "cosine": [_number(one) for one in last.cosine.tolist()],
            "size": [_number(one) for one in last.size.tolist()],
        },
        "reference": "; ".join(dict.fromkeys(rule.change.reference for rule in rules)),
        "code": [rule.name for rule in rules],
    }


def band_of(
    edits: Sequence[HeadEdit],
    first: int,
    totals: Sequence[float],
    names: Sequence[tuple[str, ...]],
    draws: int,
    reach: int,
    seed: int,
) -> dict[str, Any]:
    """Totals (clean − edited) of some draws of other heads, from number `first` on, of `draws` in all."""
    return {
        "edits": [str(one) for one in edits],
        "first": first,
        "totals": [_number(one) for one in totals],
        "heads": [list(one) for one in names],
        "draws": draws,
        "reach": reach,
        "seed": seed,
    }


def _number(value: float) -> float | None:
    """As JSON can hold it: eight digits; null for NaN and the infinite."""
    return float(f"{value:.8g}") if math.isfinite(value) else None
