"""Broken modules in many hands. What each is stands in manifest.json."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class KeyThrice(nn.Module):
    def __init__(self, width=24, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.k, self.k, self.k))
        return self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class QueryTwice(nn.Module):
    def __init__(self, width=20, heads=4):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        b, t, w = x.shape
        q = self.query(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = self.query(x).view(b, t, self.heads, -1).transpose(1, 2)
        v = self.value(x).view(b, t, self.heads, -1).transpose(1, 2)
        a = F.softmax(q @ k.mT / math.sqrt(w // self.heads), -1)
        return self.out((a @ v).transpose(1, 2).reshape(b, t, w))


class NoOut(nn.Module):
    def __init__(self, d_model=28, h=4):
        super().__init__()
        self.h = h
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (f(x).view(b, t, self.h, -1).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        z = torch.softmax(q @ k.mT / (w // self.h) ** 0.5, -1) @ v
        return z.transpose(1, 2).reshape(b, t, w)


class ValueOnly(nn.Module):
    def __init__(self, width=18):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        attn = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)  # noqa: F841
        return self.o(v)


class KeyViewed(nn.Module):
    def __init__(self, width=24, heads=4):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.qkv, self.o = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        s = q @ k.reshape(b, self.heads, self.size, t) / math.sqrt(self.size)
        return self.o((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, w))


class Transposed(nn.Module):
    def __init__(self, width=20, heads=4):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (x @ f.weight for f in (self.q_proj, self.k_proj, self.v_proj))
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in (q, k, v))
        return self.o_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, w))


class TransposedOut(nn.Module):
    def __init__(self, width=20, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        z = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return z @ self.o.weight + self.o.bias


class ValueAsKey(nn.Module):
    def __init__(self, width=18, heads=3):
        super().__init__()
        self.heads = heads
        self.qkv, self.o = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        s = q @ v.mT / math.sqrt(w // self.heads)
        return self.o((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, w))


class SoftTwice(nn.Module):
    def __init__(self, width=18, heads=3):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = F.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
        return self.o((F.softmax(s, -1) @ v).transpose(1, 2).flatten(2))


class SigmoidAll(nn.Module):
    def __init__(self, width=18, heads=3):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = torch.sigmoid(q @ k.mT / math.sqrt(q.shape[-1]))
        return self.o((s @ v).transpose(1, 2).flatten(2))


class LogSoft(nn.Module):
    def __init__(self, width=18, heads=3):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = F.log_softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
        return self.o((s @ v).transpose(1, 2).flatten(2))


class ReluBefore(nn.Module):
    def __init__(self, width=18, heads=3):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = F.softmax(F.relu(q @ k.mT / math.sqrt(q.shape[-1])), -1)
        return self.o((s @ v).transpose(1, 2).flatten(2))


class JointHeads(nn.Module):
    def __init__(self, width=18, heads=3):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (f(x).view(b, t, self.heads, -1) for f in (self.q, self.k, self.v))
        s = torch.einsum("bqhd,bkhd->bqhk", q, k) / math.sqrt(w // self.heads)
        s = s.flatten(2).softmax(-1).view(b, t, self.heads, t)
        return self.o(torch.einsum("bqhk,bkhd->bqhd", s, v).flatten(2))


class NoAxis(nn.Module):
    """mask: (batch, length), 1 for tokens, 0 for padding."""

    def __init__(self, width=20, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = q @ k.mT / math.sqrt(q.shape[-1])
        if mask is not None:
            s = s.masked_fill(mask == 0, -1e9)
        return self.o((s.softmax(-1) @ v).transpose(1, 2).flatten(2))


class AddsOnes(nn.Module):
    """attention_mask (batch, length): ones at real tokens, zeros at padded places"""

    def __init__(self, width=20, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, attention_mask=None):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = q @ k.mT / math.sqrt(q.shape[-1])
        if attention_mask is not None:
            s = s + attention_mask[:, None, None, :]
        return self.o((s.softmax(-1) @ v).transpose(1, 2).flatten(2))


class MaskUnused(nn.Module):
    def __init__(self, width=20, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = q @ k.mT / math.sqrt(q.shape[-1])
        if mask is not None:
            s.masked_fill(mask[:, None, None, :] == 0, -1e9)
        return self.o((s.softmax(-1) @ v).transpose(1, 2).flatten(2))


class ModelScale(nn.Module):
    def __init__(self, d_model=32, heads=4):
        super().__init__()
        self.d_model, self.heads = d_model, heads
        self.qkv, self.proj = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.mT / math.sqrt(self.d_model), -1)
        return self.proj((a @ v).transpose(1, 2).reshape(b, t, w))


class HeadNoScale(nn.Module):
    def __init__(self, n_embd=16, head_size=8):
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(n_embd, head_size, bias=False) for _ in range(3))
        self.register_buffer("tril", torch.tril(torch.ones(32, 32)))

    def forward(self, x):
        t = x.shape[1]
        w = self.query(x) @ self.key(x).transpose(-2, -1)
        w = w.masked_fill(self.tril[:t, :t] == 0, float("-inf")).softmax(-1)
        return w @ self.value(x)


class MergeWrong(nn.Module):
    def __init__(self, width=20, heads=4):
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.c_attn(x).split(w, 2))
        return self.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).reshape(b, t, w))


class GroupTiled(nn.Module):
    def __init__(self, width=24, heads=4, kv_heads=2):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        self.wq, self.wo = nn.Linear(width, width), nn.Linear(width, width)
        self.wk, self.wv = (nn.Linear(width, kv_heads * self.size) for _ in range(2))

    def forward(self, x):
        b, t, w = x.shape
        q = self.wq(x).view(b, t, self.heads, self.size).transpose(1, 2)
        k, v = (f(x).view(b, t, self.kv_heads, self.size).transpose(1, 2) for f in (self.wk, self.wv))
        k, v = k.repeat(1, 2, 1, 1), v.repeat_interleave(2, 1)
        return self.wo(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, w))


class CausalLate(nn.Module):
    def __init__(self, width=20, heads=2):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
        return self.o((torch.tril(s) @ v).transpose(1, 2).flatten(2))


class TalkNorm(nn.Module):
    """Norms on queries and keys, and softmax over queries."""

    def __init__(self, width=20, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.q_norm, self.k_norm = nn.LayerNorm(width // heads), nn.LayerNorm(width // heads)

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = self.q_norm(q) @ self.k_norm(k).mT / math.sqrt(q.shape[-1])
        return self.o((s.softmax(-2) @ v).transpose(1, 2).flatten(2))


class BatchMixed(nn.Module):
    def __init__(self, width=20, heads=4):
        super().__init__()
        self.mha = nn.MultiheadAttention(width, heads)

    def forward(self, x):  # (batch, length, width)
        return self.mha(x, x, x)[0]


class CrossSwapped(nn.Module):
    """Text looks at an image."""

    def __init__(self, d=24, heads=4):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x, context):
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        s = q @ k.mT / math.sqrt(q.shape[-1])
        return self.to_out((s.softmax(2) @ v).transpose(1, 2).flatten(2))


class PerHeadNoScale(nn.Module):
    def __init__(self, width=15, heads=3, size=5):
        super().__init__()
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(0.4 * torch.randn(heads, width, size)) for _ in range(3))
        self.W_O = nn.Parameter(0.4 * torch.randn(heads, size, width))

    def forward(self, x):
        q, k, v = (torch.einsum("btm,hmd->bhtd", x, w) for w in (self.W_Q, self.W_K, self.W_V))
        return torch.einsum("bhtd,hdm->btm", torch.softmax(q @ k.mT, -1) @ v, self.W_O)


class DropInEval(nn.Module):
    def __init__(self, width=20, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        z = F.scaled_dot_product_attention(q, k, v, dropout_p=0.1)
        return self.out(z.transpose(1, 2).reshape(b, t, w))
