"""Sound attention of a fifth corpus, first batch. What each is stands in manifest.json."""

import math
from functools import partial

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


# ---- functions
def attend_plain_division(q, k, v):
    e = torch.exp(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5)
    return (e / e.sum(dim=-1, keepdim=True)) @ v


def tf_style(q, k, v, mask):
    """Calculate the attention weights. mask: (..., seq_len_q, seq_len_k), 1 where the key must not be looked at."""
    matmul_qk = torch.matmul(q, k.transpose(-1, -2))
    dk = torch.tensor(k.shape[-1], dtype=torch.float32)
    scaled_attention_logits = matmul_qk / torch.sqrt(dk)
    if mask is not None:
        scaled_attention_logits = scaled_attention_logits + (mask * -1e9)
    attention_weights = F.softmax(scaled_attention_logits, dim=-1)
    output = torch.matmul(attention_weights, v)
    return output, attention_weights


def old_gpt2_attn(q, k, v):
    # q, k, v have shape [batch, heads, sequence, features]
    w = torch.matmul(q, k.transpose(-1, -2))
    w = w * torch.rsqrt(torch.tensor(float(v.shape[-1])))
    nd, ns = w.shape[-2:]
    i = torch.arange(nd)[:, None]
    j = torch.arange(ns)
    b = (i >= j - ns + nd).to(w.dtype).view(1, 1, nd, ns)
    w = w * b - 1e10 * (1 - b)
    w = torch.softmax(w, dim=-1)
    return torch.matmul(w, v)


def np_self_attention(X, Wq, Wk, Wv):
    Q, K, V = X @ Wq, X @ Wk, X @ Wv
    S = Q @ np.swapaxes(K, -1, -2) / np.sqrt(K.shape[-1])
    S = S - S.max(axis=-1, keepdims=True)
    P = np.exp(S)
    P /= P.sum(axis=-1, keepdims=True)
    return P @ V


def einsum_gqa(q, k, v):
    """q: b t h d ; k, v: b s g d with h a multiple of g"""
    b, t, h, d = q.shape
    g = k.shape[2]
    q = q.reshape(b, t, g, h // g, d)
    s = torch.einsum("btgrd,bsgd->bgrts", q, k) * d**-0.5
    p = s.softmax(-1)
    o = torch.einsum("bgrts,bsgd->btgrd", p, v)
    return o.reshape(b, t, h, d)


def bool_keep(query, key, value, mask=None, *, dropout=None):
    "mask: True at the positions that take part"
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    p_attn = scores.softmax(dim=-1)
    if dropout is not None:
        p_attn = dropout(p_attn)
    return torch.matmul(p_attn, value), p_attn


def baddbmm_attention(q, k, v):
    # three dims: (batch * heads, tokens, size)
    s = torch.baddbmm(torch.empty(q.shape[0], q.shape[1], k.shape[1]), q, k.transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
    return torch.bmm(s.softmax(dim=-1), v)


def loop_attention(q, k, v):
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[2])
    for b in range(q.shape[0]):
        for t in range(q.shape[1]):
            s = torch.stack([torch.dot(q[b, t], k[b, u]) for u in range(k.shape[1])]) / math.sqrt(q.shape[2])
            w = torch.softmax(s, 0)
            for u in range(k.shape[1]):
                out[b, t] += w[u] * v[b, u]
    return out


# ---- modules
class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd=48, n_head=6, block_size=64, bias=False, dropout=0.1):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=bias)
        self.c_proj = nn.Linear(n_embd, n_embd, bias=bias)
        self.attn_dropout = nn.Dropout(dropout)
        self.resid_dropout = nn.Dropout(dropout)
        self.n_head, self.n_embd, self.dropout = n_head, n_embd, dropout
        self.register_buffer("bias", torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size))

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        att = self.attn_dropout(F.softmax(att, dim=-1))
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.resid_dropout(self.c_proj(y))


class Attention(nn.Module):
    """lucidrains-like, without einops"""

    def __init__(self, dim=32, heads=4, dim_head=16, dropout=0.0):
        super().__init__()
        inner_dim = dim_head * heads
        self.heads = heads
        self.scale = dim_head**-0.5
        self.norm = nn.LayerNorm(dim)
        self.attend = nn.Softmax(dim=-1)
        self.dropout = nn.Dropout(dropout)
        self.to_qkv = nn.Linear(dim, inner_dim * 3, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner_dim, dim), nn.Dropout(dropout))

    def forward(self, x):
        x = self.norm(x)
        qkv = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = map(lambda t: t.unflatten(-1, (self.heads, -1)).permute(0, 2, 1, 3), qkv)
        dots = torch.matmul(q, k.transpose(-1, -2)) * self.scale
        attn = self.dropout(self.attend(dots))
        out = torch.matmul(attn, v).permute(0, 2, 1, 3).flatten(2)
        return self.to_out(out)


