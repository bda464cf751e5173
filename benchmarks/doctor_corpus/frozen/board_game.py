import torch


def move_attention(q, k, v):
    """history of moves: (batch, heads, moves, dim)"""
    moves = q.size(-2)
    a = torch.softmax(torch.matmul(q, k.transpose(-1, -2)) / q.size(-1) ** 0.5, dim=-1)
    past = torch.ones(moves, moves, device=q.device, dtype=q.dtype).tril(-1)
    a = a * past
    return torch.matmul(a, v), a
