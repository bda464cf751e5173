"""Windows, frames, crops and chunks: parts of one row of what the model was given.

Swin puts its windows into the batch, TimeSformer the frames of a video, Idefics3 the crops of an image; Canine calls a layer once for
each chunk of its text. They are laid out one after another, each seeing itself alone, so that no part poses as the whole.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from attnscope.capturing.listen.reads import Reads
from attnscope.capturing.records import Pass, Record, WeightsRecord
from attnscope.tracing.biases import BiasRule
from attnscope.tracing.masks import MaskRule, rule_of

# Positions that are laid out; of more, as many parts as fit. Without q and k each pair is a number, so fewer.
_MOST, _MOST_WEIGHTS = 8192, 1024


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


def shown_parts(record: Record | WeightsRecord, parts: int, first: int) -> range:
    """Which of the `parts` are laid out: all, where they are not too long together, else as many as fit, from `first` on."""
    if parts == 1:
        return range(1)
    if isinstance(record, WeightsRecord):
        most, longest = _MOST_WEIGHTS, max(record.weights.shape[2:])
    else:
        most, longest = _MOST, max(record.query.shape[2], record.key_value(0)[0].shape[1])
    count = 1 if spreads(record) else min(parts, max(1, most // longest))
    start = min(first, parts - count)
    return range(start, start + count)


def chunks_of(chosen: Pass) -> list[list[Record]]:
    """Of modules that were called once for each chunk of the text: their calls, one after another.

    They are chunks where each call attends within itself, and all together are as long as what the model was given.
    """
    reads, calls = chosen.reads, defaultdict(list)
    for record in chosen.records:
        calls[record.path].append(record)
    ids = reads.given.get("input_ids")
    whole = reads.second if ids is None else {ids.shape[1]}
    several = [each for each in calls.values() if len(each) > 1]
    if not several or reads.cached or reads.image is not None or reads.sizes:
        return []
    found = []
    for each in several:
        calls = [one for one in each if isinstance(one, Record) and _within_itself(one)]
        whole_text = len(calls) == len(each) and sum(one.query.shape[2] for one in calls) in whole
        if whole_text and not any(map(spreads, calls)):
            found.append(calls)
    return found


def _within_itself(record: Record) -> bool:
    return not record.cross and record.key_value(0)[0].shape[1] == record.query.shape[2]


def spreads(record: Record | WeightsRecord) -> bool:
    """Whether there is a query without any key, that spreads over all of its part: over other parts too, if they were joined."""
    if not isinstance(record, Record):
        return False
    rules = [rule for rule, _ in record.rules.pairs if rule.uniform_empty_rows]
    if not rules:
        return False
    rows, keys = torch.arange(record.query.shape[2]), record.key_value(0)[0].shape[1]
    return not all(bool(rule.allowed(rows, keys).any(-1).all()) for rule in rules)


def block_mask(rules: Sequence[MaskRule], sizes: Sequence[tuple[int, int]]) -> MaskRule:
    """Each part sees what its own rule lets it see of itself, and nothing of the others. `sizes`: Q and K of each."""
    each = [
        rule.allowed(torch.arange(queries), keys).reshape(-1, queries, keys)
        for rule, (queries, keys) in zip(rules, sizes, strict=True)
    ]
    heads = max(map(len, each))
    return rule_of(_blocks([one.expand(heads, -1, -1) for one in each]))


def block_bias(biases: Sequence[BiasRule | None], sizes: Sequence[tuple[int, int]]) -> BiasRule | None:
    """The position biases of the parts, at their places. `sizes`: Q and K of each."""
    each = [
        None if bias is None else bias.values(torch.arange(queries), queries, keys, None).float()
        for bias, (queries, keys) in zip(biases, sizes, strict=True)
    ]
    heads = max((len(one) for one in each if one is not None), default=0)
    if not heads:
        return None
    filled = (torch.zeros(1, *size) if one is None else one for one, size in zip(each, sizes, strict=True))
    blocks = [one.expand(heads, -1, -1) for one in filled]
    return BiasRule(blocks=torch.stack(blocks, 1)) if len({*sizes}) == 1 else BiasRule(cells=_blocks(blocks))


def block_weights(weights: Float[Tensor, "P H Q K"]) -> Float[Tensor, "H P_Q P_K"]:
    """The weights of the parts, at their places."""
    return _blocks(list(weights))


def _blocks(each: Sequence[Shaped[Tensor, "H _ _"]]) -> Shaped[Tensor, "H P_Q P_K"]:
    return torch.stack([torch.block_diag(*(one[head] for one in each)) for head in range(len(each[0]))]).to(
        each[0].dtype
    )
