import torch


def attention_infer(q, k, v, mask=None):
    """attention in half precision for deployment. mask is 1 (keep) / 0 (drop), same shape as the scores."""
    dtype = q.dtype
    q, k, v = q.half(), k.half(), v.half()
    scale = 1.0 / (q.shape[-1] ** 0.5)
    scores = torch.matmul(q * scale, k.transpose(-2, -1))
    if mask is not None:
        scores = scores + (1.0 - mask.half()) * -1e9
    probs = torch.softmax(scores, dim=-1)
    return torch.matmul(probs, v).to(dtype)
