import torch
from torch import nn


def sinusoid(n, dim, device=None):
    inv = 10000.0 ** (-torch.arange(0, dim, 2, device=device).float() / dim)
    angle = torch.arange(n, device=device).float()[:, None] * inv[None, :]
    angle = torch.cat((angle, angle), dim=-1)
    return angle.sin(), angle.cos()


def rotate_every_two(x):
    return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)


class WriterAttention(nn.Module):
    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.q_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        self.k_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        self.v_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, hidden):
        b, n, e = hidden.shape
        shape = (b, n, self.num_heads, self.head_dim)
        q = self.q_proj(hidden).view(shape).permute(0, 2, 1, 3)
        k = self.k_proj(hidden).view(shape).permute(0, 2, 1, 3)
        v = self.v_proj(hidden).view(shape).permute(0, 2, 1, 3)
        sin, cos = sinusoid(n, self.head_dim, hidden.device)
        q = q * cos + rotate_every_two(q) * sin
        k = k * cos + rotate_every_two(k) * sin
        w = torch.matmul(q, k.transpose(-1, -2)) / self.head_dim**0.5
        later = torch.arange(n)[None, :] > torch.arange(n)[:, None]
        w = torch.where(later.to(w.device), torch.finfo(w.dtype).min, w)
        w = torch.softmax(w.float(), dim=-1).to(v.dtype)
        return self.out_proj((w @ v).permute(0, 2, 1, 3).reshape(b, n, e)), w
