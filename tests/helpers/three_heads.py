"""Code for the doctor: an attention of three heads, of which a test makes what it needs."""

import torch
from torch import Tensor, nn


class ThreeHeads(nn.Module):
    """Four maps from `width` numbers to as many."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.heads = 3
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def cut(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
