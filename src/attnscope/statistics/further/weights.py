"""Numbers of single rows of weights: how evenly they spread, and how much of them lies where."""

import torch
from torch import Tensor

from attnscope.statistics.further.block import HeadBlock

MUCH = 0.3  # of a query's weight: from here on Gu et al. 2024 call the first token its sink


def entropy_normalised(block: HeadBlock) -> tuple[Tensor, Tensor]:
    """Over queries that have a choice. A learned sink is one more key."""
    rows = torch.special.entr(block.weights).sum(-1)
    choices = block.allowed.sum(-1)
    if block.sink is not None:
        rows, choices = rows + torch.special.entr(block.sink), choices + 1
    asked = block.counted & (choices > 1)
    parts = rows / choices.clamp_min(2).double().log()
    return torch.where(asked, parts, 0.0).sum(-1), asked.sum(-1, dtype=torch.float64)


def first_often(block: HeadBlock) -> tuple[Tensor, Tensor]:
    if block.run.sight.first > 0:
        nothing = torch.zeros(len(block.weights), dtype=torch.float64)
        return nothing, nothing
    seeing = block.counted & block.allowed[..., 0]
    return (seeing & (block.weights[..., 0] > MUCH)).sum(-1, dtype=torch.float64), seeing.sum(-1, dtype=torch.float64)


def on_punctuation(block: HeadBlock) -> tuple[Tensor, Tensor]:
    return block.on(block.run.setting.punctuation)


def on_newlines(block: HeadBlock) -> tuple[Tensor, Tensor]:
    return block.on(block.run.setting.newlines)


def share_first(block: HeadBlock) -> tuple[Tensor, Tensor]:
    return block.on(torch.arange(block.run.setting.site.keys) == 0, block.shares)


def share_special(block: HeadBlock) -> tuple[Tensor, Tensor]:
    return block.on(block.run.setting.special, block.shares)


def share_itself(block: HeadBlock) -> tuple[Tensor, Tensor]:
    return block.at_own(block.shares)
