"""The mask argument: its convention, found by trying, or the mistake that is made with it; and the causal flag."""

import re
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from torch import Tensor

from attnscope.doctor.code_check import report
from attnscope.doctor.code_check.checks.execution import beyond_half
from attnscope.doctor.code_check.checks.numerics import empty, half_range, huge, kept_nan, range_finding
from attnscope.doctor.code_check.match.mistakes import CAUSE, MISTAKES, Mistake
from attnscope.doctor.code_check.match.search import Fit, agrees, error_of
from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.invocation import Run
from attnscope.doctor.code_check.run.outputs import Reading
from attnscope.doctor.code_check.run.probes import FULL
from attnscope.doctor.diagnosis import Finding

if TYPE_CHECKING:
    from attnscope.doctor.code_check.examine import Examination


def after_match(exam: "Examination", fit: Fit) -> None:
    """Everything that needs to know how the suspect attends."""
    _flag(exam, fit)
    for name in fit.suspect.call.masks[:3]:
        _mask(exam, fit, name)
    if not fit.suspect.call.masks and not fit.recipe.causal:
        exam.not_examined.append("masks (rows 4 to 7, 9, 10, 12): it takes none and is not causal")
    elif not fit.suspect.call.masks:
        exam.not_examined.append("padding and empty rows (rows 7, 12): it takes no mask")
    if not fit.suspect.call.masks:
        beyond = half_range(exam, fit, None, None)
        exam.findings += [beyond] if beyond else []
    if fit.recipe.causal and not any(f.row == 6 for f in exam.findings):
        huge(exam, fit, None, None)


def _flag(exam: "Examination", fit: Fit) -> None:
    """The user's own is_causal argument, switched on."""
    name = fit.suspect.call.causal_flag
    if name is None or fit.recipe.causal:
        return
    inputs = fit.suspect.inputs("flag", 7)
    run = fit.suspect.probe(inputs, causal=True, **exam.options)
    if run.reading.output is None:
        exam.not_examined.append(f"{name}=True: it raises {run.reading.outcome.error}")
        return
    base = fit.recipe.but(causal=True)
    if agrees(replace(fit, recipe=base), [run], exam.sinks):
        exam.conventions["causal"] = f"with {name}=True"
        return
    causal = [m for m in MISTAKES if m.needs == "causal"]
    for count in (1, 2):
        for chosen in combinations(causal, count):
            wrong = replace(
                fit, recipe=base.but(**{k: v for m in chosen for k, v in m.change.items()}), mistakes=chosen
            )
            if agrees(wrong, [run], exam.sinks):
                for mistake in chosen:
                    report.add(exam, mistake, wrong, run)
                report.draw(exam, wrong, run)
                return
    exam.not_examined.append(f"{name}=True: what it does then fits no known recipe")


# --- the mask argument --------------------------------------------------------------------------------------------


def _mask(exam: "Examination", fit: Fit, name: str) -> bool | None:
    """Convention and mistakes of one mask argument. True where its convention was found."""
    suspect = fit.suspect
    inputs = suspect.inputs("mask", 7)
    batch, queries, keys = inputs[0].shape[0], 7, 7
    runs: list[tuple[probes.Form, probes.Convention, Run]] = []
    plain = suspect.run(inputs, still=exam.still, sinks=exam.sinks).output
    errors: list[Reading] = []
    for form in (*probes.FORMS, FULL):
        allowed = probes.allowed_keys(batch, queries, keys) if form.padding else probes.allowed_pairs(batch, queries, keys, shared=form.name == "(query, key)")  # fmt: skip
        shaped = allowed.expand(-1, suspect.heads, -1, -1) if form is FULL else form.shaped(allowed)
        if shaped is None or (suspect.layout == "(length, size)" and form.name != "(query, key)"):
            continue
        for convention in probes.CONVENTIONS:
            run = suspect.probe(inputs, convention.encode(shaped), name, allowed=allowed, **exam.options)
            reading = run.reading
            if reading.output is None:
                errors.append(reading)
                continue
            runs.append((form, convention, run))
            if agrees(fit, [run], exam.sinks):
                exam.conventions[name] = f"{form.name}, {convention.name}"
                _mutation(exam, reading, name)
                _contradiction(exam, name, convention)
                empty(exam, fit, name, form, convention)
                beyond = half_range(exam, fit, name, (form, convention))
                exam.findings += [beyond] if beyond else []
                huge(exam, fit, name, (form, convention))
                return True
    if _half_overflow(exam, errors, name) or _kept_nan(exam, fit, name):
        return None
    known: list[Mistake] = [m for m in MISTAKES if m.needs == "mask"]
    for count in (1, 2):
        for form, convention, run in runs:
            if plain is not None and run.reading.output is not None and error_of(run.reading.output, plain) < 1e-5:
                continue
            for chosen in combinations(known, count):
                change = {k: v for m in chosen for k, v in m.change.items()}
                if len(change) < count or ("mask_axis" in change and not form.padding):
                    continue
                allowed = run.allowed
                assert allowed is not None
                if "mask_axis" in change:
                    allowed = allowed.transpose(-1, -2)
                if "mask_order" in change and suspect.heads == 1:
                    continue
                wrong = replace(fit, recipe=fit.recipe.but(**change), mistakes=chosen)
                tried = replace(run, allowed=allowed)
                if agrees(wrong, [tried], exam.sinks):
                    exam.conventions[name] = f"{form.name}, {convention.name}"
                    for mistake in chosen:
                        report.add(exam, mistake, wrong, tried)
                    report.draw(exam, wrong, tried)
                    return None
    _unknown(exam, name, runs, plain, errors)
    return None


