"""effects(): each head in turn switched off, over one or many texts."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch

from attnscope.capturing.refusals import check_model, may_attend, no_attention
from attnscope.editing.addresses import Addresses
from attnscope.editing.edit import Edit
from attnscope.editing.means import mean_of
from attnscope.editing.rules import Change, Put, Rule, Times
from attnscope.errors import CaptureError, InputError
from attnscope.head_effects.asked import Asked, Watched, ask, logits_of, scores
from attnscope.head_effects.blocks import blocks_of
from attnscope.head_effects.progress import Progress
from attnscope.head_effects.table import EffectTable
from attnscope.head_effects.units import EACH, Unit, units_of
from attnscope.tracing.held import open_held
from attnscope.tracing.modules import model_name
from attnscope.tracing.places import is_number, parse_layers
from attnscope.tracing.receipts import tolerance_of

WHOLE = "The layers of this model could not be run alone (without an edit, a pass from the middle gave other logits), so every head cost a whole pass."


def effects(
    model: Any,
    tokenizer: Any = None,
    texts: Any = None,
    target: Any = None,
    against: Any = None,
    *,
    how: str | float = "mean",
    over: Any = None,
    by: str = "all",
    each: str = "head",
    layers: Any = None,
    stack: str | None = None,
    resume: Any = None,
    quiet: bool = False,
) -> EffectTable:
    """What each head of a model does to a prediction: every head in turn is edited, and the effect measured as `Edit.effect` does.

    An effect is clean − edited: positive where the head pushes to the target. Beside it stands the band: what the same edit does in the other heads of
    the layer. A pass begins at the edited layer, for a batch of heads at a time, so the whole costs about half of heads × one forward pass.

    - `model`, `tokenizer`: as in attnscope.trace; the model has a head to predict with.
    - `texts`: a text, or several; each may be (text, target) or (text, target, against), or a mapping of inputs of one row.
    - `target`: the prediction that is asked about, as a text (" Mary"), an id or a label; a list of as many as there are texts: one for each. `against`:
      the alternative, likewise; None: the log-probability of the target alone.
    - `how`: "mean" puts the mean of what the head writes in its place, "off" nothing (zero), a number multiplies what it writes. Each asks another
      question. `over`: the texts to take the mean of; None: the same texts. `by`: "all" takes one mean over all tokens, "position" one for each.
    - `each`: what is edited in turn: "head", "group" (heads that share keys and values) or "layer" (all its heads).
    - `layers`: which layers, numbers or names; None: all. `stack`: "encoder", "decoder", "cross" or a tower's name; None: all.
    - `resume`: a table that was stopped, of the same call: what it has is not measured again. Ctrl-C stops; the table has what was done.
    - `quiet`: True shows no progress on stderr.

    Raises InputError for what does not fit, and as `Edit.effect` does; CaptureError for a compiled model or one without attention, and where an edit
    does not pass its receipt.
    """
    watched = _watch(model, tokenizer)
    cases = cases_of(texts, target, against)
    if each not in EACH:
        raise InputError(f"expected each as {', '.join(map(repr, EACH))}, got {each!r:.40}.")
    chosen = None if layers is None else tuple(parse_layers(layers) or ())
    change = change_of(watched, how, over if over is not None else [text for text, *_ in cases], by)
    key = _key(watched, cases, change.reference, (each, chosen, stack))
    totals, clean = _resumed(resume, key, len(cases))
    progress = Progress(quiet)
    notes: list[str] = []
    stopped, measure = False, ""
    try:
        for number, (text, wanted, other) in enumerate(cases):
            if totals and not any(math.isnan(row[number]) for row in totals.values()) and not math.isnan(clean[number]):
                measure = resume.measure if resume is not None else measure
                continue
            asked = ask(watched, text, wanted, other)
            measure, clean[number] = asked.question.measure, asked.clean
            if number == 0 or not notes:
                notes += _tried(watched, asked)
            starts = units_of(_kept(asked), watched.addresses, asked.sizes or {}, each, chosen, stack)
            for unit in starts:
                totals.setdefault(unit, [math.nan] * len(cases))
            progress.begin(number, len(cases), _costs(starts, _kept(asked)))
            _of_text(watched, asked, starts, change, totals, number, progress)
    except KeyboardInterrupt:
        stopped = True
        if not totals:
            raise
    finally:
        progress.close()
    if how == "off":
        notes.append(
            'Zero is no output that these heads have in any text, so it takes the model out of its distribution; how="mean" asks what a head adds to '
            "what it always writes."
        )
    return EffectTable.of(
        totals,
        clean=tuple(clean),
        measure=measure,
        reference=change.reference,
        asked=asked_in_words(cases, watched),
        model=model_name(watched.model),
        notes=tuple(notes),
        stopped=stopped,
        key=key,
    )


def _watch(model: Any, tokenizer: Any) -> Watched:
    held = open_held(model, tokenizer)
    facts = check_model(held.model)
    if not may_attend(held.model):
        raise CaptureError(f"{type(held.model).__name__} has no heads to edit: {no_attention(held.model)}")
    addresses = Addresses(held.model)
    return Watched(held.model, held.reader, facts, addresses, blocks_of(held.model, addresses.paths))


def cases_of(texts: Any, target: Any, against: Any) -> list[tuple[Any, Any, Any]]:
    """Each text with its target and alternative. Raises InputError where they do not fit."""
    several = [texts] if isinstance(texts, (str, Mapping)) else [*texts] if isinstance(texts, Sequence) else []
    if not several:
        raise InputError("effects needs a text, or a list of texts: effects(model, tokenizer, texts, target=…).")
    alone = isinstance(texts, (str, Mapping))
    wanted, other = (
        _per_text(one, len(several), alone, name) for one, name in ((target, "target"), (against, "against"))
    )
    cases = []
    for text, its, alternative in zip(several, wanted, other, strict=True):
        if isinstance(text, tuple):
            if not 2 <= len(text) <= 3:
                raise InputError(f"expected (text, target) or (text, target, against), got {len(text)} things.")
            text, its, alternative = (*text, alternative)[:3]
        if not isinstance(text, (str, Mapping)):
            raise InputError(f"expected texts as text or mappings of inputs, got {type(text).__name__}.")
        cases.append((text, its, alternative))
    return cases


def _per_text(given: Any, count: int, alone: bool, name: str) -> list[Any]:
    if alone or given is None or isinstance(given, str) or is_number(given):
        return [given] * count
    found = list(given)
    if len(found) != count:
        raise InputError(
            f"{name} is a list of {len(found)}, and there are {count} texts: give one for all, or one for each."
        )
    return found


def change_of(watched: Watched, how: Any, over: Any, by: str) -> Change:
    """What is put in the place of what a head writes. Raises InputError for what is no such thing."""
    if how == "mean":
        return Put("z", *mean_of(watched.model, watched.tokenizer, over, by), exact=False)
    if how == "off":
        return Times(0.0)
    if isinstance(how, bool) or not isinstance(how, (int, float)) or not math.isfinite(how) or how == 1:
        raise InputError(
            f'expected how as "mean", "off" or a number that what a head writes is multiplied with, not 1; got {how!r:.40}.'
        )
    return Times(float(how))


def _kept(asked: Asked) -> Any:
    return asked.readings[0].kept


def _tried(watched: Watched, asked: Asked) -> list[str]:
    """A pass from the middle, and one of the last block alone, without an edit: are the logits those of a whole pass? Where not, whole passes
    are run from now on."""
    reading = asked.readings[0]
    runs = len(_kept(asked).runs)
    rows = min(2, asked.rows)
    with torch.no_grad():
        reading_logits = logits_of(watched, reading, 0, 1)
    largest = float(reading_logits.float().abs().max())
    for first in sorted({runs // 2, runs - 1} - {0, -1}):
        try:
            made = logits_of(watched, reading, first, rows)
            error = float((made.float() - reading_logits.float()).abs().max())
        except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError):
            error = math.inf
        if not error <= tolerance_of(reading_logits.dtype) * max(largest, 1e-30):
            for one in asked.readings:
                one.kept = None if one.kept is None else type(one.kept)([], one.kept.calls)
            watched.blocks = []
            return [WHOLE]
    return [] if runs else [WHOLE]


def _costs(starts: Mapping[Unit, int], kept: Any) -> dict[Unit, float]:
    """How much of a pass each unit costs, about."""
    runs = len(kept.runs)
    return {unit: (runs - first) / runs if runs else 1.0 for unit, first in starts.items()}


def _of_text(
    watched: Watched,
    asked: Asked,
    starts: Mapping[Unit, int],
    change: Change,
    totals: dict[Unit, list[float]],
    number: int,
    progress: Progress,
) -> None:
    """The effects of all units in one text, into `totals`."""
    left = [unit for unit in starts if math.isnan(totals[unit][number])]
    for first, group in groupby(left, key=lambda unit: starts[unit]):
        units = list(group)
        for at in range(0, len(units), asked.rows):
            some = units[at : at + asked.rows]
            with Edit(watched.model, watched.tokenizer) as edit:
                for row, unit in enumerate(some):
                    edit.add(Rule(unit.chosen, change, f"the edit of {unit.name}", row=row if len(some) > 1 else None))
                made = scores(watched, asked, first, len(some)).tolist()
            for unit, score in zip(some, made, strict=True):
                totals[unit][number] = asked.clean - score
            progress.done(some)


def _key(watched: Watched, cases: Sequence[Any], reference: str, more: Any) -> str:
    """What tells two calls apart."""
    said = repr((model_name(watched.model), [_told(case) for case in cases], reference, more))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _told(case: Any) -> Any:
    text, *rest = case
    return (
        {name: value.tolist() if hasattr(value, "tolist") else value for name, value in text.items()}
        if isinstance(text, Mapping)
        else text,
        rest,
    )


def asked_in_words(cases: Sequence[Any], watched: Watched) -> str:
    """What was asked."""

    def word(one: Any) -> str:
        if isinstance(one, str) or one is None or not hasattr(watched.tokenizer, "decode"):
            return repr(one)
        return repr(watched.tokenizer.decode([one] if is_number(one) else list(one)))

    targets = {(repr(target), repr(other)): (target, other) for _, target, other in cases}
    target, other = next(iter(targets.values()))
    said = f"{word(target)}" + ("" if other is None else f" against {word(other)}")
    return said if len(targets) == 1 else f"{said}, and others by text"


def _resumed(table: Any, key: str, texts: int) -> tuple[dict[Unit, list[float]], list[float]]:
    if table is None:
        return {}, [math.nan] * texts
    if not isinstance(table, EffectTable):
        raise InputError(f"expected resume as the EffectTable that was stopped, got {type(table).__name__}.")
    if table.key != key:
        raise InputError(
            "the table in resume= is of another call: other texts, targets, model or edits. Give the same ones, or leave resume= out."
        )
    return {unit: list(row) for unit, row in (table.totals or {}).items()}, list(table.clean)