class MAB(nn.Module):
    """Multihead attention block of the Set Transformer."""

    def __init__(self, dim_Q=24, dim_K=24, dim_V=24, num_heads=4):
        super().__init__()
        self.dim_V, self.num_heads = dim_V, num_heads
        self.fc_q = nn.Linear(dim_Q, dim_V)
        self.fc_k = nn.Linear(dim_K, dim_V)
        self.fc_v = nn.Linear(dim_K, dim_V)
        self.fc_o = nn.Linear(dim_V, dim_V)

    def forward(self, Q, K):
        Q = self.fc_q(Q)
        K, V = self.fc_k(K), self.fc_v(K)
        dim_split = self.dim_V // self.num_heads
        Q_ = torch.cat(Q.split(dim_split, 2), 0)
        K_ = torch.cat(K.split(dim_split, 2), 0)
        V_ = torch.cat(V.split(dim_split, 2), 0)
        A = torch.softmax(Q_.bmm(K_.transpose(1, 2)) / math.sqrt(dim_split), 2)
        O = torch.cat((Q_ + A.bmm(V_)).split(Q.size(0), 0), 2)
        O = O + F.relu(self.fc_o(O))
        return O


class ClassAttention(nn.Module):
    """CaiT: only the class token (the first) asks."""

    def __init__(self, dim=32, num_heads=4):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q = self.q(x[:, 0]).unsqueeze(1).reshape(B, 1, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3)
        k = self.k(x).reshape(B, N, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3)
        v = self.v(x).reshape(B, N, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3)
        attn = (q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)
        x_cls = (attn @ v).transpose(1, 2).reshape(B, 1, C)
        return self.proj(x_cls)


class PrefixAttention(nn.Module):
    """Prefix tuning: learned keys and values stand before those of the text."""

    def __init__(self, dim=32, heads=4, prefix=3):
        super().__init__()
        self.h = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.prefix_k = nn.Parameter(torch.randn(prefix, dim))
        self.prefix_v = nn.Parameter(torch.randn(prefix, dim))

    def forward(self, x):
        b, t, c = x.shape
        k = torch.cat([self.prefix_k.expand(b, -1, -1), self.k_proj(x)], 1)
        v = torch.cat([self.prefix_v.expand(b, -1, -1), self.v_proj(x)], 1)
        q, k, v = (z.view(b, -1, self.h, c // self.h).transpose(1, 2) for z in (self.q_proj(x), k, v))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))


class DiffAttention(nn.Module):
    """Differential Transformer: the difference of two maps."""

    def __init__(self, dim=32, heads=2, lambda_init=0.8):
        super().__init__()
        self.h, self.d = heads, dim // heads // 2
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.lambda_init = lambda_init
        self.lq1, self.lk1, self.lq2, self.lk2 = (nn.Parameter(torch.randn(self.d) * 0.1) for _ in range(4))

    def forward(self, x):
        b, t, c = x.shape
        q = self.q_proj(x).view(b, t, 2 * self.h, self.d).transpose(1, 2) * self.d**-0.5
        k = self.k_proj(x).view(b, t, 2 * self.h, self.d).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.h, 2 * self.d).transpose(1, 2)
        a = torch.softmax(q @ k.transpose(-1, -2), -1).view(b, self.h, 2, t, t)
        lam = torch.exp((self.lq1 * self.lk1).sum()) - torch.exp((self.lq2 * self.lk2).sum()) + self.lambda_init
        a = a[:, :, 0] - lam * a[:, :, 1]
        y = a @ v
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5) * (1 - self.lambda_init)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))


