import torch
from torch import nn


class MoveHistoryAttention(nn.Module):
    """A move may look at itself and at the moves before it. x: (games, moves, features)"""

    def __init__(self, features: int = 36, heads: int = 4):
        super().__init__()
        self.attn = nn.MultiheadAttention(features, heads, batch_first=True)

    def forward(self, x):
        n = x.size(1)
        visible = torch.tril(torch.ones(n, n, dtype=torch.bool, device=x.device))
        out, weights = self.attn(x, x, x, attn_mask=visible, average_attn_weights=False)
        return out, weights
