"""What a payload holds of a site: which heads, in which dtype."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from attnscope.tracing.site import Site


@dataclass(frozen=True)
class Held:
    """What a payload holds of one site: some heads (None: all) in some dtype (None: the site's own)."""

    heads: tuple[int, ...] | None = None
    dtype: torch.dtype | None = None


def as_held(site: Site, what: Held) -> Site:
    """The site as it will be decoded: q, k, v rounded to the held dtype. The receipt of a view is computed from this."""
    if what.dtype is None or what.dtype == site.kept_dtype:
        return site
    rounded = {name: tensor.to(what.dtype).to(torch.float32) for name, tensor in site.kept.items()}
    changes: dict[str, Any] = {"given": rounded["weights"]} if site.weights_only else rounded
    return replace(site, **changes, dtype=coarser(site.dtype or site.kept_dtype, what.dtype))


def coarser(first: torch.dtype, second: torch.dtype) -> torch.dtype:
    return first if torch.finfo(first).eps >= torch.finfo(second).eps else second
