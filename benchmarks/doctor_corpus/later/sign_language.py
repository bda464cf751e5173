import torch
from torch import nn


class PoseAttention(nn.Module):
    """Mixes the frames of each clip. Input and output: (clips, frames, joints)."""

    def __init__(self, joints, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(joints, joints) for _ in range(3))
        self.final = nn.Linear(joints, joints)

    def forward(self, poses):
        tgt_len, bsz, c = poses.size()
        d = c // self.heads
        q = self.query(poses).contiguous().view(tgt_len, bsz * self.heads, d).transpose(0, 1)
        k = self.key(poses).contiguous().view(tgt_len, bsz * self.heads, d).transpose(0, 1)
        v = self.value(poses).contiguous().view(tgt_len, bsz * self.heads, d).transpose(0, 1)
        w = torch.softmax(torch.bmm(q, k.transpose(1, 2)) / d**0.5, dim=-1)
        y = torch.bmm(w, v).transpose(0, 1).contiguous().view(tgt_len, bsz, c)
        return self.final(y)
