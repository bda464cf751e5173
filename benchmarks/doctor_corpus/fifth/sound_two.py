"""Sound attention of a fifth corpus, second batch. What each is stands in manifest.json."""

import math
from collections import namedtuple

import numpy as np
import torch
from torch import nn, einsum
import torch.nn.functional as F


def attention_pytorch_docs(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):
    L, S = query.size(-2), key.size(-2)
    scale_factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    attn_bias = torch.zeros(L, S, dtype=query.dtype)
    if is_causal:
        attn_bias.masked_fill_(torch.ones(L, S, dtype=torch.bool).tril(diagonal=0).logical_not(), float("-inf"))
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_bias = attn_bias.masked_fill(attn_mask.logical_not(), float("-inf"))
        else:
            attn_bias = attn_mask + attn_bias
    attn_weight = query @ key.transpose(-2, -1) * scale_factor + attn_bias
    attn_weight = torch.softmax(attn_weight, dim=-1)
    attn_weight = torch.dropout(attn_weight, dropout_p, train=dropout_p > 0)
    return attn_weight @ value


def flash_like(q, k, v):
    """block-wise with running max and sum; (batch, heads, length, size)"""
    b, h, n, d = q.shape
    m = torch.full((b, h, n, 1), -torch.inf)
    l = torch.zeros(b, h, n, 1)
    o = torch.zeros(b, h, n, v.shape[-1])
    for j in range(0, k.shape[2], 2):
        kj, vj = k[:, :, j : j + 2], v[:, :, j : j + 2]
        s = q @ kj.transpose(-1, -2) * d**-0.5
        m_new = torch.maximum(m, s.amax(-1, keepdim=True))
        p = torch.exp(s - m_new)
        c = torch.exp(m - m_new)
        l = l * c + p.sum(-1, keepdim=True)
        o = o * c + p @ vj
        m = m_new
    return o / l


def extended_mask(query, key, value, attention_mask):
    """attention_mask: (batch, length) of ones for tokens and zeros for padding; heads are the second axis"""
    extended = (1.0 - attention_mask[:, None, None, :].float()) * -10000.0
    s = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1]) + extended
    return torch.matmul(nn.Softmax(dim=-1)(s), value)


def np_multihead(x, w_qkv, w_o, n_heads=4):
    t, c = x.shape[-2:]
    q, k, v = np.split(x @ w_qkv, 3, axis=-1)
    split = lambda z: np.moveaxis(z.reshape(*z.shape[:-1], n_heads, -1), -2, -3)
    q, k, v = split(q), split(k), split(v)
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    s = np.where(np.tri(t, dtype=bool), s, -1e10)
    p = np.exp(s - s.max(-1, keepdims=True))
    o = (p / p.sum(-1, keepdims=True)) @ v
    return np.moveaxis(o, -3, -2).reshape(*x.shape[:-1], -1) @ w_o


def hopfield_step(state, patterns, values):
    beta = 1 / math.sqrt(state.shape[-1])
    return torch.softmax(beta * state @ patterns.transpose(-1, -2), -1) @ values


def alibi_function(q, k, v):
    """(b h n d); slopes as in the paper"""
    h, n, m = q.shape[1], q.shape[2], k.shape[2]
    slopes = torch.tensor([2 ** (-8 * (i + 1) / h) for i in range(h)])
    dist = torch.arange(m)[None] - torch.arange(n)[:, None] - (m - n)
    bias = slopes[:, None, None] * -dist.abs()
    return ((q @ k.mT) / math.sqrt(q.shape[-1]) + bias).softmax(-1) @ v


