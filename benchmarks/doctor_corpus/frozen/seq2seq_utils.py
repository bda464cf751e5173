from typing import Optional

import torch
import torch.nn.functional as F


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: Optional[torch.Tensor] = None,
    *,
    p: float = 0.1,
    training: bool = False,
) -> torch.Tensor:
    """Scaled dot-product attention; positions where ``mask`` is True are left out."""
    attn_mask = None if mask is None else ~mask.bool()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, dropout_p=p if training else 0.0)