_DROP = r"not\b|n't|leav|blank|empty|missing|absent|unused|unseen|unobserved|filler|drop|ignor|masked|mask out|hid|pad|forbid|block|exclu|remov|skip|future|invalid|-inf"
_KEEP = r"keep|kept|attend|visib|allow|valid|real|\bmay\b|\bcan\b|\bsee|look|\buse|token|observed|present|\bwords?\b|\btext\b|content|actual|genuine"


def told_polarity(text: str, names: tuple[str, ...] = ()) -> str | None:
    """ "keep" or "drop", where comments or docstring say what True (or 1), or False (or 0), of a mask means, in a line that
    speaks of a mask or of the argument's name; None where they do not, or say both."""
    spoken = re.compile("|".join(["mask", *(rf"\b{re.escape(name)}\b" for name in names)]), re.IGNORECASE)
    quoted = [a or b for a, b in re.findall(r'"{3}(.*?)"{3}|\'{3}(.*?)\'{3}', text, re.DOTALL)]
    prose = "\n".join([*re.findall(r"#(.*)", text), *quoted])
    said = set()
    for line in prose.splitlines():
        if not spoken.search(line) or re.search(
            r"\badd(?:ed|s|itive)?\b|-\s*inf|-\s*1e\d|infinity|negative", line, re.IGNORECASE
        ):
            continue  # what is added to the scores is another kind of mask
        for value, meaning in _meanings(line):
            drops = True if re.search(_DROP, meaning, re.IGNORECASE) else False if re.search(_KEEP, meaning, re.IGNORECASE) else None  # fmt: skip
            if drops is not None:
                said.add("drop" if drops == (value in _ONES) else "keep")
    return said.pop() if len(said) == 1 else None


_ONES, _ZEROS = ("True", "1", "1s", "1.0", "ones"), ("False", "0", "0s", "0.0", "zeros")
_VALUE = (
    r"(?<![\w.-])("
    + "|".join(re.escape(v) for v in sorted((*_ONES, *_ZEROS), key=len, reverse=True))
    + r")(?![\w.]\w|\w)"
)


def _meanings(line: str) -> list[tuple[str, str]]:
    """What a line says of values of a mask, "1 for words" and "padding is 0" alike: (value, meaning)."""
    after = re.findall(_VALUE + r"\s*(?:=|:|means?|marks?|where|when|if|for|at|on|in|to|->)\s*([^,.;)\n]{2,50})", line)
    before = re.findall(
        r"([A-Za-z][\w' -]{2,30}?)\s+(?:is|are|=|get|gets|have|marked)\s+(?:as\s+|by\s+|with\s+)?" + _VALUE, line
    )
    found = [(value, re.split(_VALUE + r"|\b(?:and|or|else|otherwise)\b", meaning)[0]) for value, meaning in after]
    said = [(value, re.split(r"\b(?:and|or|mask|which|that)\b", meaning)[-1]) for meaning, value in before]
    return found + said


