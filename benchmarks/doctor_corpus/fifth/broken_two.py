"""Mistakes of a fifth corpus, second batch. What each is stands in manifest.json."""

import math

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F


def docs_no_not(query, key, value, attn_mask=None):
    """attn_mask: boolean, True for the pairs that take part"""
    bias = torch.zeros(query.size(-2), key.size(-2))
    if attn_mask is not None:
        bias = bias.masked_fill(attn_mask, float("-inf"))
    return torch.softmax(query @ key.mT / math.sqrt(query.size(-1)) + bias, -1) @ value


def flash_no_rescale(q, k, v):
    """block-wise; (batch, heads, length, size)"""
    b, h, n, d = q.shape
    m = torch.full((b, h, n, 1), -torch.inf)
    l = torch.zeros(b, h, n, 1)
    o = torch.zeros(b, h, n, v.shape[-1])
    for j in range(0, k.shape[2], 2):
        s = q @ k[:, :, j : j + 2].transpose(-1, -2) * d**-0.5
        m_new = torch.maximum(m, s.amax(-1, keepdim=True))
        p = torch.exp(s - m_new)
        l = l + p.sum(-1, keepdim=True)
        o = o + p @ v[:, :, j : j + 2]
        m = m_new
    return o / l


def mean_normalised(q, k, v):
    s = q @ k.mT / math.sqrt(q.shape[-1])
    w = s / s.sum(-1, keepdim=True)
    return w @ v


def np_forgot_transpose(Q, K, V):
    """(batch, heads, length, size)"""
    S = Q @ K.reshape(*K.shape[:-2], K.shape[-1], K.shape[-2]) / np.sqrt(Q.shape[-1])
    P = np.exp(S - S.max(-1, keepdims=True))
    return P / P.sum(-1, keepdims=True) @ V


def scale_after(q, k, v):
    d = q.shape[-1]
    return F.softmax(q @ k.mT, dim=-1) / math.sqrt(d) @ v


def additive_mask_multiplied(q, k, v, mask=None):
    """mask: 1 for real tokens, 0 for padding; broadcast over heads"""
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s * mask
    return s.softmax(-1) @ v


def tiny_sentinel(q, k, v):
    n = q.shape[-2]
    s = q @ k.mT / math.sqrt(q.shape[-1])
    s = s.masked_fill(torch.triu(torch.ones(n, n), 1).bool(), 1e-9)
    return s.softmax(-1) @ v


def window_forgets_self(q, k, v, w=3):
    n = q.shape[-2]
    i = torch.arange(n)
    ok = (i[:, None] - i > 0) & (i[:, None] - i <= w)
    s = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~ok, -1e9)
    return s.softmax(-1) @ v


class Base(nn.Module):
    def __init__(self, d=32, h=4, bias=True):
        super().__init__()
        self.h, self.d, self.width = h, d // h, d
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=bias) for _ in range(4))

    def cut(self, x):
        return x.view(x.shape[0], -1, self.h, self.d).transpose(1, 2)

    def merge(self, x):
        return x.transpose(1, 2).reshape(x.shape[0], -1, self.width)


class QueryTwice(Base):
    def forward(self, x):
        q, k, v = self.cut(self.q(x)), self.cut(self.q(x)), self.cut(self.v(x))
        return self.o(self.merge((q @ k.mT / math.sqrt(self.d)).softmax(-1) @ v))


class ViewNoTranspose(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, self.h, t, self.d) for f in (self.q, self.k, self.v))
        return self.o(self.merge((q @ k.mT / math.sqrt(self.d)).softmax(-1) @ v))


class MergedEarly(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (self.cut(f(x)) for f in (self.q, self.k, self.v))
        y = (q @ k.mT / math.sqrt(self.d)).softmax(-1) @ v
        return self.o(y.reshape(b, t, c))


class DropAlways(Base):
    def forward(self, x):
        q, k, v = (self.cut(f(x)) for f in (self.q, self.k, self.v))
        return self.o(self.merge(F.scaled_dot_product_attention(q, k, v, dropout_p=0.2)))


class ScaledTwiceSDPA(Base):
    def forward(self, x):
        q, k, v = (self.cut(f(x)) for f in (self.q, self.k, self.v))
        return self.o(self.merge(F.scaled_dot_product_attention(q * self.d**-0.5, k, v)))


class SDPAWithoutTranspose(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.h, self.d) for f in (self.q, self.k, self.v))
        return self.o(F.scaled_dot_product_attention(q, k, v).reshape(b, t, c))


class SDPAMaskPolarity(Base):
    def forward(self, x, key_padding_mask=None):
        """key_padding_mask: (batch, length), True at padded positions"""
        q, k, v = (self.cut(f(x)) for f in (self.q, self.k, self.v))
        m = None if key_padding_mask is None else key_padding_mask[:, None, None, :].bool()
        return self.o(self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=m)))


class CausalBoth(Base):
    """a causal layer whose mask is built with triu and read as what may be seen"""

    def forward(self, x):
        t = x.shape[1]
        q, k, v = (self.cut(f(x)) for f in (self.q, self.k, self.v))
        keep = torch.triu(torch.ones(t, t)).bool()
        return self.o(self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=keep)))


