import torch
import torch.nn as nn


class CoreAttention(nn.Module):
    def __init__(self, d=42, nq=6, nkv=2):
        super().__init__()
        self.nq, self.nkv, self.hd = nq, nkv, d // nq
        self.Wq = nn.Linear(d, nq * self.hd)
        self.Wkv = nn.Linear(d, 2 * nkv * self.hd)
        self.Wo = nn.Linear(nq * self.hd, d)

    def forward(self, x):
        B, L, _ = x.shape
        q = self.Wq(x).view(B, L, self.nq, self.hd)
        k, v = self.Wkv(x).view(B, L, 2, self.nkv, self.hd).unbind(2)
        r = self.nq // self.nkv
        k = k.repeat(1, 1, r, 1)
        v = v.repeat(1, 1, r, 1)
        logits = torch.einsum("blhd,bmhd->bhlm", q, k)
        keep = torch.arange(L, device=x.device)[:, None] >= torch.arange(L, device=x.device)
        logits = torch.where(keep, logits, float("-inf"))
        y = torch.einsum("bhlm,bmhd->blhd", logits.softmax(-1), v)
        return self.Wo(y.reshape(B, L, -1))
