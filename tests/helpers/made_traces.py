"""Traces of random vectors, for tests that need no model."""

import io
from dataclasses import replace

import numpy as np
import torch

from attnscope.tracing.biases import BiasRule
from attnscope.tracing.grids import grid_from
from attnscope.tracing.masks import causal_rule
from attnscope.tracing.silence import SILENT
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


def pictured(rows: int = 3, columns: int = 5) -> Trace:
    """An image of `rows` × `columns` patches behind [CLS] and a register, every patch of another grey, by two heads."""
    from PIL import Image

    count = 2 + rows * columns
    greys = np.linspace(0, 255, rows * columns).astype(np.uint8).reshape(rows, columns)
    Image.fromarray(greys.repeat(7, 0).repeat(7, 1)).save(file := io.BytesIO(), "PNG")
    grid = replace(grid_from(2, rows, columns), png=file.getvalue())
    names = ("[CLS]", "[REG 0]", *(f"patch {r},{c}" for r in range(rows) for c in range(columns)))
    tokens = Tokens(names, special=(True, True) + (False,) * rows * columns, grids=(grid,))
    return made_trace(heads=2, kv_heads=2, queries=count, tokens=tokens, spread=1.5)


def sounding(count: int = 6, silent: int = 4) -> Trace:
    """A sound in steps of 0.02 s, and the silence that fills it up."""
    names = tuple(f"{0.02 * i:.2f} s" for i in range(count))
    behind = tuple(f"{SILENT}{0.02 * i:.2f} s" for i in range(count, count + silent))
    tokens = Tokens((*names, *behind), special=(False,) * count + (True,) * silent)
    return made_trace(heads=2, kv_heads=2, queries=count + silent, tokens=tokens, spread=1.5)


def filmed(frames: int = 3) -> Trace:
    """Words around `frames` pictures of 2 × 3 patches, whose queries see the words of the text as well."""
    drawn, size = pictured(2, 3).tokens.grids[0].png, 6
    grids = tuple(replace(grid_from(1 + size * frame, 2, 3), png=drawn if frame else b"") for frame in range(frames))
    names = ("a", *(f"patch {frame}:{i // 3},{i % 3}" for frame in range(frames) for i in range(size)), "film", "</s>")
    tokens = Tokens(names, special=(False,) * (len(names) - 1) + (True,), grids=grids)
    return made_trace(heads=4, kv_heads=2, queries=len(names), tokens=tokens, mask=causal_rule(len(names), len(names)))
