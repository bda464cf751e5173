from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Config:
    dim: int = 48
    n_heads: int = 6
    n_kv_heads: int = 2
    rope_base: float = 10000.0


def rope_tables(n: int, d: int, base: float, device=None):
    inv = base ** (-torch.arange(0, d, 2, device=device).float() / d)
    ang = torch.outer(torch.arange(n, device=device).float(), inv)
    ang = torch.cat([ang, ang], dim=-1)
    return ang.cos(), ang.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat([-b, a], dim=-1) * sin.to(x.dtype)


class GroupedAttention(nn.Module):
    def __init__(self, dim=48, n_heads=6, n_kv_heads=2, rope_base=10000.0):
        super().__init__()
        self.cfg = Config(dim, n_heads, n_kv_heads, rope_base)
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads
        self.head_dim = dim // n_heads
        self.wq = nn.Linear(dim, n_heads * self.head_dim, bias=False)
        self.wk = nn.Linear(dim, n_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(dim, n_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(n_heads * self.head_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q = self.wq(x).view(b, t, self.n_heads, self.head_dim).transpose(1, 2)
        k = self.wk(x).view(b, t, self.n_kv_heads, self.head_dim).transpose(1, 2)
        v = self.wv(x).view(b, t, self.n_kv_heads, self.head_dim).transpose(1, 2)
        cos, sin = rope_tables(t, self.head_dim, self.cfg.rope_base, x.device)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        g = self.n_heads // self.n_kv_heads
        k = k[:, :, None].expand(b, self.n_kv_heads, g, t, self.head_dim).reshape(b, self.n_heads, t, self.head_dim)
        v = v[:, :, None].expand(b, self.n_kv_heads, g, t, self.head_dim).reshape(b, self.n_heads, t, self.head_dim)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(o.transpose(1, 2).reshape(b, t, -1))
