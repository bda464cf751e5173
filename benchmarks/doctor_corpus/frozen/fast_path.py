import torch
import torch.nn.functional as F

COMPUTE_DTYPE = torch.float16
MASK_VALUE = -1e9


def fast_attention(q, k, v, mask=None):
    out_dtype = q.dtype
    q = q.to(COMPUTE_DTYPE)
    k = k.to(COMPUTE_DTYPE)
    v = v.to(COMPUTE_DTYPE)
    logits = torch.einsum("...qd,...kd->...qk", q, k) / (q.shape[-1] ** 0.5)
    if mask is not None:
        logits = logits.masked_fill(~mask.bool(), MASK_VALUE)
    probs = F.softmax(logits, dim=-1)
    return torch.einsum("...qk,...kd->...qd", probs, v).to(out_dtype)