def _contradiction(exam: "Examination", name: str, convention: probes.Convention) -> None:
    """What its own words say of the mask, and what it does with it."""
    told = told_polarity(exam.text, (name,))
    if told is None:
        return
    if convention.kind == "additive":
        exam.findings.append(Finding(
            "mask-added", 10, f"its text says that True or 1 in {name!r} means {told}, and the mask is added to the scores as it is",
            "Adding 1 masks nothing; only 0 and -inf (or a large negative number) can be added.", "scores.masked_fill(~mask, -inf), or say that the mask is additive",
            f"it agrees with the reference for masks of 0 and -inf ({convention.name})", CAUSE, "how the mask is applied",
        ))  # fmt: skip
    elif (told == "keep") != convention.keep:
        does = "keep" if convention.keep else "drop"
        exam.findings.append(Finding(
            "mask-inverted", 9, f"its text says that True or 1 in {name!r} means {told}; it is used as {does}",
            "In scaled_dot_product_attention True means keep, in nn.MultiheadAttention True means drop; masked_fill fills where True.", "invert the mask where it is applied, or correct the text",
            f"it agrees with the reference for {convention.name}", CAUSE, "the polarity of the mask",
        ))  # fmt: skip


def _unknown(exam: "Examination", name: str, runs: list, plain: Tensor | None, errors: list[Reading]) -> None:
    if runs and plain is not None and all(error_of(r.reading.output, plain) < 1e-5 for *_, r in runs) and "mask" in name.lower():  # fmt: skip
        exam.findings.append(Finding(
            "mask-ignored", None, f"the argument {name!r} changes nothing", "A mask that is taken and not used looks as if it worked.",
            "apply it to the scores before the softmax", f"{len(runs)} masks of different forms gave the output of none", "a masked key has a weight of exactly 0", "where the mask is applied",
        ))  # fmt: skip
    elif runs:
        exam.not_examined.append(f"argument {name!r}: it changes the output, but as no kind of mask known here")
    else:
        exam.not_examined.append(f"argument {name!r}: no kind of mask known here was accepted ({errors[-1].outcome.error or errors[-1].wrong})" if errors else f"argument {name!r}")  # fmt: skip


def _half_overflow(exam: "Examination", errors: list[Reading], name: str) -> bool:
    """A sentinel that float16 cannot hold raises in masked_fill as soon as a mask is passed."""
    hit = next((e.outcome for e in errors if beyond_half(e.outcome)), None)  # fmt: skip
    if hit is None:
        return False
    exam.findings.append(range_finding(f"with {name!r} it raises {hit.error}", hit.line))
    return True


def _kept_nan(exam: "Examination", fit: Fit, name: str) -> bool:
    """A mask of all ones and one of all zeros: one of them permits everything, whatever 1 means, so one gives numbers."""
    inputs = fit.suspect.inputs("kept", 7)
    plain = fit.suspect.run(inputs, still=exam.still, sinks=exam.sinks)
    if plain.output is None or not bool(plain.output.isfinite().all()):
        return False
    for form in probes.FORMS:
        every = form.shaped(probes.allowed_keys(inputs[0].shape[0], 7, 7) | True)
        for kind in ("bool", "number") if every is not None else ():
            convention = probes.Convention(kind, kind)
            both = [fit.suspect.run(inputs, convention.encode(m), name, **exam.options) for m in (every, ~every)]  # type: ignore[operator, arg-type]
            if any(r.output is None or bool(r.output.isfinite().any()) for r in both):
                continue
            exam.conventions[name] = f"{form.name}, 0 and 1"
            said = f"with {name!r} of 1 everywhere, and of 0 everywhere, every output is NaN; without it none is"
            exam.findings.append(kept_nan(name, next((r.outcome for r in both if r.outcome.seen.overflow), both[0].outcome), said))  # fmt: skip
            return True
    return False


def _mutation(exam: "Examination", reading: Reading, name: str) -> None:
    if any(i >= 3 for i in reading.outcome.mutated):
        exam.findings.append(Finding("mutates-mask", None, f"it changes the mask {name!r} in place", "The next layer gets another mask.", "do not use in-place operations on arguments", "", "inputs are the same after the call", "operations that end in _"))  # fmt: skip
