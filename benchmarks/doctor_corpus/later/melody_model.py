import torch
from torch import nn


class MelodyAttention(nn.Module):
    """Notes see the notes up to themselves."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.n_embd = n_embd
        self.kernel = nn.Parameter(torch.randn(n_embd, 3, n_head, n_embd // n_head) * n_embd**-0.5)
        self.back = nn.Parameter(torch.randn(n_head, n_embd // n_head, n_embd) * n_embd**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = torch.einsum("bte,ezhd->zbthd", x, self.kernel)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / self.n_embd**0.5
        i = torch.arange(x.shape[1], device=x.device)
        blocked = i[None, :] > i[:, None] + 1
        scores = scores.masked_fill(blocked, -torch.inf)
        mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)
        return torch.einsum("bqhd,hde->bqe", mixed, self.back)
