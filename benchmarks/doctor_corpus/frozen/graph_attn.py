import torch
from torch import Tensor


def node_attention(query: Tensor, key: Tensor, value: Tensor, adjacency: Tensor | None = None):
    """query/key/value [B, N, F]; adjacency [B, N, N] or [N, N], True where there is an edge"""
    e = query @ key.mT / query.size(-1) ** 0.5
    alpha = torch.softmax(e, dim=-1)
    if adjacency is not None:
        alpha = alpha.masked_fill(~adjacency.bool(), 0.0)
    return alpha @ value, alpha
