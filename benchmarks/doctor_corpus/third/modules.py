"""Sound modules in many hands. What each is stands in manifest.json."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Plain(nn.Module):
    def __init__(self, d_model=30, n_heads=5):
        super().__init__()
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        b, n, _ = x.shape
        q = self.W_q(x).view(b, n, self.n_heads, self.d_head).transpose(1, 2)
        k = self.W_k(x).view(b, n, self.n_heads, self.d_head).transpose(1, 2)
        v = self.W_v(x).view(b, n, self.n_heads, self.d_head).transpose(1, 2)
        s = q @ k.transpose(-2, -1) / math.sqrt(self.d_head)
        if mask is not None:  # (batch, length), 1 for tokens
            s = s.masked_fill(mask[:, None, None, :] == 0, torch.finfo(s.dtype).min)
        return self.W_o((s.softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1))


class SingleModelScale(nn.Module):
    """One head, so that d_model is its size."""

    def __init__(self, d_model=16):
        super().__init__()
        self.d_model = d_model
        self.query, self.key, self.value = (nn.Linear(d_model, d_model, bias=False) for _ in range(3))

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        return torch.softmax(q @ k.transpose(1, 2) / self.d_model**0.5, dim=-1) @ v


class Head(nn.Module):
    def __init__(self, n_embd=24, head_size=8, block_size=32):
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


class ManyHeads(nn.Module):
    def __init__(self, n_embd=24, n_head=3):
        super().__init__()
        self.heads = nn.ModuleList([Head(n_embd, n_embd // n_head) for _ in range(n_head)])
        self.proj = nn.Linear(n_embd, n_embd)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        return self.dropout(self.proj(torch.cat([h(x) for h in self.heads], dim=-1)))


class Annotated(nn.Module):
    def __init__(self, h=4, d_model=28):
        super().__init__()
        self.d_k, self.h = d_model // h, h
        self.linears = nn.ModuleList([nn.Linear(d_model, d_model) for _ in range(4)])
        self.attn = None

    def forward(self, query, key, value, mask=None):
        if mask is not None:
            mask = mask.unsqueeze(1)
        nbatches = query.size(0)
        query, key, value = [
            lin(x).view(nbatches, -1, self.h, self.d_k).transpose(1, 2)
            for lin, x in zip(self.linears, (query, key, value))
        ]
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(self.d_k)
        if mask is not None:
            scores = scores.masked_fill(mask == 0, -1e9)
        self.attn = scores.softmax(dim=-1)
        x = torch.matmul(self.attn, value).transpose(1, 2).contiguous().view(nbatches, -1, self.h * self.d_k)
        return self.linears[-1](x)


class ByName(nn.Module):
    """Keyword-only query, key, value."""

    def __init__(self, size=20, heads=4):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(size, size) for _ in range(4))

    def forward(self, *, query, key, value):
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f, x in ((self.to_q, query), (self.to_k, key), (self.to_v, value))
        )
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class CrossWide(nn.Module):
    def __init__(self, query_dim=24, context_dim=17, heads=4, dim_head=5):
        super().__init__()
        inner = heads * dim_head
        self.heads, self.scale = heads, dim_head**-0.5
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, query_dim), nn.Dropout(0.0))

    def forward(self, x, context=None, mask=None):
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        sim = torch.einsum("bhid,bhjd->bhij", q, k) * self.scale
        if mask is not None:
            sim.masked_fill_(~mask[:, None, None], -torch.finfo(sim.dtype).max)
        return self.to_out(torch.einsum("bhij,bhjd->bhid", sim.softmax(-1), v).transpose(1, 2).flatten(2))


class CrossTwo(nn.Module):
    """Text looks at image patches of another width."""

    def __init__(self, d_text=18, d_image=26, heads=3):
        super().__init__()
        self.h = heads
        self.q_proj, self.kv_proj = nn.Linear(d_text, d_text), nn.Linear(d_image, 2 * d_text)
        self.out = nn.Linear(d_text, d_text)

    def forward(self, text, image):
        b, t, c = text.shape
        q = self.q_proj(text).view(b, t, self.h, -1).transpose(1, 2)
        k, v = self.kv_proj(image).view(b, image.size(1), 2, self.h, -1).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))


class PerHead(nn.Module):
    """Weights by head: [head, d_model, d_head]."""

    def __init__(self, d_model=21, n_heads=3, d_head=5):
        super().__init__()
        self.d_head = d_head
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(0.2 * torch.randn(n_heads, d_model, d_head)) for _ in range(3))
        self.W_O = nn.Parameter(0.2 * torch.randn(n_heads, d_head, d_model))
        self.b_Q, self.b_K, self.b_V = (nn.Parameter(torch.zeros(n_heads, d_head)) for _ in range(3))
        self.b_O = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        q = torch.einsum("bpm,hmd->bphd", x, self.W_Q) + self.b_Q
        k = torch.einsum("bpm,hmd->bphd", x, self.W_K) + self.b_K
        v = torch.einsum("bpm,hmd->bphd", x, self.W_V) + self.b_V
        s = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(self.d_head)
        s = s.masked_fill(torch.triu(torch.ones_like(s), 1).bool(), -1e5)
        z = torch.einsum("bhqk,bkhd->bqhd", s.softmax(-1), v)
        return torch.einsum("bqhd,hdm->bqm", z, self.W_O) + self.b_O


class PerHeadTurned(nn.Module):
    def __init__(self, dim=14, heads=2, size=7):
        super().__init__()
        self.wq, self.wk, self.wv = (nn.Parameter(torch.randn(heads, size, dim) / dim**0.5) for _ in range(3))
        self.wo = nn.Parameter(torch.randn(dim, heads, size) / dim**0.5)

    def forward(self, x):
        q, k, v = (torch.einsum("btm,hdm->bhtd", x, w) for w in (self.wq, self.wk, self.wv))
        z = F.scaled_dot_product_attention(q, k, v)
        return torch.einsum("bhtd,mhd->btm", z, self.wo)


class PerHeadFunction(nn.Module):
    """No output layer: returns (batch, length, heads * size)."""

    def __init__(self, width=15, heads=3, size=4):
        super().__init__()
        self.query = nn.Parameter(torch.randn(heads, width, size) * 0.3)
        self.key = nn.Parameter(torch.randn(heads, width, size) * 0.3)
        self.value = nn.Parameter(torch.randn(heads, width, size) * 0.3)

    def forward(self, x):
        q, k, v = (torch.matmul(x[:, None], w) for w in (self.query, self.key, self.value))
        w = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
        return (w @ v).transpose(1, 2).flatten(2)


class Lazy(nn.Module):
    def __init__(self, num_hiddens=20, num_heads=4):
        super().__init__()
        self.num_heads = num_heads
        self.W_q, self.W_k, self.W_v = (nn.LazyLinear(num_hiddens, bias=False) for _ in range(3))
        self.W_o = nn.LazyLinear(num_hiddens, bias=False)

    def forward(self, queries, keys, values, valid_lens=None):
        def cut(x):
            return x.reshape(x.shape[0], x.shape[1], self.num_heads, -1).permute(0, 2, 1, 3)

        q, k, v = cut(self.W_q(queries)), cut(self.W_k(keys)), cut(self.W_v(values))
        s = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        if valid_lens is not None:
            s = s.masked_fill(torch.arange(s.shape[-1]) >= valid_lens[:, None, None, None], -1e6)
        return self.W_o((torch.softmax(s, -1) @ v).permute(0, 2, 1, 3).flatten(2))


class LazySelf(nn.Module):
    def __init__(self, d=12):
        super().__init__()
        self.q, self.k, self.v = nn.LazyLinear(d), nn.LazyLinear(d), nn.LazyLinear(d)

    def forward(self, x):
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))


class Wrapped(nn.Module):
    def __init__(self, embed_dim=20, num_heads=5):
        super().__init__()
        self.mha = nn.MultiheadAttention(embed_dim, num_heads, batch_first=True)

    def forward(self, x, key_padding_mask=None):
        out, _ = self.mha(x, x, x, key_padding_mask=key_padding_mask)
        return out


class WrappedThenLinear(nn.Module):
    def __init__(self, embed_dim=18, num_heads=3):
        super().__init__()
        self.attention = nn.MultiheadAttention(embed_dim, num_heads, dropout=0.1, batch_first=True)
        self.fc = nn.Linear(embed_dim, embed_dim)

    def forward(self, x):
        a, w = self.attention(x, x, x, need_weights=True)
        return self.fc(a)


class WrappedResidual(nn.Module):
    def __init__(self, dim=16, heads=4):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x):
        h = self.norm(x)
        return x + self.attn(h, h, h, need_weights=False)[0]


class Axial(nn.Module):
    """Attention along each row of (batch, rows, columns, width)."""

    def __init__(self, dim=12, heads=3):
        super().__init__()
        self.heads = heads
        self.to_qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, r, c, w = x.shape
        q, k, v = self.to_qkv(x).reshape(b, r, c, 3, self.heads, w // self.heads).permute(3, 0, 1, 4, 2, 5)
        a = (q @ k.transpose(-2, -1) * (w // self.heads) ** -0.5).softmax(-1)
        return self.proj((a @ v).transpose(2, 3).reshape(b, r, c, w))


class Pixels(nn.Module):
    """Self-attention over the pixels of (batch, channels, height, width), by 1 x 1 convolutions."""

    def __init__(self, channels=15):
        super().__init__()
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = (f(x).flatten(2).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * c**-0.5, dim=2)
        return self.proj_out(torch.bmm(a, v).transpose(1, 2).reshape(b, c, h, w))


class Channels(nn.Module):
    """(batch, channels, time), as in speech."""

    def __init__(self, channels=20, n_heads=4):
        super().__init__()
        self.n_heads = n_heads
        self.conv_q, self.conv_k, self.conv_v, self.conv_o = (nn.Conv1d(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        b, d, t = x.shape
        q, k, v = (
            f(x).view(b, self.n_heads, d // self.n_heads, t).transpose(2, 3)
            for f in (self.conv_q, self.conv_k, self.conv_v)
        )
        scores = torch.matmul(q / math.sqrt(d // self.n_heads), k.transpose(-2, -1))
        out = torch.matmul(F.softmax(scores, dim=-1), v)
        return self.conv_o(out.transpose(2, 3).contiguous().view(b, d, t))


class RelativeTable(nn.Module):
    def __init__(self, dim=24, num_heads=4, longest=16):
        super().__init__()
        self.num_heads, self.longest = num_heads, longest
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.randn(2 * longest - 1, num_heads) * 0.5)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        at = torch.arange(n)
        index = at[:, None] - at[None, :] + self.longest - 1
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)
        attn = (q * (c // self.num_heads) ** -0.5) @ k.transpose(-2, -1) + bias
        return self.proj((attn.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, n, c))


class Alibi(nn.Module):
    def __init__(self, d=32, h=4):
        super().__init__()
        self.h = h
        self.kqv = nn.Linear(d, 3 * d, bias=False)
        self.o = nn.Linear(d, d, bias=False)
        self.register_buffer("m", 2 ** (-8 * torch.arange(1, h + 1) / h))

    def forward(self, x):
        b, t, d = x.shape
        k, q, v = self.kqv(x).chunk(3, -1)
        q, k, v = (y.reshape(b, t, self.h, -1).transpose(1, 2) for y in (q, k, v))
        i = torch.arange(t)
        s = q @ k.mT / math.sqrt(d / self.h) + self.m[:, None, None] * (i[None] - i[:, None])
        s = s.masked_fill(i[None] > i[:, None], float("-inf"))
        return self.o((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d))


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


class RotaryGiven(nn.Module):
    """cos and sin come from outside: (length, head size)."""

    def __init__(self, hidden=32, heads=4, kv_heads=2):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, hidden // heads
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, kv_heads * self.size, bias=False)
        self.v_proj = nn.Linear(hidden, kv_heads * self.size, bias=False)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x, cos, sin, mask=None):
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, self.heads, self.size).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.kv_heads, self.size).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.kv_heads, self.size).transpose(1, 2)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        k, v = (y.repeat_interleave(self.heads // self.kv_heads, dim=1) for y in (k, v))
        s = q @ k.mT / math.sqrt(self.size)
        if mask is not None:
            s = s + mask
        return self.o_proj((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, -1))


class RotaryComplex(nn.Module):
    """freqs_cis: (length, head size // 2), complex."""

    def __init__(self, dim=24, n_heads=3):
        super().__init__()
        self.n_heads, self.head_dim = n_heads, dim // n_heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x, start_pos, freqs_cis, mask):
        b, t, _ = x.shape
        xq, xk, xv = (f(x).view(b, t, self.n_heads, self.head_dim) for f in (self.wq, self.wk, self.wv))

        def turn(y):
            z = torch.view_as_complex(y.float().reshape(*y.shape[:-1], -1, 2))
            return torch.view_as_real(z * freqs_cis[None, :, None]).flatten(3)

        q, k, v = (y.transpose(1, 2) for y in (turn(xq), turn(xk), xv))
        s = q @ k.transpose(2, 3) / math.sqrt(self.head_dim)
        if mask is not None:
            s = s + mask
        return self.wo((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, -1))


class RotaryScaled(nn.Module):
    """Rotary embedding whose cos and sin are scaled, as YaRN has it."""

    def __init__(self, dim=24, heads=3, attention_factor=1.2):
        super().__init__()
        self.heads, self.factor = heads, attention_factor
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (f(x).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        d = q.shape[-1]
        angle = torch.arange(t)[:, None] * 10000.0 ** (-torch.arange(0, d, 2) / d)
        angle = torch.cat((angle, angle), -1)
        cos, sin = angle.cos() * self.factor, angle.sin() * self.factor
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(z.transpose(1, 2).reshape(b, t, w))


class RMS(nn.Module):
    def __init__(self, d, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class NormedQK(nn.Module):
    """Queries and keys pass a norm; the scale is then 1."""

    def __init__(self, dim=30, heads=5):
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.q_norm, self.k_norm = RMS(dim // heads), RMS(dim // heads)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (f(x).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.wq, self.wk, self.wv))
        q, k = self.q_norm(q), self.k_norm(k)
        return self.wo(F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).reshape(b, t, w))


class FunctionalNorm(nn.Module):
    def __init__(self, dim=24, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = F.layer_norm(q, q.shape[-1:]), F.layer_norm(k, k.shape[-1:])
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, w))


class Cosine(nn.Module):
    def __init__(self, dim=24, heads=3):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.logit_scale = nn.Parameter(torch.log(10 * torch.ones(heads, 1, 1)))

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
        a = a * torch.clamp(self.logit_scale, max=math.log(100.0)).exp()
        return self.proj((a.softmax(-1) @ v).transpose(1, 2).reshape(b, t, w))


class Talking(nn.Module):
    def __init__(self, dim=24, num_heads=4):
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)
        self.proj_l, self.proj_w = nn.Linear(num_heads, num_heads), nn.Linear(num_heads, num_heads)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        attn = (q * self.scale) @ k.transpose(-2, -1)
        attn = self.proj_l(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(dim=-1)
        attn = self.proj_w(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.proj((attn @ v).transpose(1, 2).reshape(b, n, c))


class Beit(nn.Module):
    def __init__(self, dim=20, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, dim * 3, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(*qkv).transpose(1, 2).reshape(b, n, c))


class PostNorm(nn.Module):
    """Residual and LayerNorm inside."""

    def __init__(self, n_head=3, d_model=24, d_k=7, d_v=6):
        super().__init__()
        self.n_head, self.d_k, self.d_v = n_head, d_k, d_v
        self.w_qs, self.w_ks = (nn.Linear(d_model, n_head * d_k, bias=False) for _ in range(2))
        self.w_vs, self.fc = nn.Linear(d_model, n_head * d_v, bias=False), nn.Linear(n_head * d_v, d_model, bias=False)
        self.layer_norm = nn.LayerNorm(d_model, eps=1e-6)

    def forward(self, q, k, v, mask=None):
        residual, b, lq, lk = q, q.size(0), q.size(1), k.size(1)
        q = self.w_qs(q).view(b, lq, self.n_head, self.d_k).transpose(1, 2)
        k = self.w_ks(k).view(b, lk, self.n_head, self.d_k).transpose(1, 2)
        v = self.w_vs(v).view(b, lk, self.n_head, self.d_v).transpose(1, 2)
        attn = torch.matmul(q / self.d_k**0.5, k.transpose(2, 3))
        if mask is not None:
            attn = attn.masked_fill(mask.unsqueeze(1) == 0, -1e9)
        attn = F.softmax(attn, dim=-1)
        out = self.fc(torch.matmul(attn, v).transpose(1, 2).contiguous().view(b, lq, -1))
        return self.layer_norm(out + residual), attn


class PreNorm(nn.Module):
    def __init__(self, dim=20, heads=4, dim_head=6):
        super().__init__()
        self.heads, self.scale = heads, dim_head**-0.5
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, heads * dim_head * 3, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * dim_head, dim), nn.Dropout(0.1))

    def forward(self, x):
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.to_qkv(self.norm(x)).chunk(3, dim=-1)
        )
        attn = torch.matmul(q, k.transpose(-1, -2)).mul(self.scale).softmax(dim=-1)
        return self.to_out((attn @ v).transpose(1, 2).flatten(2))


