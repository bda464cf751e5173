import torch


def mix(q, k, v):
    # (batch, head, seq, dim)
    logits = torch.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
    attn = logits.softmax(dim=-2)
    return torch.einsum("bhqk,bhkd->bhqd", attn, v)
