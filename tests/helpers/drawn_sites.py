"""Sites of any attention, drawn by Hypothesis, and all of their weights in fp64, from the definition."""

from collections.abc import Callable

import torch
from hypothesis import strategies as st

from attnscope.tracing.biases import BiasRule
from attnscope.tracing.masks import MaskRule
from attnscope.tracing.site import Site


@st.composite
def sites(draw) -> Callable[[], Site]:
    """What makes a site. Sizes around those of tiles, panels and blocks."""
    kv_heads, group = draw(st.sampled_from([(1, 3), (2, 1), (2, 2)]))
    queries, size = draw(st.integers(1, 103)), draw(st.sampled_from([1, 3, 8, 17]))
    keys = queries + draw(st.sampled_from([0, 0, 29]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 1.5

    offset = keys - queries
    upper = draw(st.sampled_from([None, offset, offset + 5]))
    lower = draw(st.sampled_from([None, offset - 13, offset]))
    hidden, silent, spreading, sinks, biased = (draw(st.booleans()) for _ in range(5))
    softcap = draw(st.sampled_from([None, 0.7, 30.0]))

    def site() -> Site:
        seen, asking = (torch.rand(count, generator=generator) > part for count, part in ((keys, 0.2), (queries, 0.1)))
        return Site(
            drawn(kv_heads * group, queries, size),
            drawn(kv_heads, keys, size),
            drawn(kv_heads, keys, 2),
            size**-0.5,
            softcap=softcap,
            mask=MaskRule(lower, upper, seen if hidden else None, asking if silent else None, None, spreading),
            sinks=drawn(kv_heads * group) if sinks else None,
            position_bias=BiasRule(diagonals=drawn(1, queries + keys - 1)) if biased else None,
        )

    return site


def weights_of(site: Site) -> tuple[torch.Tensor, torch.Tensor]:
    """All weights and the sinks', in fp64, from the definition."""
    group = site.heads // site.kv_heads
    scores = torch.einsum("hqd,hkd->hqk", site.q.double(), site.k.double().repeat_interleave(group, 0)) * site.scaling
    rows = torch.arange(site.queries)
    if site.softcap is not None:
        scores = site.softcap * torch.tanh(scores / site.softcap)
    if site.position_bias is not None:
        scores = scores + site.position_bias.values(rows, site.queries, site.keys).double()
    scores = scores.masked_fill(~site.mask.allowed(rows, site.keys), -torch.inf)
    sinks = torch.full((site.heads,), -torch.inf).double() if site.sinks is None else site.sinks.double()
    joined = torch.cat([scores, sinks[:, None, None].expand(-1, site.queries, 1)], -1).softmax(-1)
    return joined[..., :-1].nan_to_num(0.0), joined[..., -1]
