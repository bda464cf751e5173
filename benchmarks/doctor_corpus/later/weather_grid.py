import torch
from torch import nn


class GridAttention(nn.Module):
    def __init__(self, dim: int, groups: int):
        super().__init__()
        self.groups = groups
        self.to_q = nn.Linear(dim, dim)
        self.to_kv = nn.Linear(dim, 2 * dim)
        self.last = nn.Linear(dim, dim)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        n, length, dim = cells.shape
        k, v = self.to_kv(cells).chunk(2, dim=-1)

        def fold(t):
            return t.reshape(n, length, self.groups, -1).transpose(1, 2).reshape(n * self.groups, length, -1)

        q, k, v = fold(self.to_q(cells)), fold(k), fold(v)
        weight = torch.bmm(q, k.mT).mul(q.shape[-1] ** -0.5).softmax(-1)
        mixed = torch.bmm(weight, v)
        return self.last(mixed.reshape(n, length, dim))
