import torch
import torch.nn as nn


class FrameAttention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.c, self.heads, self.dh = c, heads, c // heads
        self.qkv = nn.Linear(c, 3 * c)
        self.proj = nn.Linear(c, c)

    def forward(self, clip):
        # clip: (batch, frames, c)
        n, f, c = clip.shape
        x = clip.reshape(f, n, c)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q.reshape(f, n * self.heads, self.dh).transpose(0, 1)
        k = k.reshape(f, n * self.heads, self.dh).transpose(0, 1)
        v = v.reshape(f, n * self.heads, self.dh).transpose(0, 1)
        w = torch.bmm(q, k.transpose(1, 2)) * self.dh ** -0.5
        w = w.softmax(-1)
        y = torch.bmm(w, v).transpose(0, 1).reshape(f, n, c)
        return self.proj(y).reshape(n, f, c)
