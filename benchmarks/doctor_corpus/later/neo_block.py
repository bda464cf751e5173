import torch
from torch import nn


def rotate_half(x):
    h = x.shape[-1] // 2
    return torch.cat((-x[..., h:], x[..., :h]), dim=-1)


class NeoAttention(nn.Module):
    def __init__(self, hidden_size, num_attention_heads, rotary_pct=0.5):
        super().__init__()
        self.num_attention_heads = num_attention_heads
        self.head_size = hidden_size // num_attention_heads
        self.rotary_ndims = int(self.head_size * rotary_pct)
        inv_freq = 1.0 / (10000 ** (torch.arange(0, self.rotary_ndims, 2).float() / self.rotary_ndims))
        self.register_buffer("inv_freq", inv_freq)
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size)
        self.dense = nn.Linear(hidden_size, hidden_size)

    def _rotary(self, x):
        t = torch.arange(x.shape[-2], device=x.device).float()
        emb = torch.outer(t, self.inv_freq).repeat(1, 2)
        rot, rest = x[..., : self.rotary_ndims], x[..., self.rotary_ndims :]
        return torch.cat((rot * emb.cos() + rotate_half(rot) * emb.sin(), rest), dim=-1)

    def forward(self, hidden_states, attention_mask=None):
        """attention_mask: additive, broadcastable to (batch, heads, length, length)"""
        bsz, n, _ = hidden_states.shape
        qkv = self.query_key_value(hidden_states).view(bsz, n, self.num_attention_heads, 3 * self.head_size)
        query = qkv[..., : self.head_size].permute(0, 2, 1, 3)
        key = qkv[..., self.head_size : 2 * self.head_size].permute(0, 2, 1, 3)
        value = qkv[..., 2 * self.head_size :].permute(0, 2, 1, 3)
        query, key = self._rotary(query), self._rotary(key)
        query = query.reshape(bsz * self.num_attention_heads, n, self.head_size)
        key = key.reshape(bsz * self.num_attention_heads, n, self.head_size)
        scores = torch.zeros(bsz * self.num_attention_heads, n, n, dtype=query.dtype, device=key.device)
        scores = torch.baddbmm(scores, query, key.transpose(1, 2), beta=1.0, alpha=self.head_size**-0.5)
        scores = scores.view(bsz, self.num_attention_heads, n, n)
        if attention_mask is not None:
            scores = torch.max(scores + attention_mask, torch.tensor(torch.finfo(scores.dtype).min, dtype=scores.dtype))
        probs = nn.functional.softmax(scores, dim=-1)
        out = torch.matmul(probs, value).permute(0, 2, 1, 3).contiguous()
        return self.dense(out.view(bsz, n, -1)), probs
