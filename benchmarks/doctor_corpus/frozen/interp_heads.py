import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, d_model=30, n_heads=5, d_head=6):
        super().__init__()
        s = d_model ** -0.5
        self.W_Q = nn.Parameter(torch.randn(n_heads, d_model, d_head) * s)
        self.W_K = nn.Parameter(torch.randn(n_heads, d_model, d_head) * s)
        self.W_V = nn.Parameter(torch.randn(n_heads, d_model, d_head) * s)
        self.W_O = nn.Parameter(torch.randn(n_heads, d_head, d_model) * s)
        self.b_Q = nn.Parameter(torch.zeros(n_heads, d_head))
        self.b_K = nn.Parameter(torch.zeros(n_heads, d_head))
        self.b_V = nn.Parameter(torch.zeros(n_heads, d_head))
        self.b_O = nn.Parameter(torch.zeros(d_model))
        self.d_head = d_head

    def forward(self, resid):
        q = torch.einsum("bpd,hde->bphe", resid, self.W_Q) + self.b_Q
        k = torch.einsum("bpd,hde->bphe", resid, self.W_K) + self.b_K
        v = torch.einsum("bpd,hde->bphe", resid, self.W_V) + self.b_V
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / self.d_head ** 0.5
        future = torch.triu(torch.ones(scores.shape[-2:], device=resid.device), diagonal=1).bool()
        pattern = scores.masked_fill(future, float("-inf")).softmax(-1)
        z = torch.einsum("bhqk,bkhe->bqhe", pattern, v)
        return torch.einsum("bqhe,hed->bqd", z, self.W_O) + self.b_O
