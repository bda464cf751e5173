import math

import torch
import torch.nn.functional as F


def attention(query, key, value, mask=None, dropout=None):
    "query, key, value: (batch, heads, length, d_k); mask broadcasts to (batch, heads, length, length)"
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    p_attn = F.softmax(scores, dim=-1)
    if dropout is not None:
        p_attn = dropout(p_attn)
    return torch.matmul(p_attn, value), p_attn
