"""The statistics on request, of one text: sums that add up over texts, by head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.statistics.further.block import Setting
from attnscope.statistics.further.compute import further_sums
from attnscope.statistics.pairs import Pairs
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens


def further_numbers(
    sites: Sequence[Site], tokens: Tokens, names: Sequence[str]
) -> tuple[Float[Tensor, "N F"], Float[Tensor, "N F"]]:
    """Values and counts of the statistics in `names`, of all heads: what is to be added up, and of how many it is the sum.

    `sites`: the layers of one text, in order. A statistic that is no mean over queries, such as a variance, counts once a text.
    """
    values, counts = (torch.zeros(sum(s.heads for s in sites), len(names), dtype=torch.float64) for _ in range(2))
    known: dict[int, Pairs] = {}
    first = 0
    for site in sites:
        pairs = known.setdefault(site.query_offset, Pairs(site, tokens, tokens))
        heads = slice(first, first + site.heads)
        first += site.heads
        for name, sums in further_sums(Setting(site, pairs, tokens), names).sums.items():
            values[heads, names.index(name)], counts[heads, names.index(name)] = sums.over_texts()
    return values, counts