class SDCrossAttention(nn.Module):
    """latent diffusion: heads go into the batch"""

    def __init__(self, query_dim=32, context_dim=None, heads=4, dim_head=8):
        super().__init__()
        inner = heads * dim_head
        context_dim = context_dim or query_dim
        self.scale, self.heads = dim_head**-0.5, heads
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, query_dim), nn.Dropout(0.1))

    def forward(self, x, context=None):
        h, b = self.heads, x.shape[0]
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (t.reshape(b, t.shape[1], h, -1).permute(0, 2, 1, 3).reshape(b * h, t.shape[1], -1) for t in (q, k, v))
        sim = einsum("b i d, b j d -> b i j", q, k) * self.scale
        attn = sim.softmax(dim=-1)
        out = einsum("b i j, b j d -> b i d", attn, v)
        out = out.reshape(b, h, -1, out.shape[-1]).permute(0, 2, 1, 3).flatten(2)
        return self.to_out(out)


class OPTAttention(nn.Module):
    def __init__(self, embed_dim=32, num_heads=4):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, embed_dim // num_heads
        self.scaling = self.head_dim**-0.5
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(embed_dim, embed_dim) for _ in range(4))

    def _shape(self, t, n, b):
        return t.view(b, n, self.num_heads, self.head_dim).transpose(1, 2).contiguous()

    def forward(self, hidden_states, attention_mask=None, output_attentions=False):
        b, n, c = hidden_states.size()
        q = self._shape(self.q_proj(hidden_states) * self.scaling, n, b).view(b * self.num_heads, n, -1)
        k = self._shape(self.k_proj(hidden_states), n, b).view(b * self.num_heads, n, -1)
        v = self._shape(self.v_proj(hidden_states), n, b).view(b * self.num_heads, n, -1)
        w = torch.bmm(q, k.transpose(1, 2))
        if attention_mask is not None:  # (batch, 1, length, length), added
            w = w.view(b, self.num_heads, n, n) + attention_mask
            w = torch.max(w, torch.tensor(torch.finfo(w.dtype).min)).view(b * self.num_heads, n, n)
        w = F.softmax(w, dim=-1)
        o = torch.bmm(w, v).view(b, self.num_heads, n, -1).transpose(1, 2).reshape(b, n, c)
        return self.out_proj(o), w.view(b, self.num_heads, n, n) if output_attentions else None


class FalconMQ(nn.Module):
    """one key head, fused"""

    def __init__(self, hidden=32, n_head=4):
        super().__init__()
        self.n_head, self.d = n_head, hidden // n_head
        self.query_key_value = nn.Linear(hidden, hidden + 2 * self.d, bias=False)
        self.dense = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x):
        b, t, c = x.shape
        f = self.query_key_value(x).view(b, t, self.n_head + 2, self.d)
        q, k, v = f[..., :-2, :], f[..., [-2], :], f[..., [-1], :]
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q), is_causal=True)
        return self.dense(y.transpose(1, 2).reshape(b, t, c))


class GPTJ(nn.Module):
    """rotary on a part of each head, adjacent pairs"""

    def __init__(self, d=48, heads=4, rotary_dim=4):
        super().__init__()
        self.h, self.hd, self.rotary_dim = heads, d // heads, rotary_dim
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(d, d, bias=False) for _ in range(4))

    def rotate(self, x):
        inv = 1.0 / (10000 ** (torch.arange(0, self.rotary_dim, 2) / self.rotary_dim))
        a = torch.einsum("i,j->ij", torch.arange(x.shape[2], dtype=torch.float), inv)
        sin, cos = a.sin().repeat_interleave(2, 1), a.cos().repeat_interleave(2, 1)
        r, p = x[..., : self.rotary_dim], x[..., self.rotary_dim :]
        r2 = torch.stack((-r[..., 1::2], r[..., ::2]), dim=-1).flatten(-2)
        return torch.cat([r * cos + r2 * sin, p], -1)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.h, self.hd).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        q, k = self.rotate(q), self.rotate(k)
        w = torch.matmul(q, k.transpose(-1, -2))
        w = torch.where(torch.tril(torch.ones(t, t, dtype=torch.bool)), w, torch.finfo(w.dtype).min) / math.sqrt(self.hd)
        return self.out_proj((w.softmax(-1) @ v).permute(0, 2, 1, 3).reshape(b, t, c))


