import torch.nn as nn
import torch.nn.functional as F


class MessageAttention(nn.Module):
    def __init__(self, size, heads, dropout=0.15):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.proj_in = nn.Linear(size, 3 * size)
        self.proj_out = nn.Linear(size, size)

    def forward(self, x, mask=None):
        """x: (batch, words, size); mask: (batch, words), 1 for a word and 0 for padding"""
        b, n, size = x.shape
        q, k, v = self.proj_in(x).view(b, n, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
        if mask is not None:
            mask = mask[:, None, None, :].to(q.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.dropout)
        return self.proj_out(y.transpose(1, 2).reshape(b, n, size))
