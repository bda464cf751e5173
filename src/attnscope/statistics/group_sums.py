"""How much some queries look at each group of keys, added up while their weights pass by in blocks: memory grows with T."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attnscope.attention.functions import key_shares
from attnscope.statistics.sight import seen_keys
from attnscope.tracing.query_blocks import query_blocks
from attnscope.tracing.site import Site


@dataclass(frozen=True, eq=False)
class KeySums:
    """Means over some queries of one site, by head and key; fp64.

    `weight`: of the weights. `share`: of the shares of the output (Site.share), None where only weights are known. `even`: what each key would
    get if every query spread its weight on the keys that count evenly over those of them that it may see; nothing for the others. `sink`: the
    weight on a learned sink, by head.
    """

    weight: Float[Tensor, "H K"]
    share: Float[Tensor, "H K"] | None
    even: Float[Tensor, "H K"]
    sink: Float[Tensor, " H"]


def key_sums(site: Site, rows: Sequence[int], counts: Bool[Tensor, " K"]) -> KeySums:
    """The means over the queries in `rows`, numbers of rows of the site. `counts`: the keys that count, the others are set aside."""
    weight, share, even = (torch.zeros(site.heads, site.keys, dtype=torch.float64) for _ in range(3))
    sink, seen = torch.zeros(site.heads, dtype=torch.float64), 0
    norms = None if site.weights_only else site.norms()[1].float()
    chosen = torch.as_tensor(rows, dtype=torch.long)
    for block in query_blocks(len(chosen), site.keys, site.heads):
        some = chosen[block]
        weights = site.weights(None, some).nan_to_num(0.0)  # [H, q, K]
        allowed = seen_keys(site, some) & counts
        total = weights.sum(-1)
        seen += int((total > 0).any(0).sum())
        weight += weights.sum(1).double().cpu()
        if site.sinks is not None:
            sink += torch.where(total > 0, 1 - total, 0.0).sum(1).double().cpu()
        if norms is not None:
            share += key_shares(weights, norms[:, None]).sum(1).double().cpu()
        spread = (weights * counts.to(weights.device)).sum(-1).cpu()  # [H, q]
        each = allowed / allowed.sum(-1, keepdim=True).clamp_min(1)
        even += torch.einsum("hq,hqk->hk", spread, each.float().expand(site.heads, -1, -1)).double()
    number = max(1, seen)
    return KeySums(weight / number, None if norms is None else share / number, even / number, sink / number)
