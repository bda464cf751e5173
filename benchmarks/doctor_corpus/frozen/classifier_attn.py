import torch
import torch.nn as nn


class ScaledDotProductAttention(nn.Module):
    def __init__(self, d_k):
        super().__init__()
        self.d_k = d_k
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, Q, K, V, attn_mask):
        scores = torch.matmul(Q, K.transpose(-1, -2)) / self.d_k ** 0.5
        if attn_mask is not None:
            scores = scores.masked_fill(attn_mask, 1e-9)
        attn = self.softmax(scores)
        return torch.matmul(attn, V)


class ClassifierAttention(nn.Module):
    def __init__(self, n_units, h):
        super().__init__()
        self.h, self.d = h, n_units // h
        self.Wq = nn.Linear(n_units, n_units)
        self.Wk = nn.Linear(n_units, n_units)
        self.Wv = nn.Linear(n_units, n_units)
        self.Wo = nn.Linear(n_units, n_units)
        self.core = ScaledDotProductAttention(self.d)

    def forward(self, x, pad_mask=None):
        # pad_mask: (batch, time), True where the token is padding
        bs, t, _ = x.shape
        q = self.Wq(x).view(bs, -1, self.h, self.d).transpose(1, 2)
        k = self.Wk(x).view(bs, -1, self.h, self.d).transpose(1, 2)
        v = self.Wv(x).view(bs, -1, self.h, self.d).transpose(1, 2)
        if pad_mask is not None:
            pad_mask = pad_mask.bool()[:, None, None, :].expand(bs, self.h, t, t)
        ctx = self.core(q, k, v, pad_mask)
        return self.Wo(ctx.transpose(1, 2).reshape(bs, t, self.h * self.d))
