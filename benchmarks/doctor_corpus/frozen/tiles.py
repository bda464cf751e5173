import torch


def tiled_attention(q, k, v, block_q=4, block_k=3):
    """q, k, v: [B, H, N, d]"""
    B, H, N, d = q.shape
    M = k.shape[2]
    scale = d ** -0.5
    out = torch.zeros(B, H, N, v.shape[-1], dtype=torch.float32, device=q.device)
    for i0 in range(0, N, block_q):
        qi = q[:, :, i0:i0 + block_q].float() * scale
        m = qi.new_full(qi.shape[:-1], float("-inf"))
        l = qi.new_zeros(qi.shape[:-1])
        acc = qi.new_zeros(*qi.shape[:-1], v.shape[-1])
        for j0 in range(0, M, block_k):
            kj = k[:, :, j0:j0 + block_k].float()
            vj = v[:, :, j0:j0 + block_k].float()
            s = qi @ kj.mT
            m_new = torch.maximum(m, s.amax(-1))
            p = torch.exp(s - m_new[..., None])
            alpha = torch.exp(m - m_new)
            l = l * alpha + p.sum(-1)
            acc = acc * alpha[..., None] + p @ vj
            m = m_new
        out[:, :, i0:i0 + block_q] = acc / l[..., None]
    return out.to(q.dtype)
