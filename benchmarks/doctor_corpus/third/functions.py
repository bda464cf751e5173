"""Functions, sound and broken, in many hands. What each is stands in manifest.json."""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F


def scaled_dot(query, key, value, d_k):
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    return torch.matmul(torch.softmax(scores, dim=-1), value)


def named_only(*, query, key, value, mask=None):
    logits = torch.einsum("...qd,...kd->...qk", query, key) * query.size(-1) ** -0.5
    if mask is not None:
        logits = logits.masked_fill(mask.logical_not(), torch.finfo(logits.dtype).min)
    return torch.einsum("...qk,...kd->...qd", logits.softmax(-1), value)


def np_softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def attention_numpy(Q, K, V):
    d = Q.shape[-1]
    scores = Q @ np.swapaxes(K, -1, -2) / np.sqrt(d)
    return np_softmax(scores) @ V


def attention_numpy_masked(q, k, v, mask=None):
    """q, k, v: (seq, d). mask: (seq, seq), 1 where attention is allowed."""
    s = np.dot(q, k.T) / np.sqrt(k.shape[1])
    if mask is not None:
        s = np.where(mask == 0, -1e9, s)
    w = np_softmax(s, axis=1)
    return np.dot(w, v), w


def merged_late(q, k, v):
    """q, k, v: (batch, time, heads, head_dim); returns (batch, time, heads * head_dim)."""
    att = torch.einsum("bihd,bjhd->bhij", q, k).mul(q.shape[-1] ** -0.5).softmax(dim=-1)
    return torch.einsum("bhij,bjhd->bihd", att, v).flatten(-2)


def merged_early(q, k, v):
    # q: (B, H, T, D) -> (B, T, H*D)
    B, H, T, D = q.shape
    w = F.softmax(q @ k.transpose(2, 3) / D**0.5, dim=3)
    out = (w @ v).permute(0, 2, 1, 3)
    return out.contiguous().view(B, T, H * D)


def by_heads_first(q, k, v):
    """(heads, batch, length, size) as in the paper's appendix."""
    logits = torch.einsum("hbqd,hbkd->hbqk", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("hbqk,hbkd->hbqd", torch.softmax(logits, -1), v)


def as_dict(query, key, value, attn_mask=None):
    scores = torch.baddbmm(
        torch.zeros(query.shape[0], query.shape[1], key.shape[1]), query, key.mT, alpha=1 / math.sqrt(query.shape[2])
    )
    if attn_mask is not None:
        scores = scores + attn_mask
    probs = scores.softmax(dim=2)
    return {"context": torch.bmm(probs, value), "probs": probs}


def online(q, k, v, block=3):  # (b, h, t, d)
    m = torch.full(q.shape[:-1] + (1,), -torch.inf)
    l = torch.zeros_like(m)
    o = torch.zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, k.shape[-2], block):
        s = q @ k[..., start : start + block, :].mT / math.sqrt(q.shape[-1])
        m_new = torch.maximum(m, s.amax(-1, keepdim=True))
        p = torch.exp(s - m_new)
        c = torch.exp(m - m_new)
        l = l * c + p.sum(-1, keepdim=True)
        o = o * c + p @ v[..., start : start + block, :]
        m = m_new
    return o / l


def own_scale(q, k, v, scale=None, mask=None):
    scale = scale or 1.0 / math.sqrt(q.size(-1))
    s = scale * (q @ k.transpose(-1, -2))
    if mask is not None:
        s = s.masked_fill(mask == False, float("-inf"))  # noqa: E712
    return torch.nan_to_num(torch.softmax(s, -1)) @ v


def tempered(q, k, v, temperature):
    return torch.softmax(q @ k.mT / temperature, dim=-1) @ v


def by_logsumexp(query, key, value):
    logits = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]))
    return torch.exp(logits - logits.logsumexp(dim=-1, keepdim=True)) @ value


def causal_triu(q, k, v):
    t = q.size(-2)
    future = torch.triu(torch.full((t, k.size(-2)), float("-inf")), diagonal=1)
    return F.softmax(q @ k.mT / math.sqrt(q.size(-1)) + future, dim=-1) @ v


def needs_mask(q, k, v, mask):
    """mask: boolean, True at positions that take part in attention."""
    dots = q @ k.mT / q.shape[-1] ** 0.5
    dots = dots.masked_fill(~mask, -torch.finfo(dots.dtype).max)
    return dots.softmax(-1) @ v


def with_bias(q, k, v, position_bias=None):
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
    if position_bias is not None:
        scores = scores + position_bias
    return torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v)


def time_major(q, k, v):
    """q, k, v: (time, batch, features)"""
    w = torch.einsum("tbf,sbf->bts", q, k) / math.sqrt(q.shape[2])
    return torch.einsum("bts,sbf->tbf", torch.softmax(w, dim=2), v)


