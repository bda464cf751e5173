import torch
import torch.nn as nn
import torch.nn.functional as F


class StoryAttention(nn.Module):
    def __init__(self, width: int, n_head: int):
        super().__init__()
        self.n_head = n_head
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, s, w = x.shape
        q, k, v = self.in_proj(x).chunk(3, dim=-1)
        q = q.unflatten(-1, (self.n_head, -1)).transpose(1, 2)
        k = k.unflatten(-1, (self.n_head, -1)).transpose(1, 2)
        v = v.unflatten(-1, (self.n_head, -1)).transpose(1, 2)
        causal_mask = torch.triu(torch.ones(s, s, dtype=torch.bool, device=x.device), diagonal=1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=causal_mask)
        return self.out_proj(y.transpose(1, 2).flatten(2))
