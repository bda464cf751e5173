import torch


def exact_attention(query, key, value, key_padding_mask=None):
    """One query at a time, in double precision.

    query (B, Lq, D), key (B, Lk, D), value (B, Lk, Dv); key_padding_mask (B, Lk) is True at padding.
    """
    k64, v64 = key.double(), value.double()
    rows = []
    for i in range(query.shape[1]):
        e = (k64 * query[:, i : i + 1].double()).sum(-1) / query.shape[-1] ** 0.5
        if key_padding_mask is not None:
            e = e.masked_fill(key_padding_mask, -1e300)
        w = (e - e.max(dim=1, keepdim=True).values).exp()
        if key_padding_mask is not None:
            w = w * (~key_padding_mask)
        w = w / w.sum(dim=1, keepdim=True).clamp(min=1e-300)
        rows.append((w[:, :, None] * v64).sum(1))
    return torch.stack(rows, dim=1).to(query.dtype)