class OverBatch(Base):
    """(batch, length, width) into MultiheadAttention that takes (length, batch, width), by hand"""

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t * self.h, self.d).transpose(0, 1) for f in (self.q, self.k, self.v))
        y = (q @ k.mT / math.sqrt(self.d)).softmax(-1) @ v
        return self.o(y.transpose(0, 1).reshape(b, t, c))


class ValueUnprojected(Base):
    def forward(self, x):
        q, k, v = self.cut(self.q(x)), self.cut(self.k(x)), self.cut(x)
        return self.o(self.merge((q @ k.mT / math.sqrt(self.d)).softmax(-1) @ v))


class SoftmaxInHalf(Base):
    def forward(self, x, mask=None):
        """mask: (batch, length), 1 to keep"""
        q, k, v = (self.cut(f(x)) for f in (self.q, self.k, self.v))
        s = (q @ k.mT / math.sqrt(self.d)).half()
        if mask is not None:
            s = s.masked_fill(mask[:, None, None] == 0, -1e9)
        return self.o(self.merge(s.float().softmax(-1) @ v))


class RelPosWrongScale(nn.Module):
    """Transformer-XL-like terms, and no division"""

    def __init__(self, d=32, h=4):
        super().__init__()
        self.h, self.d = h, d // h
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.pos = nn.Embedding(64, d)
        self.u = nn.Parameter(torch.randn(h, 1, d // h))
        self.w = nn.Parameter(torch.randn(h, 1, d // h))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.h, self.d).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        i = torch.arange(t)
        r = self.pos(i[:, None] - i + 32).view(t, t, self.h, self.d)
        s = (q + self.u) @ k.mT + torch.einsum("bhid,ijhd->bhij", q + self.w, r)
        return self.o_proj((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))


class PrefixNoScale(nn.Module):
    def __init__(self, d=32, h=4, n=3):
        super().__init__()
        self.h = h
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.mem_k, self.mem_v = nn.Parameter(torch.randn(1, n, d)), nn.Parameter(torch.randn(1, n, d))

    def forward(self, x):
        b, t, c = x.shape
        k = torch.cat([self.mem_k.expand(b, -1, -1), self.k(x)], 1)
        v = torch.cat([self.mem_v.expand(b, -1, -1), self.v(x)], 1)
        q, k, v = (z.unflatten(-1, (self.h, -1)).transpose(1, 2) for z in (self.q(x), k, v))
        return self.o(((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2))


class ClassTokenModelScale(nn.Module):
    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.h, self.scale = heads, dim**-0.5
        self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        B, N, C = x.shape
        q = self.q(x[:, :1]).reshape(B, 1, self.h, -1).transpose(1, 2)
        k, v = (f(x).reshape(B, N, self.h, -1).transpose(1, 2) for f in (self.k, self.v))
        return self.proj(((q @ k.mT * self.scale).softmax(-1) @ v).transpose(1, 2).reshape(B, 1, C))


class GroupsWrong(nn.Module):
    def __init__(self, d=48, h=6, g=3):
        super().__init__()
        self.h, self.g, self.d = h, g, d // h
        self.wq, self.wk, self.wv, self.wo = nn.Linear(d, d), nn.Linear(d, g * self.d), nn.Linear(d, g * self.d), nn.Linear(d, d)

    def forward(self, x):
        b, t, c = x.shape
        q = self.wq(x).view(b, t, self.h, self.d).transpose(1, 2)
        k, v = (f(x).view(b, t, self.g, self.d).transpose(1, 2).repeat(1, self.h // self.g, 1, 1) for f in (self.wk, self.wv))
        s = q @ k.mT / math.sqrt(self.d)
        s = s.masked_fill(torch.ones(t, t).tril() == 0, -torch.inf)
        return self.wo((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))


class RotaryWholeWidth(Base):
    """the rotation is applied to the whole width before the heads are cut"""

    def turn(self, x):
        half = x.shape[-1] // 2
        a = torch.arange(x.shape[1])[:, None] * 10000 ** (-torch.arange(half) / half)
        x1, x2 = x[..., :half], x[..., half:]
        return torch.cat([x1 * a.cos() - x2 * a.sin(), x1 * a.sin() + x2 * a.cos()], -1)

    def forward(self, x):
        q, k, v = self.cut(self.turn(self.q(x))), self.cut(self.turn(self.k(x))), self.cut(self.v(x))
        return self.o(self.merge(F.scaled_dot_product_attention(q, k, v, is_causal=True)))


class PaddingOnRows(Base):
    def forward(self, x, mask=None):
        """mask: (batch, length), 1 = token, 0 = pad"""
        q, k, v = (self.cut(f(x)) for f in (self.q, self.k, self.v))
        s = q @ k.mT / math.sqrt(self.d)
        if mask is not None:
            s = s.masked_fill(mask.view(x.shape[0], 1, -1, 1) == 0, -1e9)
        return self.o(self.merge(s.softmax(-1) @ v))


class MHAWrongQuery(nn.Module):
    """cross-attention block that hands the memory over as the query"""

    def __init__(self, d=32, h=4):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, h, batch_first=True)

    def forward(self, x, memory):
        return self.attn(memory, x, x)[0]