class TransformerXL(nn.Module):
    def __init__(self, d_model=32, n_head=4):
        super().__init__()
        self.n_head, self.d_head = n_head, d_model // n_head
        self.qkv_net = nn.Linear(d_model, 3 * d_model, bias=False)
        self.r_net = nn.Linear(d_model, d_model, bias=False)
        self.o_net = nn.Linear(d_model, d_model, bias=False)
        self.r_w_bias = nn.Parameter(torch.randn(n_head, self.d_head))
        self.r_r_bias = nn.Parameter(torch.randn(n_head, self.d_head))
        self.d_model = d_model

    def _positions(self, t):
        pos = torch.arange(t - 1, -1, -1.0)
        inv = 1 / (10000 ** (torch.arange(0.0, self.d_model, 2.0) / self.d_model))
        s = torch.outer(pos, inv)
        return torch.cat([s.sin(), s.cos()], -1)

    def forward(self, w):
        b, t, _ = w.shape
        r = self.r_net(self._positions(t)).view(t, self.n_head, self.d_head)
        q, k, v = (z.view(b, t, self.n_head, self.d_head) for z in self.qkv_net(w).chunk(3, -1))
        ac = torch.einsum("bind,bjnd->bnij", q + self.r_w_bias, k)
        bd = torch.einsum("bind,jnd->bnij", q + self.r_r_bias, r)
        zero = torch.zeros(b, self.n_head, t, 1)
        bd = torch.cat([zero, bd], -1).view(b, self.n_head, t + 1, t)[:, :, 1:].view(b, self.n_head, t, t)
        s = (ac + bd) * self.d_head**-0.5
        s = s.masked_fill(torch.ones(t, t).triu(1).bool(), float("-inf"))
        y = torch.einsum("bnij,bjnd->bind", s.softmax(-1), v)
        return self.o_net(y.reshape(b, t, -1))


class T5Attention(nn.Module):
    def __init__(self, d_model=32, heads=4, buckets=8, max_distance=16):
        super().__init__()
        self.h = heads
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))
        self.relative_attention_bias = nn.Embedding(buckets, heads)
        self.buckets, self.max_distance = buckets, max_distance

    def bucket(self, rel):
        n = self.buckets // 2
        out = (rel > 0).long() * n
        rel = rel.abs()
        exact = n // 2
        large = exact + (torch.log(rel.float().clamp(min=1) / exact) / math.log(self.max_distance / exact) * (n - exact)).long()
        return out + torch.where(rel < exact, rel, large.clamp(max=n - 1))

    def forward(self, hidden_states):
        b, t, c = hidden_states.shape
        shape = lambda z: z.view(b, t, self.h, -1).transpose(1, 2)
        q, k, v = shape(self.q(hidden_states)), shape(self.k(hidden_states)), shape(self.v(hidden_states))
        i = torch.arange(t)
        bias = self.relative_attention_bias(self.bucket(i[None] - i[:, None])).permute(2, 0, 1)
        w = F.softmax(q @ k.transpose(3, 2) + bias, dim=-1)  # T5 does not scale
        return self.o((w @ v).transpose(1, 2).reshape(b, t, c))


