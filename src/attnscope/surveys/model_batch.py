"""Texts of equal length through the model, and what the weights of its heads come to."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from attnscope.capturing import Recorder
from attnscope.errors import AttnscopeError, CaptureError
from attnscope.head_roles.looking import reads_text
from attnscope.models.encoding import accepts, wanted_by
from attnscope.surveys.batch_numbers import LONGEST, BatchNumbers, Numbers, TokenCells, numbers_of_text
from attnscope.surveys.encode import Text
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

Head = tuple[int, int]


def numbers_of(model: nn.Module, texts: Sequence[Text], checked: int) -> tuple[tuple[Head, ...], Numbers]:
    """The heads, and their statistics in each of the texts, which have as many tokens: no padding.

    `checked`: whose receipt is looked at. Raises CaptureError where the weights do not reproduce what the model computed,
    or where it has no attention over the tokens of a text.
    """
    recorder = _run(model, texts)
    trace = _trace(recorder, texts, checked)
    sites = [site for site in trace.sites if reads_text(site, len(texts[0]))]
    if not sites:
        raise CaptureError(f"{type(model).__name__} has no self-attention over the tokens of a text.")
    for site in sites:
        if (found := site.verify()).status == "failed":
            raise CaptureError(
                f"the weights of {site.name} do not reproduce what the model computed (error {found.max_error:.2g}, allowed "
                f"{found.tolerance:.2g}), so nothing is said about its heads."
            )
    heads = tuple((site.layer, head) for site in sites for head in range(site.heads))
    together = dict(zip(map(id, trace.sites), recorder.whole_batch(trace), strict=True))
    whole = [together[id(site)] for site in sites]
    if len(texts[0]) > LONGEST or any(site is None for site in whole):
        each = [_one_by_one(recorder, texts, row, heads) for row in range(len(texts))]
        return heads, _joined(each, 0)
    device = next(iter(sites[0].kept.values())).device
    ids = torch.tensor([text.ids for text in texts], device=device)
    special = torch.tensor([text.special for text in texts], device=device)
    batch = BatchNumbers(TokenCells(ids, special))
    return heads, _joined([batch.of_layer(site) for site in whole if site is not None], 1)


def _run(model: nn.Module, texts: Sequence[Text]) -> Recorder:
    device = next(model.parameters()).device
    inputs: dict[str, Any] = {
        name: torch.tensor([text.inputs[name] for text in texts], device=device) for name in texts[0].inputs
    }
    inputs = wanted_by(model, inputs)
    if accepts(model, "logits_to_keep"):
        inputs["logits_to_keep"] = 1  # no logits are read
    if accepts(model, "use_cache"):
        inputs["use_cache"] = False
    recorder = Recorder(model, own_thread=True)
    recorder.open()
    try:
        model(**inputs)
    finally:
        recorder.close()
    return recorder


def _trace(recorder: Recorder, texts: Sequence[Text], row: int) -> Trace:
    text = texts[row]
    names = Tokens(tuple(map(str, text.ids)), tuple(text.ids), text.special)
    return recorder.trace(tokens=names, index=row)


def _one_by_one(recorder: Recorder, texts: Sequence[Text], row: int, heads: tuple[Head, ...]) -> Numbers:
    sites = [site for site in _trace(recorder, texts, row).sites if reads_text(site, len(texts[row]))]
    if tuple((site.layer, head) for site in sites for head in range(site.heads)) != heads:
        raise AttnscopeError("the model has other heads in one text than in another, so they cannot be added up.")
    return numbers_of_text(sites, texts[row].ids, texts[row].special)


def _joined(parts: Sequence[Numbers], axis: int) -> Numbers:
    names = ("values", "counts", "link", "query", "key")
    return Numbers(*(torch.cat([getattr(part, name) for part in parts], axis) for name in names))