def one_key_head(q, k, v):
    """Multi-query attention: q (b, h, n, d), k and v (b, m, d)."""
    sim = torch.einsum("bhnd,bmd->bhnm", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bhnm,bmd->bhnd", sim.softmax(dim=-1), v)


def flat_with_heads(q, k, v, num_heads):
    def split(x):
        return torch.stack(x.chunk(num_heads, dim=-1), dim=1)

    a = torch.softmax(split(q) @ split(k).mT / math.sqrt(q.shape[-1] // num_heads), dim=-1)
    return torch.cat((a @ split(v)).unbind(1), dim=-1)


def weights_first(query, key, value):
    attn = F.softmax(query.matmul(key.transpose(-2, -1)).div(math.sqrt(query.size(-1))), dim=-1)
    return attn, attn.matmul(value)


partially = functools.partial(own_scale, scale=None)


class Attend:
    """Callable, and no nn.Module."""

    def __init__(self, dropout=0.0):
        self.dropout = dropout

    def __call__(self, q, k, v, is_causal=False):
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout, is_causal=is_causal)


attend = Attend()


def padded(q, k, v, key_padding_mask=None):
    """key_padding_mask: (batch, keys), True at padding."""
    s = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))
    if key_padding_mask is not None:
        m = key_padding_mask.view(key_padding_mask.shape[0], *[1] * (s.ndim - 2), -1)
        s = s.masked_fill(m, torch.finfo(s.dtype).min)
    return s.softmax(-1) @ v


def with_lengths(queries, keys, values, valid_lens=None):
    """queries (batch, no. of queries, d), keys (batch, no. of pairs, d), valid_lens (batch,)"""
    d = queries.shape[-1]
    scores = torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(d)
    if valid_lens is not None:
        at = torch.arange(keys.shape[1])[None, None, :]
        scores = scores.masked_fill(at >= valid_lens[:, None, None], -1e6)
    return torch.bmm(torch.softmax(scores, dim=-1), values)


def switched(q, k, v, mask=None, dropout_p=0.0, training=False):
    s = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is not None:
        s = torch.where(mask, s, torch.finfo(s.dtype).min)
    return F.dropout(s.softmax(-1), dropout_p, training=training) @ v


def from_weights(x, W_q, W_k, W_v):
    """x: (batch, seq, d_in); W_*: (d_in, d_out)"""
    q, k, v = x @ W_q, x @ W_k, x @ W_v
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1]), dim=-1) @ v


def scores_in_loop(q, k, v):
    """(length, size) each, with loops, to be read."""
    n, d = q.shape
    out = []
    for i in range(n):
        row = torch.stack([q[i] @ k[j] / math.sqrt(d) for j in range(len(k))])
        weight = row.exp() / row.exp().sum()
        out.append(sum(weight[j] * v[j] for j in range(len(k))))
    return torch.stack(out)


def windowed(q, k, v, window_size=3):
    i = torch.arange(q.shape[-2])[:, None]
    j = torch.arange(k.shape[-2])[None]
    near = (i >= j) & (i - j < window_size)
    s = torch.where(near, q @ k.mT / math.sqrt(q.shape[-1]), -torch.inf)
    return torch.softmax(s, dim=-1) @ v


def slopes(q, k, v):  # (batch, heads, length, size), causal
    h, t = q.shape[1], q.shape[2]
    m = torch.tensor([2 ** (-8 * (n + 1) / h) for n in range(h)])
    back = torch.arange(t)[None] - torch.arange(t)[:, None]
    s = q @ k.mT / q.shape[-1] ** 0.5 + m[:, None, None] * back
    s = s.masked_fill(back > 0, torch.finfo(s.dtype).min)
    return s.softmax(-1) @ v


def key_given_turned(q, kT, v):
    """q: (b, h, n, d), kT: (b, h, d, m), v: (b, h, m, d)"""
    return torch.softmax(torch.matmul(q, kT) / math.sqrt(q.size(-1)), dim=-1).matmul(v)


def additive_float(query, key, value, mask):
    """mask is 0.0 where a query may look and -inf where it may not."""
    return torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]) + mask, dim=-1) @ value


def extra_options(query, key, value, dim_head=None, eps=1e-6, return_weights=True):
    w = torch.softmax((query @ key.mT) / math.sqrt(dim_head or query.shape[-1]), -1)
    return (w @ value, w) if return_weights else w @ value


