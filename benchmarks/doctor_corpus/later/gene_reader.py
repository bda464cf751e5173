import torch
from torch import einsum, nn


class GeneAttention(nn.Module):
    def __init__(self, dim=31, heads=3, dim_head=12):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_k = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_v = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * dim_head, dim), nn.Dropout(0.1))

    def forward(self, x, mask=None):
        # mask: (batch, genes), True = expressed
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)) for f in (self.to_q, self.to_k, self.to_v))
        dots = einsum("b i h d, b j h d -> b h i j", q, k)
        if mask is not None:
            dots = dots.masked_fill(~mask[:, None, :, None].bool(), torch.finfo(dots.dtype).min)
        attn = dots.softmax(dim=-1)
        out = einsum("b h i j, b j h d -> b i h d", attn, v)
        return self.to_out(out.flatten(-2)), attn