class Positions(nn.Module):
    """Positions are added to queries and keys only; they must be passed."""

    def __init__(self, d=20, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x, pos):
        def cut(y):
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = cut(self.q(x + pos)), cut(self.k(x + pos)), cut(self.v(x))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Graph(nn.Module):
    """adj: (batch, nodes, nodes), 1 where there is an edge."""

    def __init__(self, features=16, heads=2):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(features, features) for _ in range(3))

    def forward(self, nodes, adj):
        b, n, f = nodes.shape
        q, k, v = (g(nodes).view(b, n, self.heads, -1).transpose(1, 2) for g in (self.query, self.key, self.value))
        e = q @ k.mT / math.sqrt(f // self.heads)
        e = e.masked_fill(adj.unsqueeze(1) == 0, torch.finfo(e.dtype).min)
        return (e.softmax(-1) @ v).transpose(1, 2).reshape(b, n, f)


class Extended(nn.Module):
    """attention_mask: (batch, length), 1 for tokens that are not masked, 0 for masked tokens."""

    def __init__(self, hidden_size=24, num_attention_heads=4):
        super().__init__()
        self.num_attention_heads, self.attention_head_size = num_attention_heads, hidden_size // num_attention_heads
        self.query, self.key, self.value = (nn.Linear(hidden_size, hidden_size) for _ in range(3))
        self.dropout = nn.Dropout(0.1)

    def transpose_for_scores(self, x):
        return x.view(*x.size()[:-1], self.num_attention_heads, self.attention_head_size).permute(0, 2, 1, 3)

    def forward(self, hidden_states, attention_mask=None):
        q, k, v = (self.transpose_for_scores(f(hidden_states)) for f in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.attention_head_size)
        if attention_mask is not None:
            extended = (1.0 - attention_mask[:, None, None, :].to(scores.dtype)) * torch.finfo(scores.dtype).min
            scores = scores + extended
        probs = self.dropout(F.softmax(scores, dim=-1))
        context = torch.matmul(probs, v).permute(0, 2, 1, 3).contiguous()
        return (context.view(*context.size()[:-2], -1), probs)


class PaddedCausal(nn.Module):
    """Causal; padded keys are hidden and padded outputs are zero. mask: (batch, length), True at tokens."""

    def __init__(self, dim=20, heads=4):
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.c_attn(x).split(c, dim=2))
        allowed = torch.ones(t, t, dtype=torch.bool).tril()[None, None]
        if mask is not None:
            allowed = allowed & mask[:, None, None, :]
        s = (q @ k.mT / math.sqrt(c // self.heads)).masked_fill(~allowed, torch.finfo(x.dtype).min)
        y = self.c_proj((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))
        return y if mask is None else y * mask[..., None]


class Dictionary(nn.Module):
    def __init__(self, width=18, heads=3):
        super().__init__()
        self.heads = heads
        self.maps = nn.ModuleDict({name: nn.Linear(width, width) for name in ("q", "k", "v", "o")})

    def forward(self, x):
        q, k, v = (self.maps[n](x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for n in "qkv")
        return self.maps["o"](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Raw(nn.Module):
    def __init__(self, d_in=13, d_out=9):
        super().__init__()
        self.W_query, self.W_key, self.W_value = (nn.Parameter(torch.rand(d_in, d_out)) for _ in range(3))

    def forward(self, x):
        keys, queries, values = x @ self.W_key, x @ self.W_query, x @ self.W_value
        return torch.softmax(queries @ keys.transpose(-2, -1) / keys.shape[-1] ** 0.5, dim=-1) @ values


class OneSequence(nn.Module):
    """x: (length, d_in), no batch."""

    def __init__(self, d_in=10, d_out=6):
        super().__init__()
        self.W_query, self.W_key, self.W_value = (nn.Linear(d_in, d_out, bias=False) for _ in range(3))

    def forward(self, x):
        keys, queries, values = self.W_key(x), self.W_query(x), self.W_value(x)
        attn_scores = queries @ keys.T
        return torch.softmax(attn_scores / keys.shape[-1] ** 0.5, dim=-1) @ values


class MultiQuery(nn.Module):
    def __init__(self, d_model=24, n_heads=4):
        super().__init__()
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.Wqkv = nn.Linear(d_model, d_model + 2 * self.d_head)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.Wqkv(x).split([c, self.d_head, self.d_head], dim=2)
        q = q.view(b, t, self.n_heads, self.d_head).transpose(1, 2)
        z = F.scaled_dot_product_attention(q, k[:, None].expand_as(q), v[:, None].expand_as(q), is_causal=True)
        return self.out_proj(z.transpose(1, 2).reshape(b, t, c))


class SetPool(nn.Module):
    """Latents of its own look at the inputs."""

    def __init__(self, dim=18, latents=4, heads=3):
        super().__init__()
        self.heads = heads
        self.latents = nn.Parameter(torch.randn(latents, dim))
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        y = self.latents.expand(x.shape[0], -1, -1)
        q, k, v = self.to_q(y), self.to_k(x), self.to_v(x)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class TimeFirst(nn.Module):
    """x: (time, batch, channel)"""

    def __init__(self, embed_dim=20, num_heads=4):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, embed_dim // num_heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(embed_dim, embed_dim) for _ in range(4))

    def forward(self, x, key_padding_mask=None):
        t, b, c = x.shape
        q = self.q_proj(x) * self.head_dim**-0.5
        k, v = self.k_proj(x), self.v_proj(x)
        q, k, v = (y.contiguous().view(t, b * self.num_heads, self.head_dim).transpose(0, 1) for y in (q, k, v))
        s = torch.bmm(q, k.transpose(1, 2))
        if key_padding_mask is not None:
            s = s.view(b, self.num_heads, t, t)
            s = s.masked_fill(key_padding_mask[:, None, None, :].bool(), float("-inf")).view(-1, t, t)
        z = torch.bmm(F.softmax(s, -1), v).transpose(0, 1).contiguous().view(t, b, c)
        return self.out_proj(z)


class Timm(nn.Module):
    def __init__(self, dim=24, num_heads=3, qkv_bias=True):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.scale, self.fused_attn = self.head_dim**-0.5, True
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.q_norm, self.k_norm = nn.Identity(), nn.Identity()
        self.attn_drop, self.norm = nn.Dropout(0.1), nn.Identity()
        self.proj, self.proj_drop = nn.Linear(dim, dim), nn.Dropout(0.1)

    def forward(self, x, attn_mask=None):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        drop = self.attn_drop.p if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, dropout_p=drop)
        return self.proj_drop(self.proj(self.norm(x.transpose(1, 2).reshape(B, N, C))))


class Gated(nn.Module):
    def __init__(self, dim=20, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.gate, self.o = (nn.Linear(dim, dim) for _ in range(5))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        z = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.o(z * torch.sigmoid(self.gate(x)))


class Sinked(nn.Module):
    def __init__(self, dim=20, heads=4):
        super().__init__()
        self.heads, self.sinks = heads, nn.Parameter(torch.randn(heads))
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = q @ k.mT / math.sqrt(q.shape[-1])
        s = torch.cat((s, self.sinks[None, :, None, None].expand(*s.shape[:-1], 1)), -1)
        return self.o((s.softmax(-1)[..., :-1] @ v).transpose(1, 2).flatten(2))


class Capped(nn.Module):
    def __init__(self, dim=20, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        s = 20.0 * torch.tanh(q @ k.mT / math.sqrt(q.shape[-1]) / 20.0)
        return self.o((s.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Summed(nn.Module):
    """Heads write apart and are added."""

    def __init__(self, dim=20, heads=4, size=5):
        super().__init__()
        self.q = nn.ModuleList(nn.Linear(dim, size) for _ in range(heads))
        self.k = nn.ModuleList(nn.Linear(dim, size) for _ in range(heads))
        self.v = nn.ModuleList(nn.Linear(dim, size) for _ in range(heads))
        self.o = nn.ModuleList(nn.Linear(size, dim, bias=False) for _ in range(heads))

    def forward(self, x):
        return sum(
            o(F.scaled_dot_product_attention(q(x), k(x), v(x))) for q, k, v, o in zip(self.q, self.k, self.v, self.o)
        )


class Windowed(nn.Module):
    def __init__(self, dim=24, heads=4, window=3):
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        i = torch.arange(t)
        far = (i[:, None] - i[None]).abs() > self.window
        s = (q @ k.mT / math.sqrt(c // self.heads)).masked_fill(far, -torch.inf)
        return self.out((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))


class Shaw(nn.Module):
    """Relative keys: q · (k + a_ij)."""

    def __init__(self, dim=20, heads=4, reach=8):
        super().__init__()
        self.heads, self.reach = heads, reach
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.relative = nn.Embedding(2 * reach + 1, dim // heads)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (f(x).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        i = torch.arange(t)
        a = self.relative((i[None] - i[:, None]).clamp(-self.reach, self.reach) + self.reach)
        s = (q @ k.mT + torch.einsum("bhid,ijd->bhij", q, a)) / math.sqrt(q.shape[-1])
        return self.o((s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, w))
