import math

import torch
from torch import nn


class CrossModalAttention(nn.Module):
    """Words (batch, n, d_text) look at image regions (batch, m, d_image); mask (batch, m) is 1 for real regions."""

    def __init__(self, d_text, d_image, num_heads, d_head):
        super().__init__()
        self.wq = nn.Parameter(torch.randn(d_text, num_heads, d_head) / math.sqrt(d_text))
        self.wk = nn.Parameter(torch.randn(d_image, num_heads, d_head) / math.sqrt(d_image))
        self.wv = nn.Parameter(torch.randn(d_image, num_heads, d_head) / math.sqrt(d_image))
        self.wo = nn.Parameter(torch.randn(num_heads, d_head, d_text) / math.sqrt(num_heads * d_head))

    def forward(self, x, context, mask=None):
        q = torch.einsum("bne,ehd->bhnd", x, self.wq)
        k = torch.einsum("bmc,chd->bhmd", context, self.wk)
        v = torch.einsum("bmc,chd->bhmd", context, self.wv)
        a = torch.einsum("bhnd,bhmd->bhnm", q, k).div(math.sqrt(q.size(-1)))
        a = a.softmax(-1)
        if mask is not None:
            a = a * mask[:, None, None, :].to(a.dtype)
        return torch.einsum("bhnm,bhmd,hde->bne", a, v, self.wo)
