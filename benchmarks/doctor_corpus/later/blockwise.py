import torch


@torch.no_grad()
def streaming_causal_attention(Q, K, V, block=4):
    B, H, M, D = Q.shape
    N = K.shape[2]
    shift = N - M
    O = torch.zeros(B, H, M, V.shape[-1], dtype=Q.dtype, device=Q.device)
    for i0 in range(0, M, block):
        qi = Q[:, :, i0 : i0 + block] * D**-0.5
        rows = torch.arange(i0, i0 + qi.shape[2], device=Q.device) + shift
        m = torch.full(qi.shape[:-1], torch.finfo(Q.dtype).min, dtype=Q.dtype, device=Q.device)
        l = torch.zeros_like(m)
        acc = torch.zeros(B, H, qi.shape[2], V.shape[-1], dtype=Q.dtype, device=Q.device)
        for j0 in range(0, N, block):
            cols = torch.arange(j0, min(j0 + block, N), device=Q.device)
            if cols[0] > rows[-1]:
                break
            s = qi @ K[:, :, j0 : j0 + block].transpose(-2, -1)
            s = s.masked_fill(cols[None, :] > rows[:, None], float("-inf"))
            m_new = torch.maximum(m, s.amax(-1))
            alpha = torch.exp(m - m_new)
            p = torch.exp(s - m_new[..., None])
            l = alpha * l + p.sum(-1)
            acc = alpha[..., None] * acc + p @ V[:, :, j0 : j0 + block]
            m = m_new
        O[:, :, i0 : i0 + block] = acc / l.clamp_min(torch.finfo(Q.dtype).tiny)[..., None]
    return O
