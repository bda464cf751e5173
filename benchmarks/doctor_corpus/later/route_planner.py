import torch


def attend(q, k, v, bias=None):
    """q (N, L, E), k (N, S, E), v (N, S, Ev), bias (N, L, S) added to the scores; gives the weights, then the values."""
    n, l, e = q.shape
    if bias is None:
        bias = q.new_zeros(n, l, k.shape[1])
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=e**0.5)
    top = scores.max(dim=-1, keepdim=True)[0]
    ex = torch.exp(scores - top)
    weights = ex / ex.sum(dim=-1, keepdim=True)
    return weights, torch.bmm(weights, v)
