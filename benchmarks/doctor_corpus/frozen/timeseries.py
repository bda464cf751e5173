import torch
import torch.nn.functional as F


def temporal_attention(q, k, v, observed=None):
    """
    q: (batch, horizon, dim)
    k, v: (batch, history, dim)
    observed: (batch, horizon, history) -- 1 if the value was observed, else 0
    """
    dim = q.shape[-1]
    score = torch.einsum('bid,bjd->bij', q, k).div(dim ** 0.5)
    if observed is not None:
        score = score.masked_fill(observed == 0, 0)
    weight = F.softmax(score, dim=-1)
    context = torch.einsum('bij,bjd->bid', weight, v)
    return context, weight
