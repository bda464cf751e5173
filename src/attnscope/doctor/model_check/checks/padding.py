"""Padding, by comparison: run the batch with the pads masked, and a padded row alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.runs import Outputs, at_positions, attempt, distance, tolerance

_ROWS = 4  # at most this many rows of a batch are run alone
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
    owners = [owner for owner in (case.tokenizer, case.config) if owner is not None]
    shared = any(getattr(owner, f"{role}_token_id", None) == pad for owner in owners for role in _ROLES)
    text = torch.ones_like(case.ids, dtype=torch.bool)
    for row, ids in enumerate(case.ids.tolist()):
        text[row, _pad_positions(ids, pad, shared)] = False
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
    rows = [r for r in range(len(mask)) if not bool(mask[r, 0]) and bool(mask[r].any())][:_ROWS]
    case.conventions["padding"] = "left" if rows else "right" if not bool(mask.all()) else "none"
    if not rows or "position_ids" in case.inputs:
        return
    if case.found("model-ignores-mask"):
        case.not_examined.append("left padding: the model ignores the mask, so a padded row cannot be compared")
        return
    change, row = max((_distance_from_alone(case, outputs, r), r) for r in rows)
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
        with_positions = _distance_from_alone(case, better, row) if better is not None else -1.0
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


def _distance_from_alone(case: Case, outputs: Outputs, row: int) -> float:
    """The distance between a row of the batch and the same row run alone; -1 where it does not run alone."""
    assert case.ids is not None
    assert case.mask is not None
    keep = case.mask[row]
    single: dict[str, Any] = {}
    for name, x in case.inputs.items():
        if isinstance(x, Tensor) and x.ndim >= 2 and x.shape[0] == len(case.ids):
            by_position = tuple(x.shape) == tuple(case.ids.shape) and not name.startswith("decoder")
            single[name] = x[row : row + 1][:, keep.to(x.device)] if by_position else x[row : row + 1]
        else:
            single[name] = x
    single.pop("position_ids", None)
    alone = attempt(case.model, single)
    if alone is None:
        return -1.0
    batched = {n: x[row : row + 1] for n, x in outputs.items() if x.shape[0] == len(case.ids) and n in alone}
    length, count = case.ids.shape[1], int(keep.sum())
    there = at_positions(batched, (1, length), keep[None], case.decoder)
    everything = torch.ones(1, count, dtype=torch.bool)
    here = at_positions({n: alone[n] for n in batched}, (1, count), everything, case.decoder)
    return distance(there, here) if len(there) == len(here) else -1.0
