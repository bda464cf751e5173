import torch.nn as nn
import torch.nn.functional as F


class AdapterAttention(nn.Module):
    def __init__(self, model_dim, heads, dropout=0.1):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query_proj = nn.Linear(model_dim, model_dim)
        self.key_proj = nn.Linear(model_dim, model_dim)
        self.value_proj = nn.Linear(model_dim, model_dim)
        self.output_proj = nn.Linear(model_dim, model_dim)

    def _heads(self, t):
        return t.reshape(t.size(0), t.size(1), self.heads, t.size(2) // self.heads).transpose(1, 2)

    def forward(self, x):
        q = self._heads(self.query_proj(x))
        k = self._heads(self.key_proj(x))
        v = self._heads(self.value_proj(x))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)
        return self.output_proj(y.transpose(1, 2).flatten(-2))
