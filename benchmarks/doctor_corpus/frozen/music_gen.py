import torch
from torch import nn
import torch.nn.functional as F


class NoteAttention(nn.Module):
    def __init__(self, emb, nheads, max_notes=128):
        super().__init__()
        self.nheads = nheads
        self.toqueries = nn.Linear(emb, emb, bias=False)
        self.tokeys = nn.Linear(emb, emb, bias=False)
        self.tovalues = nn.Linear(emb, emb, bias=False)
        self.unifyheads = nn.Linear(emb, emb)
        self.register_buffer("mask", torch.tril(torch.ones(max_notes, max_notes)))

    def forward(self, x):
        b, t, e = x.size()
        h = self.nheads
        queries = self.toqueries(x).view(b, t, h, e // h).transpose(1, 2)
        keys = self.tokeys(x).view(b, t, h, e // h).transpose(1, 2)
        values = self.tovalues(x).view(b, t, h, e // h).transpose(1, 2)
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=self.mask[:t, :t])
        return self.unifyheads(out.transpose(1, 2).reshape(b, t, e))
