"""The mask argument: its convention, found by trying, or the mistake that is made with it; and the causal flag."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from attnscope.doctor.code_check import report
from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.checks.execution import beyond_half
from attnscope.doctor.code_check.checks.mask_words import stated_as_numbers, stated_axes, stated_polarity
from attnscope.doctor.code_check.checks.masked_keys import padding_leaks
from attnscope.doctor.code_check.checks.masked_outputs import filled_after, hides_outputs
from attnscope.doctor.code_check.checks.numerics import (
    empty,
    half_range,
    huge,
    kept_nan,
    scores_in_half,
    shaped,
    some_allowed,
)
from attnscope.doctor.code_check.match.mistakes import MISTAKES, Mistake, changes
from attnscope.doctor.code_check.match.search import Fit, agrees, error_of
from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.invocation import LENGTHS_NAME, Run
from attnscope.doctor.code_check.run.outputs import Reading
from attnscope.doctor.code_check.run.probes import FULL, LENGTH, LENGTHS

UNCHANGED = 1e-5  # of the output's standard deviation
Attempt = tuple[probes.Form, probes.Convention, Run]


def after_match(case: Case, fit: Fit) -> None:
    """Everything that needs to know how the code attends."""
    _flag(case, fit)
    for name in fit.invocation.call.masks[:3]:
        _mask(case, fit, name)
    if not fit.invocation.call.masks:
        case.skip("padding" if fit.recipe.causal else "masks")
        half_range(case, fit, None, None)
    scores_in_half(case, fit)
    if fit.recipe.causal and not case.found_row(6):
        huge(case, fit, None, None)


def _flag(case: Case, fit: Fit) -> None:
    """The user's own is_causal argument, switched on."""
    name = fit.invocation.call.causal_flag
    if name is None or fit.recipe.causal:
        return
    inputs = fit.invocation.inputs("flag", 7)
    run = fit.invocation.probe(inputs, causal=True, **case.options)
    if run.reading.output is None:
        case.skip("flag-raises", name=name, error=run.reading.outcome.error)
        return
    base = fit.recipe.but(causal=True)
    if agrees(replace(fit, recipe=base), [run], case.sinks):
        case.conventions["causal"] = f"with {name}=True"
        return
    for chosen in _sets_of([m for m in MISTAKES if m.needs == "causal"]):
        wrong = replace(fit, recipe=base.but(**changes(chosen)), mistakes=chosen)
        if agrees(wrong, [run], case.sinks):
            _add(case, wrong, run)
            return
    case.skip("flag-unknown", name=name)


def _sets_of(mistakes: list[Mistake]) -> Iterator[tuple[Mistake, ...]]:
    """Each mistake alone, then each two of them."""
    for count in (1, 2):
        yield from combinations(mistakes, count)


def _add(case: Case, wrong: Fit, run: Run) -> None:
    for mistake in wrong.mistakes:
        report.add(case, mistake, wrong, run)
    report.draw(case, wrong, run)


# --- the mask argument --------------------------------------------------------------------------------------------


def _mask(case: Case, fit: Fit, name: str) -> None:
    """Convention and mistakes of one mask argument."""
    inputs = fit.invocation.inputs("mask", 7)
    plain = fit.invocation.run(inputs, still=case.still, sinks=case.sinks).output
    attempts: list[Attempt] = []
    refused: list[Reading] = []
    for form, convention, run in _attempts(case, fit, name, inputs):
        if run.reading.output is None:
            refused.append(run.reading)
            continue
        attempts.append((form, convention, run))
        if agrees(fit, [run], case.sinks) or (form.padding and hides_outputs(case, fit, run)):
            _understood(case, fit, name, attempts[-1])
            return
    if _half_overflow(case, refused, name) or _kept_nan(case, fit, name):
        return
    changing = [a for a in attempts if plain is None or not _same(a[2].reading.output, plain)]
    if re.search(LENGTHS_NAME, name, re.IGNORECASE) and _lengths_off(case, fit, name):
        return
    if _of_other_keys(case, fit, name, changing):
        return
    if not _mistaken(case, fit, name, changing) and not filled_after(case, fit, name, changing, plain):
        _unknown(case, fit, name, attempts, changing, refused)