class NeoXFused(nn.Module):
    def __init__(self, hidden_size=32, heads=4):
        super().__init__()
        self.heads, self.size = heads, hidden_size // heads
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size)
        self.dense = nn.Linear(hidden_size, hidden_size)

    def forward(self, x):
        b, t, _ = x.shape
        qkv = self.query_key_value(x).view(b, t, self.heads, 3 * self.size).transpose(1, 2)
        q, k, v = qkv.chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.dense(y.transpose(1, 2).flatten(2))


class DetrEncoderAttn(nn.Module):
    def __init__(self, d=32, h=4):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(d, h, batch_first=True)
        self.norm1 = nn.LayerNorm(d)

    def forward(self, src, pos=None):
        q = k = src if pos is None else src + pos
        return self.norm1(src + self.self_attn(q, k, value=src)[0])


class AttentionPool(nn.Module):
    """CLIP: the mean is one more token and asks"""

    def __init__(self, embed_dim=32, num_heads=4, output_dim=24):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(embed_dim, embed_dim) for _ in range(3))
        self.c_proj = nn.Linear(embed_dim, output_dim)
        self.num_heads = num_heads

    def forward(self, x):
        b, t, c = x.shape
        x = torch.cat([x.mean(1, keepdim=True), x], 1)
        q = self.q_proj(x[:, :1]).view(b, 1, self.num_heads, -1).transpose(1, 2)
        k, v = (f(x).view(b, t + 1, self.num_heads, -1).transpose(1, 2) for f in (self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.c_proj(y.transpose(1, 2).reshape(b, c))


class LastQuery(nn.Module):
    """a recommender reads off the last item only"""

    def __init__(self, hidden=32, heads=4):
        super().__init__()
        self.h = heads
        self.Wq, self.Wk, self.Wv, self.Wo = (nn.Linear(hidden, hidden) for _ in range(4))

    def forward(self, seq):
        b, t, c = seq.shape
        q = self.Wq(seq[:, -1]).view(b, self.h, 1, c // self.h)
        k = self.Wk(seq).view(b, t, self.h, c // self.h).permute(0, 2, 3, 1)
        v = self.Wv(seq).view(b, t, self.h, c // self.h).transpose(1, 2)
        a = torch.softmax(q @ k / (c // self.h) ** 0.5, -1)
        return self.Wo((a @ v).reshape(b, c))


class DeBERTaLike(nn.Module):
    def __init__(self, d=32, heads=4, span=8):
        super().__init__()
        self.h, self.d, self.span = heads, d // heads, span
        self.query_proj, self.key_proj, self.value_proj = (nn.Linear(d, d) for _ in range(3))
        self.pos_key_proj, self.pos_query_proj = nn.Linear(d, d, bias=False), nn.Linear(d, d)
        self.rel_embeddings = nn.Embedding(2 * span, d)
        self.dense = nn.Linear(d, d)

    def forward(self, x):
        b, t, c = x.shape
        cut = lambda z: z.view(z.shape[0], -1, self.h, self.d).transpose(1, 2)
        q, k, v = cut(self.query_proj(x)), cut(self.key_proj(x)), cut(self.value_proj(x))
        scale = math.sqrt(self.d * 3)
        i = torch.arange(t)
        rel = (i[:, None] - i[None] + self.span).clamp(0, 2 * self.span - 1)
        e = self.rel_embeddings.weight[None]
        pk, pq = cut(self.pos_key_proj(e)), cut(self.pos_query_proj(e))
        c2p = torch.gather(q @ pk.mT, -1, rel.expand(b, self.h, t, t))
        p2c = torch.gather(k @ pq.mT, -1, rel.expand(b, self.h, t, t)).mT
        s = (q @ k.mT + c2p + p2c) / scale
        return self.dense((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))


class MemoryKV(nn.Module):
    """persistent memory (all-attention): learned keys and values for each head"""

    def __init__(self, dim=32, heads=4, num_mem=5):
        super().__init__()
        self.heads, self.d = heads, dim // heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.mem_k = nn.Parameter(torch.randn(heads, num_mem, self.d))
        self.mem_v = nn.Parameter(torch.randn(heads, num_mem, self.d))
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = (t.reshape(b, n, self.heads, self.d).transpose(1, 2) for t in self.to_qkv(x).chunk(3, -1))
        k = torch.cat((self.mem_k.expand(b, -1, -1, -1), k), dim=-2)
        v = torch.cat((self.mem_v.expand(b, -1, -1, -1), v), dim=-2)
        dots = einsum("bhid,bhjd->bhij", q, k) * self.d**-0.5
        mask = torch.ones(n, n, dtype=torch.bool).triu(1)
        mask = F.pad(mask, (self.mem_k.shape[1], 0), value=False)
        dots.masked_fill_(mask, -torch.finfo(dots.dtype).max)
        return self.to_out((dots.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


class BiasKV(nn.Module):
    def __init__(self, d=32, h=4):
        super().__init__()
        self.mha = nn.MultiheadAttention(d, h, add_bias_kv=True, batch_first=True)

    def forward(self, x):
        return self.mha(x, x, x, need_weights=False)[0]


class TimeFirstFairseq(nn.Module):
    """Input shape: Time x Batch x Channel"""

    def __init__(self, embed_dim=32, num_heads=4):
        super().__init__()
        self.num_heads, self.head_dim, self.scaling = num_heads, embed_dim // num_heads, (embed_dim // num_heads) ** -0.5
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(embed_dim, embed_dim) for _ in range(4))

    def forward(self, query, key, value, key_padding_mask=None):
        """key_padding_mask (batch, src_len): True for pads"""
        tgt_len, bsz, e = query.shape
        q = self.q_proj(query) * self.scaling
        k, v = self.k_proj(key), self.v_proj(value)
        q, k, v = (z.contiguous().view(-1, bsz * self.num_heads, self.head_dim).transpose(0, 1) for z in (q, k, v))
        w = torch.bmm(q, k.transpose(1, 2))
        if key_padding_mask is not None:
            w = w.view(bsz, self.num_heads, tgt_len, -1)
            w = w.masked_fill(key_padding_mask[:, None, None].bool(), float("-inf")).view(bsz * self.num_heads, tgt_len, -1)
        a = torch.bmm(w.softmax(-1), v).transpose(0, 1).contiguous().view(tgt_len, bsz, e)
        return self.out_proj(a)


class GatedHeads(nn.Module):
    """gated attention: sigmoid of a map of the input multiplies what each head gives"""

    def __init__(self, d=32, h=4):
        super().__init__()
        self.h = h
        self.wqkv, self.wg, self.wo = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d), nn.Linear(d, d, bias=False)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.wqkv(x).view(b, t, 3, self.h, c // self.h).permute(2, 0, 3, 1, 4)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return self.wo(o * torch.sigmoid(self.wg(x)))


class GraphormerLike(nn.Module):
    """a learned bias for each distance, and a mask of the caller's"""

    def __init__(self, d=32, h=4, n=16):
        super().__init__()
        self.h = h
        self.linear_q, self.linear_k, self.linear_v, self.output_layer = (nn.Linear(d, d) for _ in range(4))
        self.spatial = nn.Embedding(n, h)

    def forward(self, x, mask=None):
        """mask: bool (batch, nodes), True for nodes that exist"""
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.h, -1).transpose(1, 2) for f in (self.linear_q, self.linear_k, self.linear_v))
        i = torch.arange(t)
        s = (q * (c // self.h) ** -0.5) @ k.transpose(2, 3) + self.spatial((i[:, None] - i).abs()).permute(2, 0, 1)
        if mask is not None:
            s = s.masked_fill(~mask.bool()[:, None, None], -1e9)
        return self.output_layer((s.softmax(3) @ v).transpose(1, 2).reshape(b, t, c))


class LearnedTemperature(nn.Module):
    """LSA for small ViTs: a learned temperature that starts at √d, and no token sees itself"""

    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.log(torch.tensor((dim // heads) ** -0.5)))
        self.to_qkv = nn.Linear(dim, dim * 3, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = (t.reshape(b, n, self.heads, -1).transpose(1, 2) for t in self.to_qkv(x).chunk(3, -1))
        dots = q @ k.transpose(-1, -2) * self.temperature.exp()
        dots = dots.masked_fill(torch.eye(n, dtype=torch.bool), -torch.finfo(dots.dtype).max)
        return self.to_out((dots.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


class PerceiverLatents(nn.Module):
    """Flamingo resampler: latents ask, media and latents answer"""

    def __init__(self, dim=32, heads=4, latents=4):
        super().__init__()
        self.heads = heads
        self.latents = nn.Parameter(torch.randn(latents, dim))
        self.norm_media, self.norm_latents = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q, self.to_kv, self.to_out = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False), nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        b = x.shape[0]
        x, lat = self.norm_media(x), self.norm_latents(self.latents).expand(b, -1, -1)
        k, v = self.to_kv(torch.cat((x, lat), 1)).chunk(2, -1)
        q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in (self.to_q(lat), k, v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class WithPast(nn.Module):
    def __init__(self, d=32, h=4):
        super().__init__()
        self.h = h
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))

    def forward(self, x, past_key_value=None):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.h, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        if past_key_value is not None:
            k, v = torch.cat([past_key_value[0], k], 2), torch.cat([past_key_value[1], v], 2)
        s = k.shape[2]
        mask = torch.ones(t, s, dtype=torch.bool).tril(s - t)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o(y.transpose(1, 2).reshape(b, t, c)), (k, v)


class SinusoidInside(nn.Module):
    """adds a positional encoding by itself before it projects"""

    def __init__(self, d_model=32, n_head=4, max_len=64):
        super().__init__()
        self.h = n_head
        pos, i = torch.arange(max_len)[:, None], torch.arange(0, d_model, 2)
        pe = torch.zeros(max_len, d_model)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(pos / 10000 ** (i / d_model)), torch.cos(pos / 10000 ** (i / d_model))
        self.register_buffer("pe", pe)
        self.w_q, self.w_k, self.w_v, self.w_concat = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x):
        b, t, c = x.shape
        x = x + self.pe[:t]
        q, k, v = (f(x).view(b, t, self.h, c // self.h).transpose(1, 2) for f in (self.w_q, self.w_k, self.w_v))
        score = torch.softmax((q @ k.transpose(2, 3)) / math.sqrt(c // self.h), -1)
        return self.w_concat((score @ v).transpose(1, 2).contiguous().view(b, t, c))


class HeadScaled(nn.Module):
    """NormFormer: a learned factor for each head's output"""

    def __init__(self, d=32, h=4):
        super().__init__()
        self.h = h
        self.q, self.k, self.v, self.out = (nn.Linear(d, d) for _ in range(4))
        self.head_scale = nn.Parameter(1 + 0.3 * torch.randn(h))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.h, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v) * self.head_scale.view(1, -1, 1, 1)
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class CrossBlock(nn.Module):
    """decoder block of a translation model: self-attention, then cross-attention, each with residual and norm"""

    def __init__(self, d=32, h=4):
        super().__init__()
        self.cross_attn = nn.MultiheadAttention(d, h, batch_first=True)
        self.norm = nn.LayerNorm(d)
        self.drop = nn.Dropout(0.1)

    def forward(self, x, memory, memory_key_padding_mask=None):
        y = self.norm(x)
        y, _ = self.cross_attn(y, memory, memory, key_padding_mask=memory_key_padding_mask)
        return x + self.drop(y)
