import math

import torch
from torch import nn


class TaggerSelfAttention(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.n, self.d = heads, hidden // heads
        self.Q = nn.Linear(hidden, hidden)
        self.K = nn.Linear(hidden, hidden)
        self.V = nn.Linear(hidden, hidden)
        self.O = nn.Linear(hidden, hidden)

    def split(self, t):
        return t.view(*t.shape[:-1], self.n, self.d).permute(0, 2, 1, 3)

    def forward(self, hidden_states, attention_mask=None):
        scores = self.split(self.Q(hidden_states)) @ self.split(self.K(hidden_states)).transpose(-1, -2)
        scores = scores / math.sqrt(self.d)
        if attention_mask is not None:  # (batch, seq): 1 for words, 0 for padding
            extended = attention_mask.unsqueeze(1).unsqueeze(2).to(scores.dtype)
            scores = scores + (1.0 - extended) * -10000.0
        context = nn.Softmax(dim=-1)(scores) @ self.split(self.V(hidden_states))
        context = context.permute(0, 2, 1, 3).contiguous()
        return self.O(context.view(*context.shape[:-2], self.n * self.d))
