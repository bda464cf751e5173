"""With the recipe known: the mask argument, sentinels against huge scores, empty rows, half precision."""

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from attnscope.doctor import probes
from attnscope.doctor.diagnosis import Finding
from attnscope.doctor.mistakes import MISTAKES, Mistake
from attnscope.doctor.recipe import compute
from attnscope.doctor.search import Fit, Run, agrees, error_of
from attnscope.doctor.suspects import Reading

if TYPE_CHECKING:
    from attnscope.doctor.examine import Examination

_FULL = probes.Form("(batch, heads, query, key)", False)


def after_match(exam: "Examination", fit: Fit) -> None:
    """Everything that needs to know how the suspect attends."""
    _flag(exam, fit)
    for name in fit.suspect.call.masks[:3]:
        _mask(exam, fit, name)
    if not fit.suspect.call.masks and not fit.recipe.causal:
        exam.not_examined.append("masks (rows 4 to 7, 9, 10, 12): it takes none and is not causal")
    elif not fit.suspect.call.masks:
        exam.not_examined.append("padding and empty rows (rows 7, 12): it takes no mask")
    if fit.recipe.causal and not any(f.row == 6 for f in exam.findings):
        _huge(exam, fit, None, None)


def _flag(exam: "Examination", fit: Fit) -> None:
    """The user's own is_causal argument, switched on."""
    name = fit.suspect.call.causal_flag
    if name is None or fit.recipe.causal:
        return
    inputs = fit.suspect.inputs("flag", 7)
    run = Run(inputs, fit.suspect.run(inputs, causal=True, still=exam.still, sinks=exam.sinks))
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
                    exam.add(mistake, wrong, run)
                exam.draw(wrong, run)
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
    for form in (*probes.FORMS, _FULL):
        allowed = probes.allowed_keys(batch, queries, keys) if form.padding else probes.allowed_pairs(batch, queries, keys, shared=form.name == "(query, key)")  # fmt: skip
        shaped = allowed.expand(-1, suspect.heads, -1, -1) if form is _FULL else form.shaped(allowed)
        if shaped is None or (suspect.layout == "(length, size)" and form.name != "(query, key)"):
            continue
        for convention in probes.CONVENTIONS:
            reading = suspect.run(inputs, convention.encode(shaped), name, still=exam.still, sinks=exam.sinks)
            run = Run(inputs, reading, allowed)
            if reading.output is None:
                errors.append(reading)
                continue
            runs.append((form, convention, run))
            if agrees(fit, [run], exam.sinks):
                exam.conventions[name] = f"{form.name}, {convention.name}"
                _mutation(exam, reading, name)
                _empty(exam, fit, name, form, convention)
                _huge(exam, fit, name, (form, convention))
                return True
    if _half_overflow(exam, errors, name):
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
                tried = Run(inputs, run.reading, allowed)
                if agrees(wrong, [tried], exam.sinks):
                    exam.conventions[name] = f"{form.name}, {convention.name}"
                    for mistake in chosen:
                        exam.add(mistake, wrong, tried)
                    exam.draw(wrong, tried)
                    return None
    _unknown(exam, name, runs, plain, errors)
    return None


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
    hit = next((e.outcome for e in errors if "without overflow" in e.outcome.error and e.outcome.seen.low is not None), None)  # fmt: skip
    if hit is None:
        return False
    exam.findings.append(_range_finding(f"with {name!r} it raises {hit.error}", hit.line))
    return True


def _range_finding(evidence: str, line: int | None = None) -> Finding:
    return Finding(
        "sentinel-beyond-half", 8, "the mask's sentinel is beyond the range of float16 (±65504), in which it computes",
        "-1e9 becomes -inf in float16 (an empty row is then NaN), or masked_fill raises; finfo.min plus a score overflows as well.",
        "torch.finfo(scores.dtype).min as the sentinel, with masked_fill and not by adding; or softmax in float32", evidence,
        "masked scores are finite numbers of the type it computes in", "the sentinel of the mask", line,
    )  # fmt: skip


def _mutation(exam: "Examination", reading: Reading, name: str) -> None:
    if any(i >= 3 for i in reading.outcome.mutated):
        exam.findings.append(Finding("mutates-mask", None, f"it changes the mask {name!r} in place", "The next layer gets another mask.", "do not use in-place operations on arguments", "", "inputs are the same after the call", "operations that end in _"))  # fmt: skip


# --- extremes -----------------------------------------------------------------------------------------------------


