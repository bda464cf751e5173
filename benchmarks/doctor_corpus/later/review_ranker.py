import torch
import torch.nn as nn


class Head(nn.Module):
    def __init__(self, embed, size):
        super().__init__()
        self.q = nn.Linear(embed, size, bias=False)
        self.k = nn.Linear(embed, size, bias=False)
        self.v = nn.Linear(embed, size, bias=False)
        self.size = size

    def forward(self, x, mask=None):
        wei = self.q(x) @ self.k(x).transpose(1, 2) * self.size ** -0.5
        if mask is not None:
            wei = wei.masked_fill(~mask.bool().unsqueeze(-1), -1e9)
        return torch.softmax(wei, dim=2) @ self.v(x)


class ReviewAttention(nn.Module):
    """mask: (batch, length), True for tokens, False for padding"""

    def __init__(self, embed=33, heads=3):
        super().__init__()
        self.hs = nn.ModuleList(Head(embed, embed // heads) for _ in range(heads))
        self.mix = nn.Linear(embed, embed)

    def forward(self, x, mask=None):
        return self.mix(torch.cat([h(x, mask) for h in self.hs], dim=-1))
