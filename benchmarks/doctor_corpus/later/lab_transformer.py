import torch.nn as nn
import torch.nn.functional as F


class MHSA(nn.Module):
    def __init__(self, d_model=28, nhead=4, p=0.2):
        super().__init__()
        self.nhead = nhead
        self.p = p
        self.qkv = nn.Linear(d_model, d_model * 3)
        self.fc = nn.Linear(d_model, d_model)

    def forward(self, src):
        N, L, D = src.shape
        qkv = self.qkv(src).reshape(N, L, 3, self.nhead, D // self.nhead).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q = q / (D // self.nhead) ** 0.5
        score = q @ k.transpose(-2, -1)
        score = F.softmax(score, dim=-1)
        score = F.dropout(score, self.p)
        return self.fc((score @ v).transpose(1, 2).flatten(2))
