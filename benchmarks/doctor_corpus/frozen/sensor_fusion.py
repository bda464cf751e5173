import torch
import torch.nn as nn


class SensorAttention(nn.Module):
    """x: (batch, time, channels) -> (batch, time, channels)"""

    def __init__(self, channels, num_heads=4):
        super().__init__()
        self.attn = nn.MultiheadAttention(channels, num_heads)

    def forward(self, x):
        batch, time, channels = x.shape
        out, _ = self.attn(x, x, x)
        return out.view(batch, time, channels)
