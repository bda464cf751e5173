from typing import Optional, Tuple

import torch
from torch import Tensor, nn


class LatentReader(nn.Module):
    """Latents read a context of another length and width. `context_mask` is True at the positions to read."""

    def __init__(self, latent_dim: int, context_dim: int, heads: int, head_dim: int, value_dim: int):
        super().__init__()
        self.heads = heads
        self.scale = head_dim**-0.5
        self.to_queries = nn.Linear(latent_dim, heads * head_dim, bias=False)
        self.to_keys = nn.Linear(context_dim, heads * head_dim, bias=False)
        self.to_values = nn.Linear(context_dim, heads * value_dim, bias=False)
        self.to_out = nn.Linear(heads * value_dim, latent_dim)

    def forward(self, x: Tensor, context: Tensor, context_mask: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        q = self.to_queries(x).unflatten(2, (self.heads, -1))
        k = self.to_keys(context).unflatten(2, (self.heads, -1))
        v = self.to_values(context).unflatten(2, (self.heads, -1))
        sim = torch.einsum("b i h d, b j h d -> b h i j", q * self.scale, k)
        if context_mask is not None:
            sim = sim.masked_fill(~context_mask[:, None, None, :], -torch.finfo(sim.dtype).max)
        attn = sim.softmax(dim=-1)
        out = torch.einsum("b h i j, b j h e -> b i h e", attn, v)
        return attn, self.to_out(out.flatten(2))
