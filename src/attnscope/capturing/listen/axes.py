"""Which axes of a tensor are batch, heads, queries and keys, where a module calls torch by itself."""

import torch
from torch import Tensor, nn

_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads", "h")


def heads_named_by(module: nn.Module) -> int | None:
    """How many heads the module says that it has; None where it says nothing."""
    return next((n for name in _HEADS if type(n := getattr(module, name, None)) is int and n > 0), None)


def in_axes(x: Tensor, module: nn.Module) -> Tensor | None:
    """`x` as [B, H, T, D]. The first of three axes is batch × heads if the module names its number of heads."""
    if x.ndim == 2:
        return x[None, None]
    if x.ndim == 3:
        heads = heads_named_by(module) or 1
        heads = heads if len(x) % heads == 0 else 1
        return x.unflatten(0, (len(x) // heads, heads))
    return x.flatten(0, -4) if x.ndim >= 4 else None


def heads_behind(x: Tensor, module: nn.Module) -> Tensor | None:
    """Of more than four axes, such as [B, H, windows, Q, K]: the heads moved to the third from the end. None where nothing
    tells which axis they are."""
    if x.ndim < 5:
        return x
    places = [axis for axis in range(1, x.ndim - 2) if x.shape[axis] == heads_named_by(module)]
    return x.movedim(places[0], -3) if len(places) == 1 else None


def share_keys(key: Tensor) -> bool:
    """Whether parts side by side, [..., H, K, D] in more than four axes, hold the same keys: pieces of one attention whose
    places are not known (a band, blocks with their neighbours), and no windows that see only themselves."""
    if key.ndim < 5:
        return False
    rows = key.detach().movedim(-3, -2).flatten(-2).flatten(1, -2)  # [B, parts · K, H · D]
    rows = rows[0][rows[0].any(-1)]
    return len(torch.unique(rows, dim=0)) < len(rows)
