import torch, torch.nn as nn, torch.nn.functional as F

class CharAttn(nn.Module):
    def __init__(s, d, h, ctx=80):
        super().__init__()
        s.h = h
        s.q = nn.Linear(d, d); s.k = nn.Linear(d, d); s.v = nn.Linear(d, d); s.o = nn.Linear(d, d)
        s.register_buffer('tril', torch.tril(torch.ones(ctx, ctx), diagonal=1).bool())
    def forward(s, x):
        B, T, D = x.shape
        sp = lambda y: y.view(B, T, s.h, D // s.h).transpose(1, 2)
        q, k, v = sp(s.q(x)), sp(s.k(x)), sp(s.v(x))
        a = (q @ k.mT / (D // s.h) ** .5).masked_fill(~s.tril[:T, :T], -torch.inf).softmax(-1)
        return s.o((a @ v).transpose(1, 2).reshape(B, T, D)), a
