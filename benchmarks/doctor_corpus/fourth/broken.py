"""Mistakes that an earlier corpus has not, or has in other code. What each is stands in manifest.json."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def rotate_half(x):
    x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


class Sep(nn.Module):
    def __init__(self, d_model=30, n_heads=5):
        super().__init__()
        self.h, self.d = n_heads, d_model // n_heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d_model, d_model) for _ in range(4))

    def split(self, x):
        return x.view(x.size(0), -1, self.h, self.d).transpose(1, 2)


def rope(x, base=10000.0, offset=0, half=True, dims=None):
    T, d = x.shape[-2:]
    inv = base ** (-torch.arange(0, d, 2).float() / d)
    a = (torch.arange(T) + offset)[:, None] * inv
    c, s = torch.cat([a, a], -1).cos(), torch.cat([a, a], -1).sin()
    return x * c + rotate_half(x) * s


class RopeShift(Sep):
    def __init__(self):
        super().__init__(32, 4)

    def forward(self, x):
        q, k, v = self.split(self.wq(x)), self.split(self.wk(x)), self.split(self.wv(x))
        return self.wo(
            F.scaled_dot_product_attention(rope(q, offset=1), rope(k), v, is_causal=True).transpose(1, 2).flatten(2)
        )


class GPTBase(nn.Module):
    def __init__(self, n_embd=24, n_head=4, block_size=32):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.n_head = n_head
        self.register_buffer("mask", torch.tril(torch.ones(block_size, block_size)))

    def qkv(self, x):
        B, T, C = x.shape
        return [t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in self.c_attn(x).split(C, dim=2)]

    def merge(self, y):
        B, H, T, D = y.shape
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, H * D))


class SwapQK(GPTBase):
    def forward(self, x):
        q, k, v = self.qkv(x)
        att = F.softmax(k @ q.transpose(-2, -1) / math.sqrt(q.size(-1)), -1)
        return self.merge(att @ v)


class MHABatchSecond(nn.Module):  # batch first input to a sequence-first module
    def __init__(self, d=24, h=4):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, h)

    def forward(self, x):  # x: (batch, seq, d)
        return self.attn(x, x, x)[0]


class QBiasAsK(nn.Module):
    def __init__(self, d=24, h=4):
        super().__init__()
        self.h = h
        self.query, self.key, self.value, self.out = (nn.Linear(d, d) for _ in range(4))

    def heads(self, t):
        return t.unflatten(-1, (self.h, -1)).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.key(x))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class SwapNamed(QBiasAsK):
    def forward(self, x):
        q, k, v = self.heads(self.key(x)), self.heads(self.query(x)), self.heads(self.value(x))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class RopeTheta(QBiasAsK):
    def forward(self, x):
        q, k, v = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
        d = q.shape[-1]
        inv = 1.0 / (10000 ** (torch.arange(0, d // 2).float() / d))
        a = torch.outer(torch.arange(x.shape[1]).float(), inv)
        e = torch.cat([a, a], -1)
        q, k = q * e.cos() + rotate_half(q) * e.sin(), k * e.cos() + rotate_half(k) * e.sin()
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class RopeSign(QBiasAsK):
    def forward(self, x):
        q, k, v = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
        d = q.shape[-1]
        inv = 1.0 / (10000 ** (torch.arange(0, d, 2).float() / d))
        a = torch.outer(torch.arange(x.shape[1]).float(), inv)
        e = torch.cat([a, a], -1)
        q, k = q * e.cos() + rotate_half(q) * e.sin(), k * e.cos() - rotate_half(k) * e.sin()
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class RopeNoNeg(QBiasAsK):
    def forward(self, x):
        q, k, v = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
        d = q.shape[-1]
        inv = 1.0 / (10000 ** (torch.arange(0, d, 2).float() / d))
        a = torch.outer(torch.arange(x.shape[1]).float(), inv)
        e = torch.cat([a, a], -1)
        rh = lambda y: torch.cat([y[..., d // 2 :], y[..., : d // 2]], -1)
        q, k = q * e.cos() + rh(q) * e.sin(), k * e.cos() + rh(k) * e.sin()
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class SoftmaxHeadsBTHD(nn.Module):
    def __init__(self, d=24, h=4):
        super().__init__()
        self.h = h
        self.qkv = nn.Linear(d, 3 * d)
        self.o = nn.Linear(d, d)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.h, -1) for y in self.qkv(x).chunk(3, -1))
        s = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        return self.o((s.softmax(-1) @ v).reshape(b, t, d))


class UvABase(nn.Module):
    def __init__(self, embed_dim=24, num_heads=4):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, embed_dim // num_heads
        self.qkv_proj = nn.Linear(embed_dim, 3 * embed_dim)
        self.o_proj = nn.Linear(embed_dim, embed_dim)

    def qkv(self, x):
        b, t, d = x.shape
        return self.qkv_proj(x).reshape(b, t, self.num_heads, 3 * self.head_dim).permute(0, 2, 1, 3).chunk(3, dim=-1)

    def merge(self, y):
        return self.o_proj(y.permute(0, 2, 1, 3).flatten(2))


class U6(UvABase):
    def forward(self, x):
        q, k, v = self.qkv(x)
        b, t, d = x.shape
        y = F.scaled_dot_product_attention(q, k, v)
        return self.o_proj(y.permute(0, 1, 3, 2).reshape(b, t, d))


class U12(UvABase):
    def forward(self, x):
        q, k, v = self.qkv(x)
        return self.o_proj(self.merge(F.scaled_dot_product_attention(q, k, v)))


def lens_off(q, k, v, k_lens):
    keep = torch.arange(k.shape[1])[None] <= k_lens[:, None]
    s = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~keep[:, None], -1e9)
    return s.softmax(-1) @ v


class ResidualPre(nn.Module):
    def __init__(self, d=24, h=4):
        super().__init__()
        self.h = h
        self.norm = nn.LayerNorm(d)
        self.q, self.k, self.v, self.proj = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x):
        y = self.norm(x)
        q, k, v = (f(t).unflatten(-1, (self.h, -1)).transpose(1, 2) for f, t in ((self.q, y), (self.k, x), (self.v, x)))
        return x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class G(nn.Module):
    def __init__(self, n_embd=30, n_head=5):
        super().__init__()
        self.n_head = n_head
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)

    def qkv(self, x):
        B, T, C = x.shape
        return (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in self.c_attn(x).split(C, 2))

    def end(self, y):
        return self.c_proj(y.transpose(1, 2).contiguous().flatten(2))


class BadResidual(G):
    def __init__(self):
        super().__init__()
        self.ln = nn.LayerNorm(30)

    def forward(self, x):
        x = self.ln(x)
        q, k, v = self.qkv(x)
        return x + self.end(F.scaled_dot_product_attention(q, k, v, is_causal=True))


class ViewQKV(G):
    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(x).view(3, B, self.n_head, T, C // self.n_head)
        return self.end(F.scaled_dot_product_attention(q, k, v))
