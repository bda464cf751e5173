import torch
import torch.nn as nn


class WindowedAttention(nn.Module):
    """Each frame looks at itself and at the `window - 1` frames before it."""

    def __init__(self, channels, heads, window=4):
        super().__init__()
        self.heads = heads
        self.window = window
        self.conv_q = nn.Conv1d(channels, channels, 1)
        self.conv_k = nn.Conv1d(channels, channels, 1)
        self.conv_v = nn.Conv1d(channels, channels, 1)
        self.conv_o = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        # x: (batch, time, channels)
        b, t, c = x.shape
        x = x.transpose(1, 2)
        q = self.conv_q(x).view(b, self.heads, c // self.heads, t).transpose(2, 3)
        k = self.conv_k(x).view(b, self.heads, c // self.heads, t)
        v = self.conv_v(x).view(b, self.heads, c // self.heads, t).transpose(2, 3)
        scores = torch.matmul(q, k) / (c // self.heads) ** 0.5
        ones = torch.ones(t, t, dtype=torch.bool, device=x.device)
        near = ones.tril() & ones.triu(1 - self.window)
        scores = scores.masked_fill(~near, float("-inf"))
        y = torch.matmul(torch.softmax(scores, dim=-1), v)
        y = y.transpose(2, 3).reshape(b, c, t)
        return self.conv_o(y).transpose(1, 2)
