import math

import torch
import torch.nn as nn


class DocumentAttention(nn.Module):
    def __init__(self, embed_dim=35, num_heads=5):
        super().__init__()
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.linear_q = nn.Linear(embed_dim, embed_dim)
        self.linear_k = nn.Linear(embed_dim, embed_dim)
        self.linear_v = nn.Linear(embed_dim, embed_dim)
        self.linear_out = nn.Linear(embed_dim, embed_dim)

    def forward(self, x, padding_mask=None):
        """
        x: (batch, words, embed_dim)
        padding_mask: (batch, words), 1 for a word and 0 for padding
        """
        batch, words, _ = x.shape
        q = self.linear_q(x).view(batch, words, self.num_heads, self.head_dim).permute(0, 2, 1, 3)
        k = self.linear_k(x).view(batch, words, self.num_heads, self.head_dim).permute(0, 2, 1, 3)
        v = self.linear_v(x).view(batch, words, self.num_heads, self.head_dim).permute(0, 2, 1, 3)

        scores = torch.matmul(q, k.permute(0, 1, 3, 2)) / math.sqrt(self.head_dim)
        if padding_mask is not None:
            padding_mask = padding_mask.unsqueeze(1).unsqueeze(-1)
            scores = scores.masked_fill(padding_mask == 0, -1e9)
        weights = scores.softmax(dim=-1)

        out = torch.matmul(weights, v)
        out = out.permute(0, 2, 1, 3).contiguous().view(batch, words, self.embed_dim)
        return self.linear_out(out), weights
