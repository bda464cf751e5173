import torch
from torch import nn


def turn(x, base=10_000.0):
    """Rotary position, adjacent pairs. x: (..., time, dim)"""
    t, d = x.shape[-2:]
    ang = torch.arange(t, device=x.device)[:, None] * base ** (-torch.arange(0, d, 2, device=x.device) / d)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * ang.cos() - odd * ang.sin(), even * ang.sin() + odd * ang.cos()), -1).flatten(-2)


class SharedKVAttention(nn.Module):
    def __init__(self, width=42, n_head=7):
        super().__init__()
        self.width, self.n_head, self.dh = width, n_head, width // n_head
        self.c_attn = nn.Linear(width, width + 2 * self.dh)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x):
        B, T, _ = x.shape
        q, k, v = self.c_attn(x).split((self.width, self.dh, self.dh), dim=-1)
        q = turn(q.view(B, T, self.n_head, self.dh).permute(0, 2, 1, 3))
        k = turn(k)
        q = q.reshape(B, self.n_head * T, self.dh)
        w = torch.bmm(q, k.transpose(1, 2)).view(B, self.n_head, T, T) / self.dh**0.5
        future = torch.ones(T, T, device=x.device).triu(1).bool()
        w = w.masked_fill(future, torch.finfo(w.dtype).min).softmax(-1)
        y = torch.bmm(w.view(B, self.n_head * T, T), v).view(B, self.n_head, T, self.dh)
        return self.c_proj(y.permute(0, 2, 1, 3).reshape(B, T, self.width))