def _attempts(case: Case, fit: Fit, name: str, inputs: tuple[Tensor, Tensor, Tensor]) -> Iterator[Attempt]:
    """A run for each form and each convention in which a mask can be passed."""
    invocation = fit.invocation
    lengths = re.search(LENGTHS_NAME, name, re.IGNORECASE) is not None
    for form in (LENGTHS, *probes.FORMS) if lengths else (*probes.FORMS, FULL):
        allowed = some_allowed(invocation, form)
        mask = shaped(invocation, form, allowed)
        if mask is None or (invocation.layout == "(length, size)" and form.name != "(query, key)"):
            continue
        for convention in (LENGTH,) if form is LENGTHS else probes.CONVENTIONS:
            run = invocation.probe(inputs, convention.encode(mask), name, allowed=allowed, **case.options)
            yield form, convention, run


def _same(output: Tensor | None, plain: Tensor) -> bool:
    return output is not None and error_of(output, plain) < UNCHANGED


def _understood(case: Case, fit: Fit, name: str, attempt: Attempt) -> None:
    """The reference agrees under this convention: what its words say of it, and the extremes."""
    form, convention, run = attempt
    case.conventions[name] = f"{form.name}, {convention.name}"
    if any(i >= fit.invocation.call.inputs for i in run.reading.outcome.mutated):
        case.find("mutates-mask", name=name)
    if form is LENGTHS:
        return
    _contradiction(case, name, convention)
    _as_numbers(case, fit, name, attempt)
    axes = stated_axes(case.text, name)
    if axes is not None and not form.padding and not _takes_padding(case, fit, name):
        case.find("mask-without-axis", name=name, axes=axes, form=form.name)
    empty(case, fit, name, form, convention)
    half_range(case, fit, name, (form, convention))
    huge(case, fit, name, (form, convention))


def _as_numbers(case: Case, fit: Fit, name: str, attempt: Attempt) -> None:
    """A mask of True and False is understood, and the words speak of 0 and 1 as floats: those may be added to the scores."""
    form, convention, run = attempt
    if convention.kind != "bool" or not stated_as_numbers(case.text, name):
        return
    assert run.allowed is not None
    mask, numbers = shaped(fit.invocation, form, run.allowed), replace(convention, kind="number")
    if mask is None:
        return
    inputs = fit.invocation.inputs("mask", 7)
    given = fit.invocation.probe(inputs, numbers.encode(mask), name, allowed=run.allowed, **case.options)
    if given.reading.output is not None and not agrees(fit, [given], case.sinks):
        _mistaken(case, fit, name, [(form, numbers, given)])


def _mistaken(case: Case, fit: Fit, name: str, attempts: list[Attempt]) -> bool:
    """Whether one known mistake with the mask, or two, explain one of the attempts."""
    known = [m for m in MISTAKES if m.needs == "mask"]
    for count in (1, 2):
        for form, convention, run in attempts:
            for chosen in combinations(known, count):
                change = changes(chosen)
                if len(change) < count or ("mask_axis" in change and not form.padding):
                    continue
                if "mask_order" in change and fit.invocation.heads == 1:
                    continue
                assert run.allowed is not None
                allowed = run.allowed.transpose(-1, -2) if "mask_axis" in change else run.allowed
                wrong = replace(fit, recipe=fit.recipe.but(**change), mistakes=chosen)
                tried = replace(run, allowed=allowed)
                if agrees(wrong, [tried], case.sinks):
                    case.conventions[name] = f"{form.name}, {convention.name}"
                    _add(case, wrong, tried)
                    return True
    return False


def _of_other_keys(case: Case, fit: Fit, name: str, attempts: list[Attempt]) -> bool:
    """Whether one text's mask holds for all of them, or the mask stands a key too early or too late: a finding then."""
    for form, convention, run in attempts:
        assert run.allowed is not None
        if not bool((run.allowed != run.allowed[:1]).any()):
            continue
        for id, other, where in _moved(run.allowed):
            if agrees(fit, [replace(run, allowed=other)], case.sinks):
                case.conventions[name] = f"{form.name}, {convention.name}"
                case.find(id, name=name, where=where)
                return True
    return False


def _moved(allowed: Tensor) -> Iterator[tuple[str, Tensor, str]]:
    """Masks in place of the one that was passed, with the mistake that makes each."""
    for row, which in ((0, "first"), (-1, "last")):
        yield "mask-of-one-text", allowed[row:][:1].expand_as(allowed), which
    for shift, where in ((1, "later"), (-1, "earlier")):
        rolled = allowed.roll(shift, -1)
        yield "mask-shifted", rolled, where
        edge = 0 if shift > 0 else -1
        for filled in (True, False):
            other = rolled.clone()
            other[..., edge] = filled
            yield "mask-shifted", other, where


