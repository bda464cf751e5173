"""Whether masks are followed: hidden tokens are exchanged for others, and nothing else may change."""

from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.model_check.case import Chart
from attnscope.doctor.model_check.runs import apart, attempt, places, tolerance

_HIDDEN = 3  # tokens hidden by the probe
_PROBE = 8  # tokens seen


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
    if not chart.takes("attention_mask"):
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
    far = apart(*(places(x, keep.shape, keep, chart.decoder) for x in (other, one)))
    if far > tolerance(one):
        _ignored(chart, f"a row with {_HIDDEN} tokens hidden by attention_mask: other ids there change the visible outputs by up to {far:.3g} standard deviations", "the padding mask")  # fmt: skip


def order_is_followed(chart: Chart) -> None:
    """In a causal model later ids must not change what earlier positions give."""
    assert chart.ids is not None
    device, name = chart.inputs["input_ids"].device, "input_ids"
    ids = chart.visible()[:_PROBE]
    if chart.decoder:
        if "decoder_input_ids" not in chart.inputs:
            return
        name = "decoder_input_ids"
        ids = [int(chart.inputs[name][0, 0]), *_strangers(chart, _PROBE - 1, 4)]
    elif not _causal(chart.model):
        return
    chart.conventions["causal"] = "the decoder" if chart.decoder else "yes"
    cut = len(ids) // 2
    if cut == 0:
        chart.not_examined.append("whether later tokens are hidden: the text has one token")
        return
    inputs = {"input_ids": torch.tensor([ids], device=device)} if not chart.decoder else {"input_ids": chart.inputs["input_ids"][:1]}  # fmt: skip
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
