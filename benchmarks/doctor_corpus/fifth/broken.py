"""Mistakes of a fifth corpus, first batch. What each is stands in manifest.json."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


def softmax_after_value(q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) @ v / math.sqrt(q.shape[-1]), dim=-1)


def tf_style_dim1(q, k, v, mask=None):
    """q, k, v: (batch, length, depth)"""
    logits = torch.matmul(q, k.transpose(-1, -2)) / k.shape[-1] ** 0.5
    if mask is not None:
        logits += mask * -1e9
    return torch.matmul(F.softmax(logits, dim=1), v)


def np_no_scale(Q, K, V):
    S = Q @ np.swapaxes(K, -1, -2)
    P = np.exp(S - S.max(-1, keepdims=True))
    return P / P.sum(-1, keepdims=True) @ V


def np_global_softmax(Q, K, V):
    S = Q @ np.swapaxes(K, -1, -2) / np.sqrt(Q.shape[-1])
    P = np.exp(S - S.max())
    return (P / P.sum()) @ V


def np_axis0(X, Wq, Wk, Wv):
    Q, K, V = X @ Wq, X @ Wk, X @ Wv
    S = Q @ np.swapaxes(K, -1, -2) / np.sqrt(K.shape[-1])
    P = np.exp(S - S.max(axis=-2, keepdims=True))
    return P / P.sum(axis=-2, keepdims=True) @ V


def scaled_again(q, k, v):
    d = q.size(-1)
    q = q / math.sqrt(d)
    k = k / math.sqrt(d)
    return F.softmax(q @ k.transpose(-1, -2), -1) @ v


def mask_false_keep(query, key, value, mask=None):
    """mask: True where attention is allowed"""
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(mask, float("-inf"))
    return scores.softmax(-1) @ value


def weights_zeroed(query, key, value, mask=None):
    attn = torch.softmax(query @ key.mT / math.sqrt(query.size(-1)), dim=-1)
    if mask is not None:
        attn = attn * mask
    return attn @ value


def tril_after(q, k, v):
    n = q.shape[-2]
    a = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return torch.tril(a) @ v


def diag_zero(q, k, v):
    # (B, H, T, D), causal
    n = q.shape[-2]
    s = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    s = s.masked_fill(torch.triu(torch.ones(n, n), diagonal=0).bool(), -1e9)
    return s.softmax(-1) @ v


def gqa_repeat(q, k, v):
    """q: (b, h, t, d), k and v: (b, g, s, d)"""
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat(1, n, 1, 1), v.repeat(1, n, 1, 1)
    return F.scaled_dot_product_attention(q, k, v)


def dropout_functional(q, k, v):
    w = F.dropout((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1), 0.1)
    return w @ v


def half_softmax(q, k, v):
    s = (q.half() @ k.half().transpose(-1, -2)) / q.shape[-1] ** 0.5
    return (torch.softmax(s.float(), -1)).to(v.dtype) @ v


def key_loop_off(q, k, v):
    # the last key is never read
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[2])
    for t in range(q.shape[1]):
        s = torch.stack([(q[:, t] * k[:, u]).sum(-1) for u in range(k.shape[1] - 1)], -1) / math.sqrt(q.shape[2])
        w = s.softmax(-1)
        for u in range(k.shape[1] - 1):
            out[:, t] += w[:, u, None] * v[:, u]
    return out


class GPT(nn.Module):
    def __init__(self, n_embd=48, n_head=6, block_size=64):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.n_head = n_head
        self.register_buffer("bias", torch.tril(torch.ones(block_size, block_size)))

    def parts(self, x):
        B, T, C = x.shape
        return [z.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for z in self.c_attn(x).chunk(3, -1)]


class GPTModelScale(GPT):
    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.parts(x)
        att = q @ k.transpose(-2, -1) / math.sqrt(C)
        att = att.masked_fill(self.bias[:T, :T] == 0, float("-inf")).softmax(-1)
        return self.c_proj((att @ v).transpose(1, 2).reshape(B, T, C))


class GPTMergeForgot(GPT):
    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.parts(x)
        att = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))
        att = att.masked_fill(self.bias[:T, :T] == 0, float("-inf")).softmax(-1)
        return self.c_proj((att @ v).contiguous().view(B, T, C))


class GPTZeroFill(GPT):
    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.parts(x)
        att = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))
        att = (att * self.bias[:T, :T]).softmax(-1)
        return self.c_proj((att @ v).transpose(1, 2).reshape(B, T, C))


class GPTNoProj(GPT):
    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.parts(x)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).reshape(B, T, C)


class GPTUpper(GPT):
    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.parts(x)
        att = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))
        att = att.masked_fill(self.bias[:T, :T] == 1, -1e9).softmax(-1)
        return self.c_proj((att @ v).transpose(1, 2).reshape(B, T, C))


class ViTAttn(nn.Module):
    """permute with the wrong order of the axes"""

    def __init__(self, dim=32, num_heads=4):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 1, 3, 4)
        attn = (q @ k.transpose(-2, -1) * (C // self.num_heads) ** -0.5).softmax(-1)
        return self.proj((attn @ v).reshape(B, N, C))


class ViTReshapeQKV(nn.Module):
    def __init__(self, dim=32, num_heads=4):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(3, B, self.num_heads, N, C // self.num_heads)
        attn = (q @ k.transpose(-2, -1) * (C // self.num_heads) ** -0.5).softmax(-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class BertSelf(nn.Module):
    def __init__(self, hidden_size=32, num_attention_heads=4):
        super().__init__()
        self.h, self.d = num_attention_heads, hidden_size // num_attention_heads
        self.query, self.key, self.value, self.dense = (nn.Linear(hidden_size, hidden_size) for _ in range(4))

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.h, self.d).permute(0, 2, 1, 3)


class BertMaskAdded(BertSelf):
    def forward(self, hidden_states, attention_mask=None):
        """attention_mask: (batch, length), 1 for real tokens and 0 for padding"""
        q, k, v = (self.split(f(hidden_states)) for f in (self.query, self.key, self.value))
        s = q @ k.transpose(-1, -2) / math.sqrt(self.d)
        if attention_mask is not None:
            s = s + attention_mask[:, None, None, :]
        return self.dense((s.softmax(-1) @ v).transpose(1, 2).flatten(2))


class BertQueryMask(BertSelf):
    def forward(self, hidden_states, attention_mask=None):
        """attention_mask: (batch, length), 1 for real tokens and 0 for padding"""
        q, k, v = (self.split(f(hidden_states)) for f in (self.query, self.key, self.value))
        s = q @ k.transpose(-1, -2) / math.sqrt(self.d)
        if attention_mask is not None:
            s = s.masked_fill(attention_mask[:, None, :, None] == 0, -1e9)
        return self.dense((s.softmax(-1) @ v).transpose(1, 2).flatten(2))


class BertKeyFromQuery(BertSelf):
    def forward(self, hidden_states):
        q = self.split(self.query(hidden_states))
        k = self.split(self.key(self.query(hidden_states)))
        v = self.split(self.value(hidden_states))
        s = q @ k.transpose(-1, -2) / math.sqrt(self.d)
        return self.dense((s.softmax(-1) @ v).transpose(1, 2).flatten(2))


class BertSharedKV(BertSelf):
    def forward(self, hidden_states):
        q, k, v = (self.split(f(hidden_states)) for f in (self.query, self.key, self.key))
        s = q @ k.transpose(-1, -2) / math.sqrt(self.d)
        return self.dense((s.softmax(-1) @ v).transpose(1, 2).flatten(2))


class BertHeadSoftmax(BertSelf):
    def forward(self, hidden_states):
        q, k, v = (self.split(f(hidden_states)) for f in (self.query, self.key, self.value))
        s = q @ k.transpose(-1, -2) / math.sqrt(self.d)
        return self.dense((F.softmax(s, 1) @ v).transpose(1, 2).flatten(2))


class BertWeightsTransposed(BertSelf):
    def forward(self, hidden_states):
        q, k, v = (self.split(f(hidden_states)) for f in (self.query, self.key, self.value))
        w = (q @ k.transpose(-1, -2) / math.sqrt(self.d)).softmax(-1)
        return self.dense((w.transpose(-1, -2) @ v).transpose(1, 2).flatten(2))


class RopeAll(nn.Module):
    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.h, self.d = heads, dim // heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.register_buffer("inv_freq", 1.0 / 10000 ** (torch.arange(0, self.d, 2).float() / self.d))

    def heads(self, f, x):
        return f(x).view(x.shape[0], x.shape[1], self.h, self.d).transpose(1, 2)

    def angles(self, t):
        a = torch.outer(torch.arange(t).float(), self.inv_freq)
        return torch.cat([a, a], -1)

    def turn(self, x):
        a = self.angles(x.shape[-2])
        y = torch.cat([-x[..., self.d // 2 :], x[..., : self.d // 2]], -1)
        return x * a.cos() + y * a.sin()


class RopeOnValue(RopeAll):
    def forward(self, x):
        q, k, v = (self.turn(self.heads(f, x)) for f in (self.wq, self.wk, self.wv))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(y.transpose(1, 2).flatten(2))


class RopeQueryOnly(RopeAll):
    def forward(self, x):
        q, k, v = (self.heads(f, x) for f in (self.wq, self.wk, self.wv))
        y = F.scaled_dot_product_attention(self.turn(q), k, v, is_causal=True)
        return self.wo(y.transpose(1, 2).flatten(2))


class RopeOverHeads(RopeAll):
    """the rotation is applied before the transpose, so it counts heads instead of tokens"""

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.h, self.d) for f in (self.wq, self.wk, self.wv))
        q, k = self.turn(q), self.turn(k)
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
        return self.wo(y.transpose(1, 2).flatten(2))


class MixedRope(RopeAll):
    """angles repeated (a, a, b, b), pairs taken as halves"""

    def forward(self, x):
        q, k, v = (self.heads(f, x) for f in (self.wq, self.wk, self.wv))
        a = torch.outer(torch.arange(x.shape[1]).float(), self.inv_freq).repeat_interleave(2, -1)
        half = lambda z: torch.cat([-z[..., self.d // 2 :], z[..., : self.d // 2]], -1)
        q, k = (z * a.cos() + half(z) * a.sin() for z in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(y.transpose(1, 2).flatten(2))


class WrappedMHA(nn.Module):
    """MultiheadAttention without batch_first, fed (batch, length, width)"""

    def __init__(self, d_model=32, nhead=4):
        super().__init__()
        self.attn = nn.MultiheadAttention(d_model, nhead)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x):
        # x: (batch, seq, d_model)
        a, _ = self.attn(x, x, x)
        return self.norm(x + a)


class WrappedMHAPolarity(nn.Module):
    def __init__(self, d_model=32, nhead=4):
        super().__init__()
        self.attn = nn.MultiheadAttention(d_model, nhead, batch_first=True)

    def forward(self, x, mask=None):
        """mask: (batch, length), True for real tokens"""
        out, _ = self.attn(x, x, x, key_padding_mask=mask)
        return out


class AlibiWrongSign(nn.Module):
    """ALiBi and a causal mask that is off by one"""

    def __init__(self, d=32, n_heads=4):
        super().__init__()
        self.n = n_heads
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.register_buffer("m", 2 ** (-8 * torch.arange(1, n_heads + 1).float() / n_heads))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (f(x).view(b, t, self.n, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        i = torch.arange(t)
        s = q @ k.mT / math.sqrt(d // self.n) - (i[:, None] - i).abs() * self.m[:, None, None]
        s = s.masked_fill(i[None] > i[:, None] + 1, -torch.inf)
        return self.o((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d))


class GQAScale(nn.Module):
    def __init__(self, dim=48, heads=6, kv=2):
        super().__init__()
        self.h, self.g, self.d = heads, kv, dim // heads
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, kv * self.d, bias=False)
        self.v_proj = nn.Linear(dim, kv * self.d, bias=False)
        self.o_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, self.h, self.d).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.g, self.d).transpose(1, 2).repeat_interleave(self.h // self.g, 1)
        v = self.v_proj(x).view(b, t, self.g, self.d).transpose(1, 2).repeat(1, self.h // self.g, 1, 1)
        s = q @ k.mT / math.sqrt(self.d)
        return self.o_proj((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, -1))


class XAttnSwapped(nn.Module):
    """cross-attention whose keys come from x and whose queries come from the context"""

    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.h = heads
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x, context):
        b = x.shape[0]
        q, k, v = (z.view(b, -1, self.h, z.shape[-1] // self.h).transpose(1, 2) for z in (self.to_q(x), self.to_k(context), self.to_v(context)))
        s = (q @ k.mT) * k.shape[-2] ** -0.5
        return self.to_out((s.softmax(-1) @ v).transpose(1, 2).flatten(2))


class KarpathyUnmasked(nn.Module):
    """masked by 0 instead of -inf"""

    def __init__(self, n_embd=32, head_size=8):
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(n_embd, head_size, bias=False) for _ in range(3))

    def forward(self, x):
        T = x.shape[1]
        wei = self.query(x) @ self.key(x).transpose(-2, -1) * self.key.out_features**-0.5
        wei = torch.tril(wei)
        return F.softmax(wei, dim=-1) @ self.value(x)
