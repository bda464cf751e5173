"""Masks and padding, by comparison: hidden tokens are exchanged, padded rows are run alone."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.in_use.chart import Chart
from attnscope.doctor.in_use.runs import Outputs, apart, attempt, mode, places, tolerance

_ROWS = 4  # so many rows of a batch are run alone
_HIDDEN = 3  # tokens hidden by the probes
_PROBE = 8  # tokens seen by the probes


def examine(chart: Chart, outputs: Outputs) -> None:
    """Needs a model that gives the same for every seed, and `outputs`, what it gave for the inputs."""
    if chart.ids is None:
        chart.not_examined.append("masks and padding: these inputs hold no input_ids")
        return
    with mode(chart.model):
        mask_is_followed(chart)
        order_is_followed(chart)
        pads_attended(chart, outputs)
        left_padding(chart, outputs)


def _takes(chart: Chart, name: str) -> bool:
    parameters = inspect.signature(chart.model.forward).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and "input_ids" not in parameters
    return name in parameters or name in chart.inputs or anything  # a wrapper passes on what it is given


def _decoder(chart: Chart) -> bool:
    return bool(getattr(chart.config, "is_encoder_decoder", False))


def _besides(chart: Chart, rows: int) -> dict[str, Any]:
    """What a probe needs besides ids and mask."""
    extra: dict[str, Any] = {name: chart.inputs[name] for name in ("use_cache",) if name in chart.inputs}
    start = chart.inputs.get("decoder_input_ids")
    if isinstance(start, Tensor):
        extra["decoder_input_ids"] = start[:1].expand(rows, -1)
    return extra


def _strangers(chart: Chart, count: int, seed: int) -> list[int]:
    """Ordinary ids: no special ones, since models find pads, ends and images by them."""
    assert chart.ids is not None
    table = chart.embedding()
    size = table.weight.shape[0] if table is not None else int(chart.ids.max()) + 1
    special = {*getattr(chart.tokenizer, "all_special_ids", ()), chart.pad()}
    special |= {x for n, x in vars(chart.config or object).items() if n.endswith("token_id") and isinstance(x, int)}
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[: 4 * count + len(special)].tolist()
    return [i for i in order if i not in special][:count]


def _implementation(chart: Chart) -> str:
    return str(getattr(chart.config, "_attn_implementation", None) or type(chart.model).__name__)


def mask_is_followed(chart: Chart) -> None:
    """Other ids where the mask says 0 must not change what the rest gives."""
    if not _takes(chart, "attention_mask"):
        chart.not_examined.append("whether the mask is followed: the model's forward takes no attention_mask")
        return
    seen, device = chart.visible()[:_PROBE], chart.inputs["input_ids"].device
    keep = torch.tensor([[False] * _HIDDEN + [True] * len(seen)])
    answers = []
    for seed in (5, 6):
        hidden = _strangers(chart, _HIDDEN, seed)
        ids = torch.tensor([[*hidden, *seen]], device=device)
        answers.append(attempt(chart.model, {"input_ids": ids, "attention_mask": keep.long().to(device), **_besides(chart, 1)}))  # fmt: skip
    one, other = answers
    if one is None or other is None or len(hidden) < _HIDDEN:
        chart.not_examined.append(
            "whether the mask is followed: the model does not run on a padded row of its own text"
        )
        return
    far = apart(*(places(x, keep.shape, keep, _decoder(chart)) for x in (other, one)))
    if far > tolerance(one):
        _ignored(chart, f"a row with {_HIDDEN} tokens hidden by attention_mask: other ids there change the visible outputs by up to {far:.3g} standard deviations", "the padding mask")  # fmt: skip


def order_is_followed(chart: Chart) -> None:
    """In a causal model later ids must not change what earlier positions give."""
    assert chart.ids is not None
    device, name = chart.inputs["input_ids"].device, "input_ids"
    ids = chart.visible()[:_PROBE]
    if _decoder(chart):
        if "decoder_input_ids" not in chart.inputs:
            return
        name = "decoder_input_ids"
        ids = [int(chart.inputs[name][0, 0]), *_strangers(chart, _PROBE - 1, 4)]
    elif not _causal(chart.model):
        return
    chart.conventions["causal"] = "the decoder" if _decoder(chart) else "yes"
    cut = len(ids) // 2
    if cut == 0:
        chart.not_examined.append("whether later tokens are hidden: the text has one token")
        return
    inputs = {"input_ids": torch.tensor([ids], device=device)} if not _decoder(chart) else {"input_ids": chart.inputs["input_ids"][:1]}  # fmt: skip
    answers = []
    for tail in (ids[cut:], _strangers(chart, len(ids) - cut, 8)):
        row = torch.tensor([[*ids[:cut], *tail]], device=device)
        answers.append(attempt(chart.model, {**inputs, **_besides(chart, 1), name: row}))
    one, other = answers
    earlier = [[x[:, :cut] for n, x in (a or {}).items() if x.ndim >= 3 and x.shape[1] == len(ids) and not n.startswith("encoder")] for a in (other, one)]  # fmt: skip
    if one is None or other is None or not earlier[0]:
        chart.not_examined.append("whether later tokens are hidden: the model gives no output for each position")
        return
    far = apart(*earlier)
    if far > tolerance(one):
        _ignored(chart, f"other ids from position {cut} on change the outputs before it by up to {far:.3g} standard deviations, in a causal model", "the causal mask")  # fmt: skip


def _causal(model: nn.Module) -> bool:
    """Whether its attention modules say that they are causal; without a word, whether it generates text."""
    said = [m.is_causal for m in model.modules() if isinstance(getattr(m, "is_causal", None), bool)]
    if getattr(getattr(model, "config", None), "use_bidirectional_attention", False):
        return False
    return bool(said) and all(said)


def _ignored(chart: Chart, evidence: str, what: str) -> None:
    name = _implementation(chart)
    if chart.found("mask-ignored"):
        return
    chart.find(
        "mask-ignored", f"the attention implementation {name!r} does not follow {what}",
        why="Tokens that were hidden are attended to: pads dilute every row, and a causal model sees what it is to predict.",
        evidence=evidence,
        cure=f'model.set_attn_implementation("sdpa"); for an implementation of your own: transformers.AttentionMaskInterface.register({name!r}, transformers.masking_utils.sdpa_mask), and use the attention_mask that it is given',
        invariant="what the mask hides does not change the output", place="the attention function",
    )  # fmt: skip


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
    if not bool(shown.any()) or not _takes(chart, "attention_mask") or not bool(keep.any(1).all()):
        return
    right = mask & keep
    fixed = attempt(chart.model, {**chart.inputs, "attention_mask": right.long().to(chart.inputs["input_ids"].device)})
    if fixed is None:
        chart.not_examined.append("pads: the model does not run with the pads masked")
        return
    far = apart(*(places(x, keep.shape, right, _decoder(chart)) for x in (outputs, fixed)))
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
    if _takes(chart, "position_ids"):
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
    there = places(one, shape, keep[None], _decoder(chart))
    here = places({n: alone[n] for n in one}, (1, int(keep.sum())), torch.ones(1, int(keep.sum()), dtype=torch.bool), _decoder(chart))  # fmt: skip
    return apart(there, here) if len(there) == len(here) else -1.0
