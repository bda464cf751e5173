"""Padding, by comparison: pads are masked, and padded rows are run alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attnscope.doctor.model_check.case import Chart
from attnscope.doctor.model_check.runs import Outputs, apart, attempt, places, tolerance

_ROWS = 4  # so many rows of a batch are run alone


def _pads(ids: Sequence[int], pad: int, shared: bool) -> list[int]:
    """Positions of padding in a row. A pad token that is also an end or begin token (`shared`) may stand for itself
    once, at the border of the text."""
    if not shared:
        return [t for t, i in enumerate(ids) if i == pad]
    lead = next((t for t, i in enumerate(ids) if i != pad), len(ids))
    trail = next((t for t, i in enumerate(reversed(ids)) if i != pad), len(ids))
    return [*range(max(lead - 1, 0)), *range(len(ids) - max(trail - 1, 0), len(ids))]


def pads_attended(chart: Chart, outputs: Outputs) -> None:
    pad, given = chart.pad(), chart.inputs.get("attention_mask")
    if pad is None:
        chart.not_examined.append("pads: neither the tokenizer nor the model names a pad token")
        return
    if given is not None and chart.mask is None:
        chart.not_examined.append("pads: the attention_mask is not one entry for each token")
        return
    assert chart.ids is not None
    owners = [o for o in (chart.tokenizer, chart.config) if o is not None]
    shared = any(getattr(o, f"{role}_token_id", None) == pad for o in owners for role in ("eos", "bos", "unk", "sep", "cls"))  # fmt: skip
    keep = torch.ones_like(chart.ids, dtype=torch.bool)
    for row, ids in enumerate(chart.ids.tolist()):
        keep[row, _pads(ids, pad, shared)] = False
    mask = chart.mask if chart.mask is not None else torch.ones_like(keep)
    shown = mask & ~keep
    if not bool(shown.any()) or not chart.takes("attention_mask") or not bool(keep.any(1).all()):
        return
    right = mask & keep
    fixed = attempt(chart.model, {**chart.inputs, "attention_mask": right.long().to(chart.inputs["input_ids"].device)})
    if fixed is None:
        chart.not_examined.append("pads: the model does not run with the pads masked")
        return
    far = apart(*(places(x, keep.shape, right, chart.decoder) for x in (outputs, fixed)))
    row = int(shown.any(1).nonzero()[0, 0])
    spots = shown[row].nonzero()[:, 0].tolist()
    told = f"row {row} has {chart.strings([pad])} (id {pad}) at {_span(spots)}, and " + ("no attention_mask was given" if given is None else "attention_mask is 1 there")  # fmt: skip
    if far <= tolerance(fixed):
        chart.notes.append(f"Pads are not masked ({told}); no token of the text sees them, so it changes nothing here.")
        return
    chart.find(
        "pads-attended", "pads are attended", why="Every token shares its attention with tokens that mean nothing.",
        evidence=f"{told}; with the pads masked the outputs of the text change by up to {far:.3g} standard deviations",
        cure='pass the attention_mask that the tokenizer makes: model(**tokenizer(texts, padding=True, return_tensors="pt")); for ready ids: attention_mask = (input_ids != tokenizer.pad_token_id).long()'
        if not shared else 'pass the attention_mask that the tokenizer makes: model(**tokenizer(texts, padding=True, return_tensors="pt")); ids alone do not tell, since the pad token also ends texts',
        invariant="pads are hidden by the mask", place="attention_mask",
    )  # fmt: skip


def _span(spots: list[int]) -> str:
    whole = len(spots) > 1 and spots[-1] - spots[0] == len(spots) - 1
    return f"positions {spots[0]} to {spots[-1]}" if whole else "position" + "s" * (len(spots) > 1) + " " + ", ".join(map(str, spots[:6]))  # fmt: skip


def left_padding(chart: Chart, outputs: Outputs) -> None:
    mask = chart.mask
    assert chart.ids is not None
    if len(chart.ids) == 1 and (mask is None or bool(mask.all())):
        chart.not_examined.append(
            "padding of several texts: one text came; give a list of texts to see them as a batch"
        )
        return
    if mask is None:
        return
    rows = [r for r in range(len(mask)) if not bool(mask[r, 0]) and bool(mask[r].any())][:_ROWS]
    side = "left" if rows else "right" if not bool(mask.all()) else "none"
    chart.conventions["padding"] = side
    if not rows or "position_ids" in chart.inputs or chart.found("mask-ignored"):
        if rows and chart.found("mask-ignored"):
            chart.not_examined.append("left padding: the mask is not followed, so a padded row cannot be compared")
        return
    worst, row = max((_alone(chart, outputs, r), r) for r in rows)
    if worst < 0:
        chart.not_examined.append("left padding: a row of the batch does not run alone")
        return
    limit = tolerance(outputs)
    if worst <= limit:
        return
    counted = (mask.long().cumsum(-1) - 1).clamp(min=0)
    helped = None
    if chart.takes("position_ids"):
        positions = counted.to(chart.inputs["input_ids"].device)
        helped = attempt(chart.model, {**chart.inputs, "position_ids": positions})
    left = _alone(chart, helped, row) if helped is not None else -1.0
    works = 0 <= left < worst / 3
    if not works and limit > 1e-3 and worst < 5 * limit:
        return  # half precision: rounding may do that
    hidden = int((~mask[row]).sum())
    chart.find(
        "left-padding-positions", "left padding without position_ids: the text's first token stands at a later position", row=20,
        why="This model adds a learned vector for each absolute position, and counts positions from the padding on.",
        evidence=f"row {row} with {hidden} pads before it differs from the same row alone by up to {worst:.3g} standard deviations" + (f"; with position_ids counted from its first token by {left:.2g}" if works else ""),
        cure=('tokenizer.padding_side = "right"' + "; or model(**inputs, position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0)); generate() does that by itself" * works),
        invariant="a row of a batch gives what it gives alone", place="position_ids",
    )  # fmt: skip


def _alone(chart: Chart, outputs: Outputs, row: int) -> float:
    """How far a row of the batch is from the row by itself; -1 where it does not run by itself."""
    assert chart.ids is not None
    assert chart.mask is not None
    keep = chart.mask[row]
    single: dict[str, Any] = {}
    for name, x in chart.inputs.items():
        if isinstance(x, Tensor) and x.ndim >= 2 and x.shape[0] == len(chart.ids):
            by_place = tuple(x.shape) == tuple(chart.ids.shape) and not name.startswith("decoder")
            single[name] = x[row : row + 1][:, keep.to(x.device)] if by_place else x[row : row + 1]
        else:
            single[name] = x
    single.pop("position_ids", None)
    alone = attempt(chart.model, single)
    if alone is None:
        return -1.0
    one = {n: x[row : row + 1] for n, x in outputs.items() if x.shape[0] == len(chart.ids) and n in alone}
    shape = (1, chart.ids.shape[1])
    there = places(one, shape, keep[None], chart.decoder)
    here = places({n: alone[n] for n in one}, (1, int(keep.sum())), torch.ones(1, int(keep.sum()), dtype=torch.bool), chart.decoder)  # fmt: skip
    return apart(there, here) if len(there) == len(here) else -1.0
