"""Whether masks are followed: exchange the hidden tokens for others, and nothing else may change."""

from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.runs import Outputs, at_positions, attempt, distance, tolerance

_HIDDEN = 3  # tokens that the probe hides
_VISIBLE = 8  # tokens that the probe shows


def causal_mask_is_followed(case: Case) -> None:
    """In a causal model later ids must not change the outputs at earlier positions."""
    assert case.ids is not None
    device, name = case.inputs["input_ids"].device, "input_ids"
    ids = case.visible_ids()[:_VISIBLE]
    context = _probe_context(case)
    if case.decoder:
        if "decoder_input_ids" not in case.inputs:
            return
        name = "decoder_input_ids"
        context["input_ids"] = case.inputs["input_ids"][:1]
        ids = [int(case.inputs[name][0, 0]), *_ordinary_ids(case, _VISIBLE - 1, 4)]
    elif not _causal(case.model):
        return
    case.conventions["causal"] = "the decoder" if case.decoder else "yes"
    cut = len(ids) // 2
    if cut == 0:
        case.not_examined.append("whether later tokens are hidden: the text has one token")
        return
    runs = []
    for later in (ids[cut:], _ordinary_ids(case, len(ids) - cut, 8)):
        row = torch.tensor([[*ids[:cut], *later]], device=device)
        runs.append(attempt(case.model, {**context, name: row}))
    one, other = runs
    if one is None or other is None or not _earlier(one, len(ids), cut):
        case.not_examined.append("whether later tokens are hidden: the model gives no output for each position")
        return
    change = distance(_earlier(other, len(ids), cut), _earlier(one, len(ids), cut))
    if change > tolerance(one):
        evidence = (
            f"other ids from position {cut} on change the outputs before it by up to {change:.3g} standard deviations"
        )
        _report(case, "causal mask", evidence)


def padding_mask_is_followed(case: Case) -> None:
    """Other ids where the mask is 0 must not change the outputs where it is 1."""
    if case.found("model-ignores-mask"):
        return
    if not case.takes("attention_mask"):
        case.not_examined.append("whether the mask is followed: the model's forward takes no attention_mask")
        return
    visible, device = case.visible_ids()[:_VISIBLE], case.inputs["input_ids"].device
    keep = torch.tensor([[False] * _HIDDEN + [True] * len(visible)])
    runs = []
    for seed in (5, 6):
        hidden = _ordinary_ids(case, _HIDDEN, seed)
        ids = torch.tensor([[*hidden, *visible]], device=device)
        inputs = {"input_ids": ids, "attention_mask": keep.long().to(device), **_probe_context(case)}
        runs.append(attempt(case.model, inputs))
    one, other = runs
    if one is None or other is None or len(hidden) < _HIDDEN:
        case.not_examined.append("whether the mask is followed: the model does not run on a padded row of its own text")
        return
    change = distance(*(at_positions(x, keep.shape, keep, case.decoder) for x in (other, one)))
    if change > tolerance(one):
        evidence = (
            f"in a row with {_HIDDEN} tokens hidden by attention_mask, other ids in their place change "
            f"the visible outputs by up to {change:.3g} standard deviations"
        )
        _report(case, "padding mask", evidence)


def _report(case: Case, mask: str, evidence: str) -> None:
    """An error where this input has something to hide, a warning where only another one would."""
    padded = case.mask is not None and not bool(case.mask.all())
    name = "model-ignores-mask" if padded or mask == "causal mask" else "model-ignores-padding"
    implementation = str(getattr(case.config, "_attn_implementation", None) or type(case.model).__name__)
    case.report(name, mask=mask, implementation=repr(implementation), evidence=evidence)


def _probe_context(case: Case) -> dict[str, Any]:
    """Inputs that a probe of one row needs besides ids and mask."""
    extra: dict[str, Any] = {name: case.inputs[name] for name in ("use_cache",) if name in case.inputs}
    start = case.inputs.get("decoder_input_ids")
    if isinstance(start, Tensor):
        extra["decoder_input_ids"] = start[:1]
    return extra


def _ordinary_ids(case: Case, count: int, seed: int) -> list[int]:
    """Random ids without the special ones: models find pads, ends and images by those."""
    assert case.ids is not None
    table = case.embedding()
    size = table.weight.shape[0] if table is not None else int(case.ids.max()) + 1
    special = {*getattr(case.tokenizer, "all_special_ids", ()), case.pad_token()}
    special |= {x for n, x in vars(case.config or object).items() if n.endswith("token_id") and isinstance(x, int)}
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[: 4 * count + len(special)].tolist()
    return [i for i in order if i not in special][:count]


def _earlier(outputs: Outputs, length: int, cut: int) -> list[Tensor]:
    """The outputs [B, T, …] of `length` positions, before position `cut`; the decoder's, where there is one."""
    return [
        x[:, :cut]
        for name, x in outputs.items()
        if x.ndim >= 3 and x.shape[1] == length and not name.startswith("encoder")
    ]


def _causal(model: nn.Module) -> bool:
    """Whether all its attention modules declare that they are causal."""
    declared = [m.is_causal for m in model.modules() if isinstance(getattr(m, "is_causal", None), bool)]
    if getattr(getattr(model, "config", None), "use_bidirectional_attention", False):
        return False
    return bool(declared) and all(declared)
