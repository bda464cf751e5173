"""Traces of random vectors, for tests that need no model."""

import torch

from attnscope.tracing.masks import BiasRule, causal_rule
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

WAYS = ("file", "srcdoc", "sandboxed")  # of opening a page


def made_trace(
    heads: int = 3,
    kv_heads: int = 3,
    queries: int = 13,
    head_size: int = 7,
    layers: int = 2,
    tokens: Tokens | None = None,
    spread: float = 1.0,
    **extras,
) -> Trace:
    """A trace of random vectors with any extras of a site, and the z that they give."""
    generator = torch.Generator().manual_seed(11)
    sites = []
    for layer in range(layers):
        q = torch.randn(heads, queries, head_size, generator=generator) * spread
        k, v = (torch.randn(kv_heads, queries, head_size, generator=generator) * spread for _ in range(2))
        place = {"path": f"layers.{layer}.attn", "layer": layer}
        site = Site(q, k, v, head_size**-0.5, **place, **extras)
        sites.append(Site(q, k, v, head_size**-0.5, z=site.output(), z_rows=torch.arange(queries), **place, **extras))
    return Trace(tuple(sites), tokens or Tokens(tuple(f"word{i}" for i in range(queries))))


def with_everything() -> Trace:
    """Grouped heads, softcap, position bias, a causal window and sinks at once."""
    generator = torch.Generator().manual_seed(5)
    return made_trace(
        heads=6,
        kv_heads=2,
        queries=13,
        head_size=10,
        softcap=2.5,
        position_bias=BiasRule(diagonals=torch.randn(6, 25, generator=generator)),
        mask=causal_rule(13, 13, window=5),
        sinks=torch.randn(6, generator=generator),
    )
