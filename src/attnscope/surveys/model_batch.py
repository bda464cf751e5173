"""Texts of equal length through the model, and what the weights of its heads come to."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from attnscope.capturing import Recorder
from attnscope.errors import AttnscopeError, CaptureError
from attnscope.head_roles.batches import Head, heads_of, read, sites_of_text, trace_of, vouch
from attnscope.surveys.batch_numbers import LONGEST, BatchNumbers, Numbers, TokenCells, numbers_of_text
from attnscope.surveys.encode import Text
from attnscope.surveys.further_numbers import further_numbers
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens


def numbers_of(
    model: nn.Module,
    texts: Sequence[Text],
    checked: int,
    further: Sequence[str] = (),
    named: Callable[[Text], Tokens] | None = None,
) -> tuple[tuple[Head, ...], Numbers]:
    """The heads, and their statistics in each of the texts, which have as many tokens: no padding.

    `checked`: whose receipt is looked at. `further`: statistics on request, behind the others. `named`: the tokens of a text
    by their pieces, for these. Raises CaptureError where the weights do not reproduce what the model computed,
    or where it has no attention over the tokens of a text.
    """
    recorder = read(model, texts)
    heads, numbers = _of_model_level(model, recorder, texts, checked)
    if not further or named is None:
        return heads, numbers
    pairs = [
        further_numbers(sites_of_text(trace_of(recorder, texts, row), len(text)), named(text), further)
        for row, text in enumerate(texts)
    ]
    values, counts = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    more = {"values": torch.cat([numbers.values, values], -1), "counts": torch.cat([numbers.counts, counts], -1)}
    return heads, replace(numbers, **more)


def _of_model_level(
    model: nn.Module, recorder: Recorder, texts: Sequence[Text], checked: int
) -> tuple[tuple[Head, ...], Numbers]:
    """The statistics of NAMES."""
    trace = trace_of(recorder, texts, checked)
    sites = sites_of_text(trace, len(texts[0]))
    if not sites:
        raise CaptureError(f"{type(model).__name__} has no self-attention over the tokens of a text.")
    vouch(sites)
    heads = heads_of(sites)
    if len(texts[0]) > LONGEST or (together := _together(recorder, texts, sites)) is None:
        return heads, _joined([_one_by_one(recorder, texts, row, heads) for row in range(len(texts))], 0)
    return heads, _joined(together, 1)


def _together(recorder: Recorder, texts: Sequence[Text], sites: Sequence[Site]) -> list[Numbers] | None:
    """All texts at once, layer after layer; None where they differ in more than their numbers."""
    device = next(iter(sites[0].kept.values())).device
    ids = torch.tensor([text.ids for text in texts], device=device)
    special = torch.tensor([text.special for text in texts], device=device)
    batch, found = BatchNumbers(TokenCells(ids, special)), list[Numbers]()
    for site in sites:
        if (whole := recorder.whole_batch(site)) is None:
            return None
        found.append(batch.of_layer(site, *whole))
    return found


def _one_by_one(recorder: Recorder, texts: Sequence[Text], row: int, heads: tuple[Head, ...]) -> Numbers:
    sites = sites_of_text(trace_of(recorder, texts, row), len(texts[row]))
    if heads_of(sites) != heads:
        raise AttnscopeError("the model has other heads in one text than in another, so they cannot be added up.")
    return numbers_of_text(
        sites, Tokens(tuple(map(str, texts[row].ids)), tuple(texts[row].ids), tuple(texts[row].special))
    )


def _joined(parts: Sequence[Numbers], axis: int) -> Numbers:
    names = ("values", "counts", "link", "query", "key")
    return Numbers(*(torch.cat([getattr(part, name) for part in parts], axis) for name in names))
