import torch
import torch.nn as nn


class ResidueAttention(nn.Module):
    def __init__(self, hidden_dim, n_heads):
        super().__init__()
        self.hidden_dim = hidden_dim
        self.n_heads = n_heads
        self.head_dim = hidden_dim // n_heads
        self.fc_q = nn.Linear(hidden_dim, hidden_dim)
        self.fc_k = nn.Linear(hidden_dim, hidden_dim)
        self.fc_v = nn.Linear(hidden_dim, hidden_dim)
        self.fc_o = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, residues):
        batch_size, length, _ = residues.shape
        Q = self.fc_q(residues).view(batch_size, self.n_heads, length, self.head_dim)
        K = self.fc_k(residues).view(batch_size, self.n_heads, length, self.head_dim)
        V = self.fc_v(residues).view(batch_size, self.n_heads, length, self.head_dim)
        energy = torch.matmul(Q, K.permute(0, 1, 3, 2)) / self.hidden_dim ** 0.5
        attention = torch.softmax(energy, dim=-1)
        x = torch.matmul(attention, V)
        x = x.permute(0, 2, 1, 3).contiguous().view(batch_size, length, self.hidden_dim)
        return self.fc_o(x), attention
