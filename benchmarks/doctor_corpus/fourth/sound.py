"""Sound attention of other kinds than the usual, and called in other ways. What each is stands in manifest.json."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def rotate_half(x):
    x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


def sliding_window_attention(q, k, v, window=3):
    """q, k, v: (B, H, T, D). each token sees itself and window-1 before"""
    T = q.size(-2)
    S = k.size(-2)
    i = torch.arange(T)[:, None] + (S - T)
    j = torch.arange(S)[None]
    allowed = (j <= i) & (j > i - window)
    s = (q @ k.transpose(-1, -2)) / q.size(-1) ** 0.5
    s = s.masked_fill(~allowed, float("-inf"))
    return torch.nan_to_num(s.softmax(-1)) @ v


def linear_attention(q, k, v):
    q = F.elu(q) + 1
    k = F.elu(k) + 1
    kv = torch.einsum("bhnd,bhne->bhde", k, v)
    z = 1 / (torch.einsum("bhnd,bhd->bhn", q, k.sum(2)) + 1e-6)
    return torch.einsum("bhnd,bhde,bhn->bhne", q, kv, z)


def topk_attention(q, k, v, topk=3):
    s = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    kth = s.topk(min(topk, s.shape[-1]), dim=-1).values[..., -1:]
    s = s.masked_fill(s < kth, float("-inf"))
    return s.softmax(-1) @ v


class ShawAttention(nn.Module):
    def __init__(self, d_model=24, heads=4, max_rel=4):
        super().__init__()
        self.h, self.d, self.m = heads, d_model // heads, max_rel
        self.q = nn.Linear(d_model, d_model)
        self.k = nn.Linear(d_model, d_model)
        self.v = nn.Linear(d_model, d_model)
        self.o = nn.Linear(d_model, d_model)
        self.rel_k = nn.Embedding(2 * max_rel + 1, self.d)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.h, self.d).transpose(1, 2) for f in (self.q, self.k, self.v))
        i = torch.arange(t)
        rel = (i[None] - i[:, None]).clamp(-self.m, self.m) + self.m
        r = self.rel_k(rel)
        s = q @ k.transpose(-1, -2) + torch.einsum("bhid,ijd->bhij", q, r)
        a = (s / self.d**0.5).softmax(-1)
        return self.o((a @ v).transpose(1, 2).reshape(b, t, c))


class LoRALinear(nn.Module):
    def __init__(self, base, r=3, alpha=6):
        super().__init__()
        self.base = base
        self.A = nn.Parameter(torch.randn(r, base.in_features) * 0.3)
        self.B = nn.Parameter(torch.randn(base.out_features, r) * 0.3)
        self.s = alpha / r

    def forward(self, x):
        return self.base(x) + (x @ self.A.T @ self.B.T) * self.s


class LoRAAttention(nn.Module):
    def __init__(self, d=24, h=3):
        super().__init__()
        self.h = h
        self.q_proj = LoRALinear(nn.Linear(d, d))
        self.k_proj = nn.Linear(d, d)
        self.v_proj = LoRALinear(nn.Linear(d, d))
        self.o_proj = nn.Linear(d, d)

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.h, -1)).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        return self.o_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def decode_step(q, k_cache, v_cache, lengths=None):
    """q: (B, H, 1, D); k_cache, v_cache: (B, H, S, D)"""
    s = torch.matmul(q, k_cache.transpose(2, 3)) * (q.shape[-1] ** -0.5)
    return torch.matmul(torch.softmax(s, dim=-1), v_cache)


class HeadMajorMask(nn.Module):
    """attn_mask: (batch * heads, T, T), True where a key is hidden"""

    def __init__(self, d=24, h=4):
        super().__init__()
        self.h = h
        self.in_proj = nn.Linear(d, 3 * d)
        self.out_proj = nn.Linear(d, d)

    def forward(self, x, attn_mask=None):
        b, t, d = x.shape
        q, k, v = (
            y.view(b, t, self.h, -1).transpose(1, 2).reshape(b * self.h, t, -1) for y in self.in_proj(x).chunk(3, -1)
        )
        s = torch.bmm(q, k.transpose(1, 2)) / (d // self.h) ** 0.5
        if attn_mask is not None:
            s = s.masked_fill(attn_mask, float("-inf"))
        o = torch.bmm(s.softmax(-1), v)
        return self.out_proj(o.view(b, self.h, t, -1).transpose(1, 2).reshape(b, t, d))


class CacheRope(nn.Module):
    def __init__(self, d=32, h=4):
        super().__init__()
        self.h, self.hd = h, d // h
        self.q_proj = nn.Linear(d, d, bias=False)
        self.k_proj = nn.Linear(d, d, bias=False)
        self.v_proj = nn.Linear(d, d, bias=False)
        self.o_proj = nn.Linear(d, d, bias=False)

    def forward(self, x, cos, sin, past_kv=None, use_cache=True):
        b, t, d = x.shape
        q, k, v = (f(x).view(b, t, self.h, self.hd).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        if past_kv is not None:
            k = torch.cat([past_kv[0], k], 2)
            v = torch.cat([past_kv[1], v], 2)
        s, t_k = q @ k.mT / self.hd**0.5, k.size(2)
        s = s.masked_fill(torch.ones(t, t_k).triu(t_k - t + 1).bool(), -float("inf"))
        y = (s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d)
        return self.o_proj(y), ((k, v) if use_cache else None)


class AttnPool(nn.Module):
    def __init__(self, d=24, h=4):
        super().__init__()
        self.q = nn.Parameter(torch.randn(1, 1, d))
        self.attn = nn.MultiheadAttention(d, h, batch_first=True)

    def forward(self, x):
        return self.attn(self.q.expand(x.size(0), -1, -1), x, x)[0].squeeze(1)


class MLA(nn.Module):
    def __init__(self, dim=24, heads=3, r=6):
        super().__init__()
        self.h = heads
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.kv_down = nn.Linear(dim, r, bias=False)
        self.k_up = nn.Linear(r, dim, bias=False)
        self.v_up = nn.Linear(r, dim, bias=False)
        self.o_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        c = self.kv_down(x)
        q, k, v = (t.unflatten(-1, (self.h, -1)).transpose(1, 2) for t in (self.q_proj(x), self.k_up(c), self.v_up(c)))
        return self.o_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class GPTLoRA(nn.Module):
    def __init__(self, d=24, h=4, r=2, alpha=4):
        super().__init__()
        self.h, self.r, self.alpha = h, r, alpha
        self.qkv = nn.Linear(d, 3 * d)
        self.proj = nn.Linear(d, d)
        self.lora_A_q = nn.Linear(d, r, bias=False)
        self.lora_B_q = nn.Linear(r, d, bias=False)
        self.lora_A_v = nn.Linear(d, r, bias=False)
        self.lora_B_v = nn.Linear(r, d, bias=False)
        nn.init.zeros_(self.lora_B_q.weight)
        nn.init.zeros_(self.lora_B_v.weight)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.qkv(x).split(C, -1)
        q = q + self.lora_B_q(self.lora_A_q(x)) * self.alpha / self.r
        v = v + self.lora_B_v(self.lora_A_v(x)) * self.alpha / self.r
        q, k, v = (t.view(B, T, self.h, -1).transpose(1, 2) for t in (q, k, v))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, C))


def performer(q, k, v, nf=32):
    g = torch.Generator().manual_seed(0)
    w = torch.randn(nf, q.shape[-1], generator=g)
    phi = lambda x: torch.exp(x / x.shape[-1] ** 0.25 @ w.T - (x**2).sum(-1, keepdim=True) / 2 / x.shape[-1] ** 0.5)
    q, k = phi(q), phi(k)
    return q @ (k.mT @ v) / (q @ k.sum(-2, keepdim=True).mT)


def causal_linear_attention(q, k, v):
    """q, k, v: b h n d"""
    q, k = F.elu(q) + 1, F.elu(k) + 1
    s = torch.einsum("bhnd,bhne->bhnde", k, v).cumsum(2)
    z = k.cumsum(2)
    return torch.einsum("bhnd,bhnde->bhne", q, s) / (torch.einsum("bhnd,bhnd->bhn", q, z)[..., None] + 1e-6)


def lengths_attention(q, k, v, k_lens):
    """q (B,Lq,D) k,v (B,Lk,D) k_lens (B,)"""
    keep = torch.arange(k.shape[1])[None] < k_lens[:, None]
    s = (q * q.shape[-1] ** -0.5) @ k.mT
    s = s.masked_fill(~keep[:, None], -math.inf)
    return s.softmax(-1) @ v


class ChunkedLocal(nn.Module):
    """blocks of three tokens see themselves and the block before"""

    def __init__(self, d=20, h=2, w=3):
        super().__init__()
        self.h, self.w = h, w
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.h, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        blk = torch.arange(t) // self.w
        ok = (blk[:, None] == blk) | (blk[:, None] == blk + 1)
        ok = ok & (torch.arange(t)[:, None] >= torch.arange(t))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=ok)
        return self.out(y.transpose(1, 2).reshape(b, t, d))


class CachePos(nn.Module):
    """position_embeddings given as a tuple"""

    def __init__(self, d=32, h=4):
        super().__init__()
        self.h, self.hd = h, d // h
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(d, d, bias=False) for _ in range(4))

    def forward(self, hidden_states, position_embeddings, past_key_value=None):
        b, t, d = hidden_states.shape
        q, k, v = (
            f(hidden_states).view(b, t, self.h, self.hd).transpose(1, 2)
            for f in (self.q_proj, self.k_proj, self.v_proj)
        )
        cos, sin = position_embeddings
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        if past_key_value is not None:
            k, v = torch.cat([past_key_value[0], k], 2), torch.cat([past_key_value[1], v], 2)
        s, n = q @ k.mT / self.hd**0.5, k.size(2)
        s = s.masked_fill(torch.arange(n)[None] > torch.arange(n - t, n)[:, None], -float("inf"))
        return self.o_proj((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d)), (k, v)


class Tempered(nn.Module):
    """No weights of its own: the temperature is the root of the head size that it is meant for."""

    def __init__(self, temperature=8.0):
        super().__init__()
        self.temperature = temperature

    def forward(self, q, k, v, mask=None):
        s = torch.matmul(q / self.temperature, k.transpose(2, 3))
        if mask is not None:
            s = s.masked_fill(mask == 0, -1e9)
        return torch.matmul(torch.softmax(s, dim=-1), v)


class OneMapForEveryHead(nn.Module):
    def __init__(self, width=24, heads=4):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.queries, self.keys, self.values = (nn.Linear(self.size, self.size, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x):
        parts = x.unflatten(-1, (self.heads, self.size)).transpose(1, 2)
        z = F.scaled_dot_product_attention(self.queries(parts), self.keys(parts), self.values(parts))
        return self.out(z.transpose(1, 2).flatten(2))


class NinePatches(nn.Module):
    """A window of 3 x 3 patches, with a bias for each pair of them: no other length fits."""

    def __init__(self, width=24, heads=4, window=(3, 3)):
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.randn(heads, window[0] * window[1], window[0] * window[1]))

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        s = q @ k.mT / q.shape[-1] ** 0.5 + self.bias
        return self.proj((s.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


class Backwards(nn.Module):
    """Norms without weights, and a rotation the other way round, for queries and keys alike."""

    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.c_q, self.c_k, self.c_v, self.c_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def rotary(self, x):
        angle = torch.arange(x.shape[2])[:, None] * 10000 ** (-torch.arange(0, self.size, 2) / self.size)
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * angle.cos() + b * angle.sin(), b * angle.cos() - a * angle.sin()), -1)

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.c_q, self.c_k, self.c_v))
        q, k = (self.rotary(F.rms_norm(y, (self.size,))) for y in (q, k))
        return self.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class AddedInPlace(nn.Module):
    def __init__(self, width=24, heads=3):
        super().__init__()
        self.heads = heads
        self.w_q, self.w_k, self.w_v, self.fc = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.w_q, self.w_k, self.w_v))
        y = self.fc(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        y += x
        return self.norm(y)
