import torch
import torch.nn as nn
import torch.nn.functional as F


class CappedAttention(nn.Module):
    def __init__(self, hidden_size, n_heads, n_kv, head_dim, query_pre_attn_scalar=64, softcap=20.0):
        super().__init__()
        self.n_heads, self.n_kv, self.head_dim = n_heads, n_kv, head_dim
        self.scaling = query_pre_attn_scalar**-0.5
        self.softcap = softcap
        self.q_proj = nn.Linear(hidden_size, n_heads * head_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, n_kv * head_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, n_kv * head_dim, bias=False)
        self.o_proj = nn.Linear(n_heads * head_dim, hidden_size, bias=False)

    def forward(self, x):
        B, S, _ = x.shape
        g = self.n_heads // self.n_kv
        q = self.q_proj(x).view(B, S, self.n_kv, g, self.head_dim)
        k = self.k_proj(x).view(B, S, self.n_kv, self.head_dim)
        v = self.v_proj(x).view(B, S, self.n_kv, self.head_dim)
        logits = torch.einsum("bsngd,btnd->bngst", q, k) * self.scaling
        logits = torch.tanh(logits / self.softcap) * self.softcap
        mask = torch.full((S, S), torch.finfo(x.dtype).min, dtype=x.dtype, device=x.device).triu(diagonal=1)
        probs = F.softmax(logits + mask, dim=-1, dtype=torch.float32).to(x.dtype)
        enc = torch.einsum("bngst,btnd->bsngd", probs, v)
        return self.o_proj(enc.reshape(B, S, self.n_heads * self.head_dim))
