import torch

HALF = torch.float16


def mobile_attention(q, k, v, mask=None):
    """q, k, v (batch, heads, length, dim) in any precision; mask holds 1 to keep a pair, 0 to leave it out."""
    dtype = q.dtype
    q, k, v = q.to(HALF), k.to(HALF), v.to(HALF)
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    if mask is not None:
        low = torch.tensor(-1e9, device=q.device).to(HALF)
        scores = scores + (1 - mask.to(HALF)) * low
    return torch.matmul(torch.softmax(scores, dim=-1), v).to(dtype)