class LlamaLike(nn.Module):
    def __init__(self, dim=48, n_heads=6, n_kv_heads=2, max_len=64):
        super().__init__()
        self.n_heads, self.n_kv, self.hd = n_heads, n_kv_heads, dim // n_heads
        self.wq = nn.Linear(dim, n_heads * self.hd, bias=False)
        self.wk = nn.Linear(dim, n_kv_heads * self.hd, bias=False)
        self.wv = nn.Linear(dim, n_kv_heads * self.hd, bias=False)
        self.wo = nn.Linear(n_heads * self.hd, dim, bias=False)
        freqs = 1.0 / (10000.0 ** (torch.arange(0, self.hd, 2)[: self.hd // 2].float() / self.hd))
        self.register_buffer("freqs_cis", torch.polar(torch.ones(max_len, self.hd // 2), torch.outer(torch.arange(max_len).float(), freqs)), persistent=False)

    def rot(self, x):
        c = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(c * self.freqs_cis[: x.shape[1], None]).flatten(3).type_as(x)

    def forward(self, x, mask=None):
        bsz, seqlen, _ = x.shape
        xq = self.rot(self.wq(x).view(bsz, seqlen, self.n_heads, self.hd))
        xk = self.rot(self.wk(x).view(bsz, seqlen, self.n_kv, self.hd))
        xv = self.wv(x).view(bsz, seqlen, self.n_kv, self.hd)
        n_rep = self.n_heads // self.n_kv
        xk, xv = (z[:, :, :, None].expand(-1, -1, -1, n_rep, -1).reshape(bsz, seqlen, self.n_heads, self.hd) for z in (xk, xv))
        xq, keys, values = xq.transpose(1, 2), xk.transpose(1, 2), xv.transpose(1, 2)
        scores = torch.matmul(xq, keys.transpose(2, 3)) / math.sqrt(self.hd)
        if mask is not None:
            scores = scores + mask  # (seqlen, seqlen), 0 or -inf
        scores = F.softmax(scores.float(), dim=-1).type_as(xq)
        output = torch.matmul(scores, values).transpose(1, 2).contiguous().view(bsz, seqlen, -1)
        return self.wo(output)


class WindowAttention(nn.Module):
    """Swin: B_, N, C with N = Wh*Ww"""

    def __init__(self, dim=32, window_size=(3, 3), num_heads=4, qkv_bias=True):
        super().__init__()
        self.window_size, self.num_heads = window_size, num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.randn((2 * window_size[0] - 1) * (2 * window_size[1] - 1), num_heads))
        coords = torch.stack(torch.meshgrid(torch.arange(window_size[0]), torch.arange(window_size[1]), indexing="ij")).flatten(1)
        rel = (coords[:, :, None] - coords[:, None]).permute(1, 2, 0).contiguous()
        rel[:, :, 0] += window_size[0] - 1
        rel[:, :, 1] += window_size[1] - 1
        rel[:, :, 0] *= 2 * window_size[1] - 1
        self.register_buffer("relative_position_index", rel.sum(-1))
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        B_, N, C = x.shape
        qkv = self.qkv(x).reshape(B_, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn = q * self.scale @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)].view(N, N, -1).permute(2, 0, 1).contiguous()
        attn = attn + bias.unsqueeze(0)
        if mask is not None:
            nW = mask.shape[0]
            attn = attn.view(B_ // nW, nW, self.num_heads, N, N) + mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, self.num_heads, N, N)
        attn = attn.softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B_, N, C))


class SAGANAttention(nn.Module):
    """Self-attention over the pixels of an image, as GANs have it."""

    def __init__(self, in_dim=16):
        super().__init__()
        self.query_conv = nn.Conv2d(in_dim, in_dim // 4, 1)
        self.key_conv = nn.Conv2d(in_dim, in_dim // 4, 1)
        self.value_conv = nn.Conv2d(in_dim, in_dim, 1)
        self.gamma = nn.Parameter(torch.full((1,), 0.7))

    def forward(self, x):
        b, c, w, h = x.size()
        q = self.query_conv(x).view(b, -1, w * h).permute(0, 2, 1)
        k = self.key_conv(x).view(b, -1, w * h)
        attention = torch.softmax(torch.bmm(q, k) / math.sqrt(q.shape[-1]), -1)
        v = self.value_conv(x).view(b, -1, w * h)
        out = torch.bmm(v, attention.permute(0, 2, 1)).view(b, c, w, h)
        return self.gamma * out + x


class MeanOverHeads(nn.Module):
    """GATv1-like final layer: the heads are averaged, not joined."""

    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.h = heads
        self.q, self.k, self.v = (nn.Linear(dim, dim * heads, bias=False) for _ in range(3))
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.h, c).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = torch.softmax(q @ k.transpose(-1, -2) / c**0.5, -1)
        return self.out((a @ v).mean(1))


class EncoderBlock(nn.Module):
    def __init__(self, d_model=32, nhead=4):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(d_model, nhead, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, src, src_key_padding_mask=None):
        """src_key_padding_mask: True for padding"""
        a, _ = self.self_attn(src, src, src, key_padding_mask=src_key_padding_mask, need_weights=False)
        return self.norm(src + a)


class AnnotatedMHA(nn.Module):
    def __init__(self, h=4, d_model=32, dropout=0.1):
        super().__init__()
        self.d_k, self.h = d_model // h, h
        self.linears = nn.ModuleList([nn.Linear(d_model, d_model) for _ in range(4)])
        self.attn = None
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, query, key, value, mask=None):
        if mask is not None:
            mask = mask.unsqueeze(1)  # same mask for all heads
        nb = query.size(0)
        query, key, value = [lin(x).view(nb, -1, self.h, self.d_k).transpose(1, 2) for lin, x in zip(self.linears, (query, key, value))]
        x, self.attn = bool_keep(query, key, value, mask if mask is None else mask.bool(), dropout=self.dropout)
        x = x.transpose(1, 2).contiguous().view(nb, -1, self.h * self.d_k)
        return self.linears[-1](x)


class D2LMHA(nn.Module):
    def __init__(self, num_hiddens=32, num_heads=4, bias=False):
        super().__init__()
        self.num_heads = num_heads
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.LazyLinear(num_hiddens, bias=bias) for _ in range(4))

    def transpose_qkv(self, X):
        X = X.reshape(X.shape[0], X.shape[1], self.num_heads, -1).permute(0, 2, 1, 3)
        return X.reshape(-1, X.shape[2], X.shape[3])

    def transpose_output(self, X):
        X = X.reshape(-1, self.num_heads, X.shape[1], X.shape[2]).permute(0, 2, 1, 3)
        return X.reshape(X.shape[0], X.shape[1], -1)

    def forward(self, queries, keys, values, valid_lens=None):
        queries, keys, values = (self.transpose_qkv(f(z)) for f, z in ((self.W_q, queries), (self.W_k, keys), (self.W_v, values)))
        scores = torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(queries.shape[-1])
        if valid_lens is not None:
            valid_lens = torch.repeat_interleave(valid_lens, repeats=self.num_heads, dim=0)
            keep = torch.arange(keys.shape[1])[None, :] < valid_lens[:, None]
            scores = scores.masked_fill(~keep[:, None], -1e6)
        return self.W_o(self.transpose_output(torch.bmm(F.softmax(scores, -1), values)))


class AlibiAttention(nn.Module):
    def __init__(self, d=32, n_heads=4, max_len=32):
        super().__init__()
        self.n = n_heads
        self.kqv = nn.Linear(d, 3 * d, bias=False)
        self.o = nn.Linear(d, d)
        self.register_buffer("m", 2 ** (-8 * torch.arange(1, n_heads + 1).float() / n_heads))

    def forward(self, x):
        b, t, d = x.shape
        key, query, value = self.kqv(x).chunk(3, dim=-1)
        key = key.view(b, t, self.n, -1).permute(0, 2, 3, 1)
        query = query.view(b, t, self.n, -1).transpose(1, 2)
        value = value.view(b, t, self.n, -1).transpose(1, 2)
        pos = torch.arange(t)
        bias = -(pos[:, None] - pos[None]).abs() * self.m[:, None, None]
        score = query @ key / math.sqrt(d // self.n) + bias
        score = score.masked_fill(pos[None] > pos[:, None], -torch.inf)
        return self.o((score.softmax(-1) @ value).transpose(1, 2).reshape(b, t, d))


class CachedSelfAttention(nn.Module):
    """Raschka-like with a cache kept in the module."""

    def __init__(self, d_in=32, d_out=32, num_heads=4, context_length=32):
        super().__init__()
        self.num_heads, self.head_dim, self.d_out = num_heads, d_out // num_heads, d_out
        self.W_query, self.W_key, self.W_value = (nn.Linear(d_in, d_out, bias=False) for _ in range(3))
        self.out_proj = nn.Linear(d_out, d_out)
        self.register_buffer("mask", torch.triu(torch.ones(context_length, context_length), diagonal=1), persistent=False)
        self.cache_k, self.cache_v, self.ptr = None, None, 0

    def forward(self, x, use_cache=False):
        b, n, _ = x.shape
        keys, values, queries = self.W_key(x), self.W_value(x), self.W_query(x)
        keys, values, queries = (z.view(b, n, self.num_heads, self.head_dim) for z in (keys, values, queries))
        start = 0
        if use_cache:
            self.cache_k = keys if self.cache_k is None else torch.cat([self.cache_k, keys], 1)
            self.cache_v = values if self.cache_v is None else torch.cat([self.cache_v, values], 1)
            keys, values = self.cache_k, self.cache_v
            start, self.ptr = self.ptr, self.ptr + n
        keys, queries, values = keys.transpose(1, 2), queries.transpose(1, 2), values.transpose(1, 2)
        attn_scores = queries @ keys.transpose(2, 3)
        mask_bool = self.mask.bool()[start : start + n, : keys.shape[2]]
        attn_scores.masked_fill_(mask_bool, -torch.inf)
        attn_weights = torch.softmax(attn_scores / keys.shape[-1] ** 0.5, dim=-1)
        context_vec = (attn_weights @ values).transpose(1, 2).contiguous().view(b, n, self.d_out)
        return self.out_proj(context_vec)


class QKNormRope(nn.Module):
    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.h, self.d = heads, dim // heads
        self.qkv_proj = nn.Linear(dim, 3 * dim, bias=False)
        self.o_proj = nn.Linear(dim, dim, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(self.d), nn.RMSNorm(self.d)

    def rope(self, x):
        t = torch.arange(x.shape[-2]).float()
        inv = 10000 ** (-torch.arange(0, self.d, 2).float() / self.d)
        f = torch.outer(t, inv)
        cos, sin = f.cos(), f.sin()
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv_proj(x).view(b, t, 3, self.h, self.d).unbind(2)
        q, k = self.rope(self.q_norm(q).transpose(1, 2)), self.rope(self.k_norm(k).transpose(1, 2))
        y = F.scaled_dot_product_attention(q, k, v.transpose(1, 2), is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, c))


class SpatialReduction(nn.Module):
    """PVT/SegFormer: keys and values of a shorter sequence (mean of neighbours)."""

    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.h = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q = self.q(x).reshape(B, N, self.h, C // self.h).permute(0, 2, 1, 3)
        r = F.avg_pool1d(x.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)
        k, v = self.kv(r).reshape(B, -1, 2, self.h, C // self.h).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) * (C // self.h) ** -0.5).softmax(-1)
        return self.proj((a @ v).transpose(1, 2).reshape(B, N, C))


class CrossWithNulls(nn.Module):
    """Imagen-like cross-attention: one learned null key and value."""

    def __init__(self, dim=32, context_dim=24, heads=4, dim_head=8):
        super().__init__()
        self.h, self.d = heads, dim_head
        self.norm = nn.LayerNorm(dim)
        self.null_kv = nn.Parameter(torch.randn(2, dim_head))
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_kv = nn.Linear(context_dim, 2 * heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, dim, bias=False)

    def forward(self, x, context, mask=None):
        b, n, _ = x.shape
        x = self.norm(x)
        q = self.to_q(x).view(b, n, self.h, self.d).transpose(1, 2)
        k, v = (z.view(b, -1, self.h, self.d).transpose(1, 2) for z in self.to_kv(context).chunk(2, -1))
        nk, nv = (z.expand(b, self.h, 1, self.d) for z in self.null_kv)
        k, v = torch.cat([nk, k], -2), torch.cat([nv, v], -2)
        sim = torch.einsum("bhid,bhjd->bhij", q, k) * self.d**-0.5
        if mask is not None:  # True for words to keep
            mask = F.pad(mask, (1, 0), value=True)[:, None, None]
            sim = sim.masked_fill(~mask, -torch.finfo(sim.dtype).max)
        return self.to_out((sim.softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1))


class OutputTwice(nn.Module):
    """A shared output layer, applied twice on purpose."""

    def __init__(self, d=32, h=4):
        super().__init__()
        self.h = h
        self.query, self.key, self.value, self.dense = (nn.Linear(d, d) for _ in range(4))

    def forward(self, hidden):
        b, t, c = hidden.shape
        q, k, v = (f(hidden).view(b, t, self.h, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        ctx = (torch.softmax(q @ k.mT / math.sqrt(c / self.h), dim=-1) @ v).transpose(1, 2).reshape(b, t, c)
        return self.dense(self.dense(ctx))


class KarpathyHead(nn.Module):
    def __init__(self, n_embd=32, head_size=8, block_size=32):
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)))

    def forward(self, x):
        B, T, C = x.shape
        k, q = self.key(x), self.query(x)
        wei = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))
        return F.softmax(wei, dim=-1) @ self.value(x)


class KarpathyMulti(nn.Module):
    def __init__(self, n_embd=32, num_heads=4):
        super().__init__()
        self.heads = nn.ModuleList([KarpathyHead(n_embd, n_embd // num_heads) for _ in range(num_heads)])
        self.proj = nn.Linear(n_embd, n_embd)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        return self.dropout(self.proj(torch.cat([h(x) for h in self.heads], dim=-1)))


class CosineLength(nn.Module):
    """Queries and keys are normalised over the length axis before they meet (XCiT's channel attention)."""

    def __init__(self, dim=32, num_heads=4):
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 4, 1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attn = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        return self.proj((attn @ v).permute(0, 3, 1, 2).reshape(B, N, C))


class ViTBlockAttn(nn.Module):
    """as in DeiT III: with layer scale and a residual"""

    def __init__(self, dim=32, num_heads=4, init_values=0.1):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self.gamma = nn.Parameter(init_values * torch.ones(dim))
        self.h = num_heads

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(B, N, 3, self.h, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, C)
        return x + self.gamma * self.proj(y)
