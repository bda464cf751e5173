"""Windows, frames and crops: rows of a batch that are parts of one row of what the model was given.

Swin puts its windows there, TimeSformer the frames of a video, Idefics3 the crops of an image. They are laid out one
after another, each seeing itself alone, so that no part poses as the whole.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from attnscope.capturing.listen.reads import Reads
from attnscope.capturing.records import Record, WeightsRecord
from attnscope.tracing.masks import BiasRule, MaskRule, rule_of

MOST = 1024  # positions that are laid out; of more, the first part alone is shown


def rows_of(reads: Reads, records: Sequence[Record | WeightsRecord]) -> int:
    """How many rows the batch of a pass has, as the model was given them."""
    least = min(record.batch for record in records)
    for name in ("input_ids", *reads.given):
        if name in reads.given:
            return len(reads.given[name])
    if least in reads.first | reads.second:
        return least
    return max((size for size in reads.first if least % size == 0), default=least)


def parts_of(record: Record | WeightsRecord, reads: Reads, rows: int) -> int:
    """How many rows of this call are parts of one row of the pass; 1 where its rows are those of the pass."""
    whole = record.batch <= rows or record.batch % rows != 0 or (rows > 1 and record.batch in reads.first)
    return 1 if whole else record.batch // rows


def one_after_another(tensor: Shaped[Tensor, "B H T *rest"], parts: range) -> Shaped[Tensor, "H P_T *rest"]:
    """These rows of a batch of heads, joined along their positions."""
    return tensor[parts.start : parts.stop].transpose(0, 1).flatten(1, 2)


def block_mask(rules: Sequence[MaskRule], queries: int, keys: int) -> MaskRule:
    """Each part sees what its own rule lets it see of itself, and nothing of the others."""
    rows = torch.arange(queries)
    each = [rule.allowed(rows, keys).reshape(-1, queries, keys) for rule in rules]
    heads = max(map(len, each))
    return rule_of(_blocks([one.expand(heads, -1, -1) for one in each]))


def block_bias(biases: Sequence[BiasRule | None], queries: int, keys: int) -> BiasRule | None:
    """The position biases of the parts, at their places."""
    there = next((bias for bias in biases if bias is not None), None)
    if there is None:
        return None
    rows = torch.arange(queries)
    each = [None if bias is None else bias.values(rows, queries, keys, None) for bias in biases]
    shape = next(one.shape for one in each if one is not None)
    return BiasRule(cells=_blocks([torch.zeros(shape) if one is None else one.float() for one in each]))


def block_weights(weights: Float[Tensor, "P H Q K"]) -> Float[Tensor, "H P_Q P_K"]:
    """The weights of the parts, at their places."""
    return _blocks(list(weights))


def _blocks(each: Sequence[Shaped[Tensor, "H Q K"]]) -> Shaped[Tensor, "H P_Q P_K"]:
    return torch.stack([torch.block_diag(*(one[head] for one in each)) for head in range(len(each[0]))]).to(
        each[0].dtype
    )