def _lengths_off(case: Case, fit: Fit, name: str) -> bool:
    """Whether one key too many, or one too few, is kept of texts whose lengths are passed: a finding then."""
    inputs = fit.invocation.inputs("lengths", 7)
    texts, (queries, keys) = inputs[0].shape[0], (x.shape[-2] for x in inputs[:2])
    counts = keys - 3 - torch.arange(texts) % 2
    for shift, sees in ((1, "one key too many"), (-1, "one key too few")):
        seen = torch.arange(keys) < counts[:, None] + shift
        run = fit.invocation.probe(
            inputs, counts, name, allowed=seen[:, None, None].expand(-1, 1, queries, -1), **case.options
        )
        if run.reading.output is not None and agrees(fit, [run], case.sinks):
            case.conventions[name] = f"{LENGTHS.name}, {LENGTH.name}"
            case.find("lengths-off", name=name, sees=sees)
            return True
    return False


def _takes_padding(case: Case, fit: Fit, name: str) -> bool:
    """Whether one row of allowed keys for each text, (batch, key), works too."""
    inputs = fit.invocation.inputs("mask", 7)
    attempts = _attempts(case, fit, name, inputs)
    return any(run.reading.output is not None for form, _, run in attempts if form.name == "(batch, key)")


def _contradiction(case: Case, name: str, convention: probes.Convention) -> None:
    """What its own words say of the mask, against what it does with it."""
    meaning = stated_polarity(case.text, (name,))
    if meaning is None:
        return
    if convention.kind == "additive":
        case.find("mask-added", name=name, meaning=meaning, convention=convention.name)
    elif (meaning == "keep") != convention.keep:
        does = "keep" if convention.keep else "drop"
        case.find("mask-inverted", name=name, meaning=meaning, does=does, convention=convention.name)


def _unknown(case: Case, fit: Fit, name: str, attempts: list, changing: list, refused: list[Reading]) -> None:
    if changing and padding_leaks(case, fit.invocation, name):
        return
    if attempts and not changing and fit.invocation.ends is not None and _acts_elsewhere(case, fit, name):
        case.skip("mask-elsewhere", name=name)
    elif attempts and not changing and "mask" in name.lower():
        case.find("mask-ignored", name=name, count=len(attempts))
    elif attempts:
        case.skip("mask-unknown" if changing else "mask-idle", name=name)
    elif refused:
        case.skip("mask-refused", name=name, error=refused[-1].outcome.error or refused[-1].wrong)
    else:
        case.skip("mask-untried", name=name)


def _acts_elsewhere(case: Case, fit: Fit, name: str) -> bool:
    """Whether the mask changes what the whole module gives, and nothing of the attention that was compared."""
    whole = replace(fit.invocation, ends=None)
    inputs = whole.inputs("mask", 7)
    plain = whole.run(inputs, still=case.still, sinks=case.sinks).output
    runs = (run.reading.output for _, _, run in _attempts(case, replace(fit, invocation=whole), name, inputs))
    return plain is not None and any(output is not None and not _same(output, plain) for output in runs)


def _half_overflow(case: Case, refused: list[Reading], name: str) -> bool:
    """A sentinel that float16 cannot hold raises in masked_fill as soon as a mask is passed."""
    hit = next((reading.outcome for reading in refused if beyond_half(reading.outcome)), None)
    if hit is None:
        return False
    case.find("sentinel-beyond-half", evidence=f"with {name!r} it raises {hit.error}", line=hit.line)
    return True


def _kept_nan(case: Case, fit: Fit, name: str) -> bool:
    """A mask of all ones and one of all zeros: one of them permits everything, whatever 1 means, so one gives numbers."""
    inputs = fit.invocation.inputs("kept", 7)
    plain = fit.invocation.run(inputs, still=case.still, sinks=case.sinks)
    if plain.output is None or not bool(plain.output.isfinite().all()):
        return False
    for form in probes.FORMS:
        every = form.shaped(probes.allowed_keys(inputs[0].shape[0], *(2 * [fit.invocation.length])) | True)
        for kind in ("bool", "number") if every is not None else ():
            convention = probes.Convention(kind, kind)
            both = [fit.invocation.run(inputs, convention.encode(m), name, **case.options) for m in (every, ~every)]  # type: ignore[operator, arg-type]
            if any(r.output is None or bool(r.output.isfinite().any()) for r in both):
                continue
            case.conventions[name] = f"{form.name}, 0 and 1"
            evidence = f"with {name!r} of 1 everywhere, and of 0 everywhere, every output is NaN; without it none is"
            outcomes = [r.outcome for r in both]
            kept_nan(case, name, next((o for o in outcomes if o.seen.overflow), outcomes[0]), evidence)
            return True
    return False
