import math

import torch
import torch.nn as nn


class StarAttention(nn.Module):
    def __init__(self, n_feats, n_heads):
        super().__init__()
        self.h = n_heads
        self.lin_q = nn.Linear(n_feats, n_feats)
        self.lin_k = nn.Linear(n_feats, n_feats)
        self.lin_v = nn.Linear(n_feats, n_feats)
        self.lin_out = nn.Linear(n_feats, n_feats)

    def forward(self, stars):
        b, n, f = stars.shape
        q = self.lin_q(stars).view(b, self.h, n, f // self.h)
        k = self.lin_k(stars).view(b, self.h, n, f // self.h)
        v = self.lin_v(stars).view(b, self.h, n, f // self.h)
        a = q.matmul(k.transpose(2, 3)) / math.sqrt(f // self.h)
        a = torch.softmax(a, dim=2)
        y = a.matmul(v)
        return self.lin_out(y.permute(0, 2, 1, 3).reshape(b, n, f)), a