def _empty(exam: "Examination", fit: Fit, name: str, form: probes.Form, convention: probes.Convention) -> None:
    """A row in which no key is allowed. An additive mask brings its own sentinel, which is the caller's choice."""
    inputs = fit.suspect.inputs("empty", 7)
    allowed = torch.ones(inputs[0].shape[0], 1, 7, 7, dtype=torch.bool)
    if form.padding:
        allowed[0] = False
    else:
        allowed[:, :, 2] = False
    shaped = allowed.expand(-1, fit.suspect.heads, -1, -1) if form is _FULL else form.shaped(allowed)
    assert shaped is not None
    mask = convention.encode(shaped)
    if convention.kind == "additive":
        mask = mask.clamp_min(torch.finfo(torch.float32).min)
    reading = fit.suspect.run(inputs, mask, name, still=exam.still, sinks=exam.sinks)
    if reading.output is None:
        return
    seen = reading.outcome.seen
    plain = fit.suspect.run(inputs, still=exam.still, sinks=exam.sinks).output
    already = torch.zeros(()) if plain is None else plain.isnan().any(-1)  # rows that its own triangle leaves empty
    nan = int((reading.output.isnan().any(-1) & ~already.bool()).sum())
    if seen.overflow and convention.kind != "additive":
        exam.findings.append(_range_finding(f"{seen.overflow} gave -inf in {str(seen.low).removeprefix('torch.')}" + (f"; an all-masked row: {nan} output rows are NaN" if nan else "")))  # fmt: skip
    elif (
        nan and isinstance(exam.fn, nn.Module) and any(isinstance(m, nn.MultiheadAttention) for m in exam.fn.modules())
    ):
        exam.notes.append(
            "an all-masked row is NaN, as torch's nn.MultiheadAttention has it (row 7): keep such rows out."
        )
    elif nan and convention.kind != "additive":
        which = "all keys of text 0 are masked" if form.padding else "query 2 may see no key"
        exam.findings.append(Finding(
            "empty-row-nan", 7, "a query that may see no key gets NaN", "softmax of a row of -inf is 0/0; one NaN spreads through every later layer and the gradient. Padding and windows make such rows.",
            "use torch.finfo(scores.dtype).min instead of -inf, or set rows without a key to 0 afterwards", f"{which}: {nan} output rows hold NaN", "an all-masked row gives finite numbers", "the mask's sentinel",
        ))  # fmt: skip


def _huge(exam: "Examination", fit: Fit, name: str | None, how: tuple[probes.Form, probes.Convention] | None) -> None:
    """Scores beyond -1e5: a sentinel of -1e4 or -1e5 then loses to them, and masked keys win."""
    suspect, recipe = fit.suspect, fit.recipe
    if recipe.softcap is not None or recipe.softmax != "keys" or recipe.causal_how != "fill" or exam.sinks is not None:
        return
    if how is not None and how[1].kind == "additive" and not recipe.causal:
        return
    inputs = suspect.inputs("huge", 7)
    inputs = (inputs[0] * 800,) * 3 if suspect.call.inputs == 1 else (inputs[0] * 800, inputs[1] * 800, inputs[2])
    if suspect.call.inputs == 2:
        inputs = (inputs[0], inputs[1], inputs[1])
    allowed = mask = None
    if how is not None:
        form, convention = how
        allowed = probes.allowed_keys(inputs[0].shape[0], 7, 7) if form.padding else probes.allowed_pairs(inputs[0].shape[0], 7, 7, shared=form.name == "(query, key)")  # fmt: skip
        shaped = allowed.expand(-1, suspect.heads, -1, -1) if form is _FULL else form.shaped(allowed)
        assert shaped is not None
        mask = convention.encode(shaped)
    reading = suspect.run(inputs, mask, name, still=exam.still)
    if reading.output is None or reading.outcome.seen.low is not None:
        return
    operands = fit.operands(inputs)  # type: ignore[arg-type]
    if error_of(reading.output, compute(recipe, operands, allowed).output) < 1e-2:
        return
    changes = [{"fill": fill} for fill in (-1e4, -1e5, -1e3, -1e2, -1e6, -50.0)]
    changes += [{**c, "mask_how": "lower", "causal_how": "lower"} for c in changes]
    for change in changes:
        if error_of(reading.output, compute(recipe.but(**change), operands, allowed).output) < 1e-2:
            fill = change["fill"]
            used = [s for s in reading.outcome.seen.sentinels if -2e6 < s < -40]
            number = used[-1] if used else fill
            exam.findings.append(Finding(
                "sentinel-too-small", 6, f"masked scores are set to {number:g}, which real scores can pass", "Where every allowed score of a row is below the sentinel, masked keys win the softmax.",
                "-inf, or torch.finfo(scores.dtype).min", "with scores near ±1e5 and beyond, masked keys get weight", "a masked key has a weight of exactly 0, whatever the scores", "the sentinel of the mask",
            ))  # fmt: skip
            return
