"""Padding, by comparison: run the batch with the pads masked, and a padded row alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.runs import (
    Outputs,
    at_positions,
    attempt,
    attempt_states,
    distance,
    follows_positions,
    mixes_neighbours,
    tolerance,
)

Run = Callable[[nn.Module, Mapping[str, Any]], Outputs | None]
ROWS = 4  # at most this many rows of a batch are run alone
_ROLES = ("eos", "bos", "unk", "sep", "cls")  # that a pad token may have besides


def pads_attended(case: Case, outputs: Outputs) -> None:
    """Pads that the mask shows, where hiding them changes the outputs of the text."""
    pad, given = case.pad_token(), case.inputs.get("attention_mask")
    if pad is None:
        case.not_examined.append("pads: neither the tokenizer nor the model names a pad token")
        return
    if given is not None and case.mask is None:
        case.not_examined.append("pads: the attention_mask is not one entry for each token")
        return
    assert case.ids is not None
    text = _text(case, case.ids, pad)
    mask = case.mask if case.mask is not None else torch.ones_like(text)
    visible_pads = mask & ~text
    if not bool(visible_pads.any()) or not case.takes("attention_mask") or not bool(text.any(1).all()):
        return
    right_mask = mask & text
    device = case.inputs["input_ids"].device
    masked = attempt(case.model, {**case.inputs, "attention_mask": right_mask.long().to(device)})
    if masked is None:
        case.not_examined.append("pads: the model does not run with the pads masked")
        return
    change = distance(*(at_positions(x, text.shape, right_mask, case.decoder) for x in (outputs, masked)))
    row = int(visible_pads.any(1).nonzero()[0, 0])
    positions = _positions(visible_pads[row].nonzero()[:, 0].tolist())
    reason = "no attention_mask was given" if given is None else "attention_mask is 1 there"
    pads = f"row {row} has {case.strings([pad])} (id {pad}) at {positions}, and {reason}"
    if change <= tolerance(masked):
        case.notes.append(
            f"Pads are not masked ({pads}). No token of the text sees them, so this changes nothing here."
        )
        return
    case.report("pads-attended", pads=pads, change=change)


def right_padding(case: Case, outputs: Outputs) -> None:
    """Pads after the text of a model that continues texts: its next token is read off a pad. Training wants them there."""
    logits = next((x for x in outputs.values() if case.ids is not None and follows_positions(x, case.ids.shape)), None)
    pad = case.pad_token()
    if not case.generates or logits is None or case.ids is None or "labels" in case.inputs:
        return
    if case.found("model-ignores-mask"):
        return
    if case.mask is None and pad is None:
        return
    shown = case.mask if case.mask is not None or pad is None else _text(case, case.ids, pad)
    assert shown is not None
    rows = [row for row in range(len(shown)) if bool(shown[row].any()) and not bool(shown[row, -1])][:ROWS]
    if not rows:
        return
    row = rows[0]
    last = int(shown[row].nonzero()[-1, 0])
    change = distance([logits[row, -1]], [logits[row, last]])
    count = case.ids.shape[1] - 1 - last
    evidence = (
        f"row {row} ends with {count} pad{'s' * (count > 1)}; the outputs at its last position differ from those of its last "
        f"token by up to {change:.3g} standard deviations"
    )
    case.report("right-padding", evidence=evidence)


def padding_outside_attention(case: Case, outputs: Outputs) -> None:
    """A head, or a hand-written model, that counts the pads although its attention hides them."""
    mask = case.mask
    if mask is None or case.findings or mixes_neighbours(case.model) or not case.takes("attention_mask"):
        return
    if case.decoder or "position_ids" in case.inputs:
        return
    rows = [row for row in range(len(mask)) if bool(mask[row, 0]) and not bool(mask[row].all())][:ROWS]
    for row in rows:
        change = distance_from_alone(case, outputs, row)
        if change <= 5 * tolerance(outputs):
            continue
        states = attempt_states(case.model, case.inputs)
        if states is None or (states.keys() == outputs.keys() and hasattr(case.model, "base_model")):
            return
        if hasattr(case.model, "base_model") and distance_from_alone(case, states, row, attempt_states) > tolerance(
            states
        ):
            return  # the model under the head sees the pads: an approximation that pools keys, by design
        evidence = (
            f"row {row}, with {int((~mask[row]).sum())} pads after it, differs from the same row alone by up to {change:.3g} "
            "standard deviations, although the pads are masked"
        )
        case.report("pads-counted", evidence=evidence)
        return


def _text(case: Case, rows: Tensor, pad: int) -> Tensor:
    """Which ids [B, T] are no padding, as bool."""
    owners = [owner for owner in (case.tokenizer, case.config) if owner is not None]
    shared = any(getattr(owner, f"{role}_token_id", None) == pad for owner in owners for role in _ROLES)
    text = torch.ones_like(rows, dtype=torch.bool)
    for row, ids in enumerate(rows.tolist()):
        text[row, _pad_positions(ids, pad, shared)] = False
    return text


def _pad_positions(ids: Sequence[int], pad: int, shared: bool) -> list[int]:
    """Positions of padding in a row.

    A pad token that is also an end or begin token (`shared`) may have that role once, next to the text.
    """
    if not shared:
        return [t for t, i in enumerate(ids) if i == pad]
    lead = next((t for t, i in enumerate(ids) if i != pad), len(ids))
    trail = next((t for t, i in enumerate(reversed(ids)) if i != pad), len(ids))
    return [*range(max(lead - 1, 0)), *range(len(ids) - max(trail - 1, 0), len(ids))]


def _positions(found: list[int]) -> str:
    if len(found) > 1 and found[-1] - found[0] == len(found) - 1:
        return f"positions {found[0]} to {found[-1]}"
    return ("positions " if len(found) > 1 else "position ") + ", ".join(map(str, found[:6]))


def left_padding(case: Case, outputs: Outputs) -> None:
    """Left-padded rows whose outputs differ from those of the row alone."""
    mask = case.mask
    assert case.ids is not None
    if len(case.ids) == 1 and (mask is None or bool(mask.all())):
        case.not_examined.append(
            "padding of several texts: got one text; give a list of texts to check them as a batch"
        )
        return
    if mask is None:
        return
    rows = [r for r in range(len(mask)) if not bool(mask[r, 0]) and bool(mask[r].any())][:ROWS]
    case.conventions["padding"] = "left" if rows else "right" if not bool(mask.all()) else "none"
    if not rows or "position_ids" in case.inputs:
        return
    if case.found("model-ignores-mask"):
        case.not_examined.append("left padding: the model ignores the mask, so a padded row cannot be compared")
        return
    change, row = max((distance_from_alone(case, outputs, r), r) for r in rows)
    if change < 0:
        case.not_examined.append("left padding: a row of the batch does not run alone")
        return
    limit = tolerance(outputs)
    if change <= limit:
        return
    with_positions = -1.0
    if case.takes("position_ids"):
        counted = (mask.long().cumsum(-1) - 1).clamp(min=0).to(case.inputs["input_ids"].device)
        better = attempt(case.model, {**case.inputs, "position_ids": counted})
        with_positions = distance_from_alone(case, better, row) if better is not None else -1.0
    helps = 0 <= with_positions < change / 3
    if not helps and limit > 1e-3 and change < 5 * limit:
        return  # half precision: rounding explains it
    pads = int((~mask[row]).sum())
    evidence = f"row {row} with {pads} pads before it differs from the same row alone by up to {change:.3g} standard deviations"
    cure = 'tokenizer.padding_side = "right"'
    if helps:
        evidence += f"; with position_ids counted from its first token, by {with_positions:.2g}"
        positions = "(attention_mask.cumsum(-1) - 1).clamp(min=0)"
        cure += f"; or model(**inputs, position_ids={positions}); generate() does that by itself"
    case.report("left-padding-positions", evidence=evidence, cure=cure)


def distance_from_alone(case: Case, outputs: Outputs, row: int, runs: Run = attempt) -> float:
    """The distance between a row of the batch and the same row run alone, without position_ids; -1 where it does not run
    alone. `runs` is what gave `outputs`."""
    assert case.ids is not None
    keep = case.mask[row] if case.mask is not None else torch.ones(case.ids.shape[1], dtype=torch.bool)
    single: dict[str, Any] = {}
    for name, x in case.inputs.items():
        if isinstance(x, Tensor) and x.ndim >= 2 and x.shape[0] == len(case.ids):
            by_position = tuple(x.shape) == tuple(case.ids.shape) and not name.startswith("decoder")
            single[name] = x[row : row + 1][:, keep.to(x.device)] if by_position else x[row : row + 1]
        else:
            single[name] = x
    single.pop("position_ids", None)
    alone = runs(case.model, single)
    if alone is None:
        return -1.0
    there: list[Tensor] = []
    here: list[Tensor] = []
    whole: list[tuple[Tensor, Tensor]] = []
    for name, x in alone.items():
        of_batch = outputs.get(name)
        if of_batch is None or of_batch.shape[0] != len(case.ids):
            continue
        of_row = of_batch[row : row + 1]
        if follows_positions(x, (1, int(keep.sum()))) and follows_positions(of_row, (1, len(keep))):
            there.append(of_row[:, keep.to(x.device)])
            here.append(x)
        else:
            whole.append((of_row, x))
    if not here or case.decoder:  # one vector for each row; in an encoder-decoder model the decoder's outputs too
        there += [x for x, _ in whole]
        here += [x for _, x in whole]
    return distance(there, here) if here else -1.0
