import torch


def cross_attention(q, k, v, keep=None):
    # q (b, h, lq, d)   k, v (b, h, lk, d)   keep: bool, broadcastable to (b, h, lq, lk)
    s = torch.matmul(q, k.transpose(2, 3)) * (q.size(3) ** -0.5)
    if keep is not None:
        s = torch.where(keep.bool(), s, torch.full_like(s, -1e4))
    w = torch.softmax(s, dim=3)
    return torch.matmul(w, v)
