import torch
import torch.nn.functional as F


def self_attention(q, k, v):
    sim = torch.bmm(q, k.permute(0, 2, 1))
    w = F.softmax(sim, 1)
    return torch.bmm(w, v)
