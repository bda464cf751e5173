"""Whether masks are followed: exchange the hidden tokens for others, and nothing else may change."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.runs import (
    Outputs,
    at_positions,
    attempt_states,
    distance,
    first_change,
    follows_positions,
    mixes_neighbours,
    tolerance,
)

_HIDDEN = 3  # tokens that the probe hides
_VISIBLE = 8  # tokens that the probe shows


def causal_mask_is_followed(case: Case) -> None:
    """In a causal model later ids must not change the outputs at earlier positions."""
    assert case.ids is not None
    device, name = case.inputs["input_ids"].device, "input_ids"
    ids = _beginning(case)
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
        runs.append(attempt_states(case.model, {**context, name: row}))
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
    """Other ids where the mask is 0 must not change the outputs where it is 1.

    They are hidden after the text, where batches of encoders have their pads, and before it where the model is causal
    and never sees what comes later.
    """
    if case.found("model-ignores-mask"):
        return
    if not case.takes("attention_mask"):
        case.not_examined.append("whether the mask is followed: the model's forward takes no attention_mask")
        return
    changed = None
    for before in (True,) if _causal(case.model) else (False, True):
        probe = _hide(case, before)
        if probe is None:
            continue
        changed = changed or probe
        if probe.change > probe.limit:
            changed = probe
            break
        if not before and probe.sees_shown:
            break  # not causal, so that nothing is left to be asked
    if changed is None:
        case.not_examined.append("whether the mask is followed: the model does not run on a padded row of its own text")
        return
    if changed.change <= changed.limit:
        return
    first = first_change(case.model, *changed.inputs, changed.keep, changed.limit)
    if changed.effect > changed.limit and not (changed.by_position and _by_attention(case.model, first)):
        case.not_examined.append(
            "whether the mask is followed everywhere: it changes the outputs, and parts of this model mix positions beside its "
            "attention"
        )
        return
    if "attention_mask" not in inspect.signature(case.model.forward).parameters and changed.effect <= changed.limit:
        case.not_examined.append("whether the mask is followed: the model's forward names no attention_mask")
        return
    evidence = (
        f"in a row with {_HIDDEN} tokens hidden by attention_mask, other ids in their place change "
        f"the visible outputs by up to {changed.change:.3g} standard deviations"
    )
    _report(case, "padding mask", evidence + (f", first in {first[0]}" if first and first[0] else ""))


@dataclass(frozen=True)
class _Probe:
    """What other ids in hidden places change, in standard deviations of the visible outputs."""

    change: float
    limit: float
    by_position: bool  # whether outputs are vectors of positions, and not one vector for the row
    effect: float  # what showing the hidden places changes
    sees_shown: bool  # whether the ids there matter once they are shown
    inputs: tuple[dict[str, Any], dict[str, Any]]  # the two passes, with other ids in hidden places
    keep: Tensor  # bool [1, T]: the visible places


def _hide(case: Case, before: bool) -> _Probe | None:
    """A row of the text with hidden tokens before or after it; None where the model does not run on it."""
    visible, device = _beginning(case), case.inputs["input_ids"].device
    shown = [True] * len(visible)
    keep = torch.tensor([[False] * _HIDDEN + shown if before else shown + [False] * _HIDDEN])
    runs: list[Outputs] = []
    given: list[dict[str, Any]] = []
    for seed, mask in ((5, keep), (6, keep), (5, torch.ones_like(keep)), (6, torch.ones_like(keep))):
        hidden = _ordinary_ids(case, _HIDDEN, seed)
        if len(hidden) < _HIDDEN:
            return None
        ids = torch.tensor([[*hidden, *visible] if before else [*visible, *hidden]], device=device)
        inputs = {"input_ids": ids, "attention_mask": mask.long().to(device), **_probe_context(case)}
        outputs = attempt_states(case.model, inputs)
        if outputs is None:
            return None
        if case.decoder and "decoder_input_ids" not in inputs:  # the decoder then reads these ids themselves
            outputs = {name: x for name, x in outputs.items() if name.startswith("encoder")}
        runs.append(outputs)
        given.append(inputs)
    one, other, shown_one, shown_other = (at_positions(x, keep.shape, keep, case.decoder) for x in runs)
    if not one:
        return None
    by_position = any(follows_positions(x, keep.shape) for x in runs[0].values())
    limit = tolerance(runs[0])
    seen = distance(shown_other, shown_one) > limit
    change, effect = distance(other, one), distance(shown_one, one)
    return _Probe(change, limit, by_position, effect, seen, (given[0], given[1]), keep)


def _by_attention(model: nn.Module, first: tuple[str, bool] | None) -> bool:
    """Whether the change began in attention, and not in a convolution, in pooling, or in an embedding of neighbours."""
    if first is None or mixes_neighbours(model):
        return first is None
    path, shortened = first
    parts = [path, *(f"{type(m).__name__} {name}" for name, m in model.get_submodule(path).named_modules())]
    return not shortened and any("att" in part.lower() for part in parts)


def _beginning(case: Case) -> list[int]:
    """The first ids of the text, and its last: heads that pool look for its end."""
    ids = case.visible_ids()
    return ids if len(ids) <= _VISIBLE else [*ids[: _VISIBLE - 1], ids[-1]]


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