def grouped(query, key, value):  # (batch, heads, length, size)
    n = query.shape[1] // key.shape[1]
    b, h, t, d = query.shape
    q = query.view(b, h // n, n, t, d)
    s = torch.einsum("bgntd,bgsd->bgnts", q, key) / math.sqrt(d)
    return torch.einsum("bgnts,bgsd->bgntd", s.softmax(-1), value).reshape(b, h, t, d)


# ------------------------------------------------------------------------------------------------------------------


def b_identity(query, key, value):
    return value


def b_average(query, key, value):
    w = torch.softmax(torch.zeros(*query.shape[:-1], key.shape[-2]), -1)
    return w @ value


def b_self_scores(query, key, value):
    scores = query @ query.mT / math.sqrt(query.shape[-1])
    return scores.softmax(-1) @ value


def b_value_as_key(query, key, value):
    scores = torch.matmul(query, value.transpose(-2, -1)) / math.sqrt(query.size(-1))
    return torch.matmul(F.softmax(scores, dim=-1), value)


def b_key_as_value(query, key, value):
    p_attn = F.softmax(torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(query.size(-1)), dim=-1)
    return torch.matmul(p_attn, key), p_attn


def b_twice(query, key, value):
    weights = F.softmax(query @ key.mT / math.sqrt(query.shape[-1]), dim=-1)
    return torch.softmax(weights, dim=-1) @ value


def b_sigmoid(q, k, v):
    a = torch.sigmoid(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
    return a @ v


def b_log(q, k, v):
    a = F.log_softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)
    return a @ v


def b_relu(q, k, v):
    scores = F.relu(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
    return F.softmax(scores, dim=-1) @ v


def b_joint(q, k, v):
    """q, k, v: (batch, heads, length, size)"""
    s = q @ k.mT / q.shape[-1] ** 0.5
    b, h, n, m = s.shape
    s = s.permute(0, 2, 1, 3).reshape(b, n, h * m).softmax(-1)
    return s.view(b, n, h, m).permute(0, 2, 1, 3) @ v


def b_reshaped_key(q, k, v):
    scores = q @ k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2]) / math.sqrt(q.shape[-1])
    return scores.softmax(-1) @ v


def b_numpy_axis(Q, K, V):
    s = Q @ np.swapaxes(K, -1, -2) / np.sqrt(Q.shape[-1])
    return np_softmax(s, axis=-2) @ V


def b_numpy_scale(Q, K, V):
    s = Q @ np.swapaxes(K, -1, -2)
    return np_softmax(s) @ V


def b_d_k(query, key, value, d_k):
    return torch.softmax(query @ key.mT / d_k, dim=-1) @ value


def b_merged_wrong(q, k, v):
    # (B, H, T, D) -> (B, T, H*D)
    B, H, T, D = q.shape
    w = F.softmax(q @ k.transpose(2, 3) / D**0.5, dim=3)
    return (w @ v).reshape(B, T, H * D)


def b_nan(q, k, v):
    s = q @ k.mT / math.sqrt(q.shape[-1])
    t = torch.ones(s.shape[-2:], dtype=torch.bool)
    s = s.masked_fill(t.tril(), -torch.inf)
    return s.softmax(-1) @ v


def b_causal_off(q, k, v):
    s = q @ k.mT / math.sqrt(q.shape[-1])
    return s.masked_fill(torch.triu(torch.ones_like(s), diagonal=2) == 1, float("-inf")).softmax(-1) @ v


def b_mask_late(q, k, v, mask=None):
    """mask: 1 to keep, 0 to mask"""
    w = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
    if mask is not None:
        w = w.masked_fill(mask == 0, -1e4)
    return w @ v


def b_mask_inf_late(q, k, v, mask=None):
    w = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
    if mask is not None:
        w = w.masked_fill(mask == 0, float("-inf"))
    return w @ v


def b_mask_words(q, k, v, mask=None):
    """mask: 1 for tokens that are not masked, 0 otherwise."""
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(mask == 1, -1e9)
    return s.softmax(-1) @ v


def b_mask_words_2(q, k, v, pad_mask=None):
    # pad_mask: True = this position is padding and is ignored
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if pad_mask is not None:
        s = s.masked_fill(~pad_mask, -1e9)
    return s.softmax(-1) @ v


def b_normalised_late(q, k, v):
    """q, k, v: (batch, length, size)"""
    s = torch.exp(q @ k.mT / math.sqrt(q.shape[-1]))
    return (s / s.sum(dim=1, keepdim=True)) @ v


def b_no_norm(q, k, v):
    return torch.exp(q @ k.mT / math.sqrt(q.shape[-1])) @ v


def b_dropout(query, key, value, p=0.1):
    a = torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]), -1)
    return F.dropout(a, p) @ value


def b_linear(query, key, value):
    a = query @ key.mT / math.sqrt(query.shape[-1])
    return a @ value


def b_first_text(query, key, value):
    a = torch.softmax(query @ key[0].mT / math.sqrt(query.shape[-1]), -1)
    return a @ value


def b_weights_only(query, key, value):
    return torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]), -1)


def b_scaled_both(query, key, value):
    s = query.shape[-1] ** 0.5
    return torch.softmax((query / s) @ (key / s).mT, -1) @ value


def b_wrong_size(query, key, value):
    # query: (batch, heads, length, size)
    return torch.softmax(query @ key.mT / math.sqrt(query.shape[1]), -1) @ value


def b_in_half(query, key, value):
    scores = (query.half() @ key.half().mT).float() / math.sqrt(query.shape[-1])
    return scores.softmax(-1) @ value
