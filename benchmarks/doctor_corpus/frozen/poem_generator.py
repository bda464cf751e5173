import math
import torch


def masked_self_attention(query, key, value):
    seq_len = query.size(-2)
    tri = torch.tril(torch.ones(seq_len, key.size(-2), device=query.device, dtype=query.dtype))
    scores = query @ key.transpose(-2, -1)
    scores = scores / math.sqrt(query.size(-1))
    scores = scores * tri
    weights = torch.softmax(scores, -1)
    return weights @ value
