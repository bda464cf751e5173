import torch
from torch import nn


class AtomAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x, key_padding_mask=None):
        """x: (batch, atoms, dim); key_padding_mask: (batch, atoms), True where there is no atom"""
        b, n, e = x.shape
        d = e // self.heads
        qkv = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.reshape(b, n, 3, self.heads, d).permute(2, 0, 3, 1, 4).reshape(3, b * self.heads, n, d)
        logits = torch.bmm(q * d**-0.5, k.transpose(1, 2))
        if key_padding_mask is not None:
            drop = key_padding_mask.repeat_interleave(self.heads, dim=0).unsqueeze(1)
            logits = logits.masked_fill(drop, float("-inf"))
        out = torch.bmm(logits.softmax(dim=-1), v)
        return self.out_proj(out.view(b, self.heads, n, d).transpose(1, 2).reshape(b, n, e))
