import torch
from torch import nn


class EdgeAttention(nn.Module):
    def __init__(self, d_model, n_q, n_kv, theta=10000.0):
        super().__init__()
        self.n_q, self.n_kv, self.d = n_q, n_kv, d_model // n_q
        self.theta = theta
        self.q = nn.Linear(d_model, n_q * self.d, bias=False)
        self.k = nn.Linear(d_model, n_kv * self.d, bias=False)
        self.v = nn.Linear(d_model, n_kv * self.d, bias=False)
        self.o = nn.Linear(n_q * self.d, d_model, bias=False)

    def rope(self, x):
        t = x.size(2)
        freq = self.theta ** (-torch.arange(0, self.d, 2, device=x.device) / self.d)
        phase = torch.outer(torch.arange(t, device=x.device), freq).repeat_interleave(2, dim=1)
        first, second = x.split(self.d // 2, dim=-1)
        return x * torch.cos(phase) + torch.cat([-second, first], dim=-1) * torch.sin(phase)

    def forward(self, x):
        b, t, _ = x.shape
        q = self.rope(self.q(x).view(b, t, self.n_q, self.d).transpose(1, 2))
        k = self.rope(self.k(x).view(b, t, self.n_kv, self.d).transpose(1, 2))
        v = self.v(x).view(b, t, self.n_kv, self.d).transpose(1, 2)
        k = k.unsqueeze(1).expand(b, self.n_q // self.n_kv, self.n_kv, t, self.d).flatten(1, 2)
        v = v.unsqueeze(1).expand(b, self.n_q // self.n_kv, self.n_kv, t, self.d).flatten(1, 2)
        scores = (q @ k.mT) * self.d**-0.5 + torch.full((t, t), -1e9, device=x.device).triu(1)
        out = scores.softmax(-1) @ v
        return self.o(out.transpose(1, 2).flatten(2))
