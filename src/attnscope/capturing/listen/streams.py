"""Streams that one run of a module attends with beside its main one, all in one product of five axes.

ProphetNet's decoder has one for each of the next tokens that it predicts: their queries see the keys of the main stream, and behind
them the stream's own. A stream is told from a piece of attention (a window, a block of a band) by that: as many queries as the main
call had, and all of its keys first.
"""

from dataclasses import replace

import torch
from torch import Tensor

from attnscope.capturing.listen.attention_interface import AttentionCall
from attnscope.capturing.listen.score_steps import Scores

_Stream = tuple[Scores, Tensor, Tensor, Tensor, Tensor]


def streams_of(
    main: AttentionCall, scores: Scores, weights: Tensor, used: Tensor, v: Tensor, z: Tensor
) -> list[_Stream]:
    """Scores, weights, the weights as they met the values, v and z of each stream, without the axis of the streams; none where
    these are no streams beside `main`. `weights`: of five axes, [B, streams, H, Q, K] or [B, H, streams, Q, K]."""
    own = main.key.shape[2]
    if scores.key.ndim != 5 or weights.shape[-2:-1] != main.query.shape[2:3] or weights.shape[-2] != own:
        return []
    axis = next((axis for axis in (1, 2) if _begin_with(main.key, scores.key, axis)), None)
    if axis is None or scores.key.shape[-2] <= own:
        return []
    added = scores.added()
    added = None if added is None else added.expand(scores.shape)
    found = []
    for stream in range(weights.shape[axis]):
        query, key, *rest = (x.select(axis, stream) for x in (scores.query, scores.key, weights, used, v, z))
        terms = () if added is None else ((added.select(axis, stream), 1.0),)
        alone = replace(scores, query=query, key=key, shape=rest[0].shape, terms=terms, filled=())
        found.append((alone, *rest))
    return found


def _begin_with(main: Tensor, key: Tensor, axis: int) -> bool:
    """Whether the keys of all streams along this axis begin with those of the main one, [B, H, K, D]."""
    first = (one[..., : main.shape[2], :] for one in key.unbind(axis))
    return all(one.shape == main.shape and torch.equal(one, main) for one in first)
