import math

import torch


def head_attention(q, k, v, mask=None):
    """q: (batch, heads, n, d), k: (batch, heads, m, d), v: (batch, heads, m, e).

    mask is added to the logits: 0 where a pair may meet, -inf where it may not.
    """
    logits = torch.stack([q[:, h] @ k[:, h].mT for h in range(q.shape[1])], dim=1) / math.sqrt(q.shape[-1])
    if mask is not None:
        logits = logits + mask.to(logits.dtype).clamp(min=torch.finfo(logits.dtype).min / 4)
    top = logits.amax(-1, keepdim=True)
    log_z = top + (logits - top).exp().sum(-1, keepdim=True).log()
    p = torch.exp(logits - log_z)
    return torch.stack([p[:, h] @ v[:, h] for h in range(q.shape[1])], dim=1)
