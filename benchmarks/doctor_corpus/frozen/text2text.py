import torch
from torch import nn, einsum


class Attn(nn.Module):
    def __init__(self, dim, heads = 7, dim_head = 4):
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.to_q = nn.Linear(dim, inner, bias = False)
        self.to_k = nn.Linear(dim, inner, bias = False)
        self.to_v = nn.Linear(dim, inner, bias = False)
        self.to_out = nn.Linear(inner, dim, bias = False)
        # the initialiser takes care of the scale of the logits
        nn.init.normal_(self.to_q.weight, std = (dim * dim_head) ** -0.5)
        nn.init.normal_(self.to_k.weight, std = dim ** -0.5)

    def forward(self, x, bias = None):
        b, n, h = *x.shape[:2], self.heads
        q, k, v = (t.reshape(b, n, h, -1).transpose(1, 2) for t in (self.to_q(x), self.to_k(x), self.to_v(x)))
        sim = einsum('b h i d, b h j d -> b h i j', q, k)
        if bias is not None:
            sim = torch.clamp(sim + bias, min = torch.finfo(sim.dtype).min)
        attn = sim.float().softmax(dim = -1).type_as(v)
        out = einsum('b h i j, b h j d -> b h i d', attn, v)
        return self.to_out(out.transpose(1, 2).reshape(b, n, -1))
