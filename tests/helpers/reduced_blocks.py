"""The full matrix of a head, reduced block by block with numpy, as its tiles should be."""

import numpy as np
import torch

from attnscope.tracing.site import Site
from drawn_sites import weights_of

REDUCE = {"max": np.maximum, "sum": np.add, "mean": np.add}


def blocks_of(weights: torch.Tensor, masked: torch.Tensor, side: int | tuple[int, int], how: str) -> torch.Tensor:
    """[R, C] of weights [Q, K]; -1 where all pairs of a block are `masked`. `side`: of a block, or of its rows and columns."""
    sides = (side, side) if isinstance(side, int) else side
    found, hidden = weights.double().numpy(), masked.numpy()
    count = np.ones(weights.shape)
    for axis, step in enumerate(sides):
        edges = np.arange(0, weights.shape[axis], step)
        found = REDUCE[how].reduceat(found, edges, axis)
        hidden = np.logical_and.reduceat(hidden, edges, axis)
        count = np.add.reduceat(count, edges, axis)
    return torch.from_numpy(np.where(hidden, -1.0, found / count if how == "mean" else found))


def shown_weights_of(site: Site) -> torch.Tensor:
    """All weights in fp64, from the definition; rows that see no key as their implementation has them."""
    weights, _ = weights_of(site)
    seen = site.mask.allowed(torch.arange(site.queries), site.keys).any(-1)
    if site.mask.uniform_empty_rows and site.sinks is None:
        weights[:, ~seen] = 1 / site.keys
    return weights
