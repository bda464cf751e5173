"""The weights of a trace as a data frame: a row for each query and key."""

from typing import Any

import numpy as np
import torch

from attnscope.errors import InputError
from attnscope.statistics.frames import data_frame, need_pandas
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace

MOST = 10_000_000  # rows, of about 60 bytes


def weights_frame(trace: Trace, layer: Any, head: Any, stack: str | None) -> Any:
    """See Trace.to_frame."""
    need_pandas()
    if layer is None and (head is not None or stack is not None):
        raise InputError("expected layer beside head or stack: a head is one of a layer.")
    sites = trace.sites if layer is None else (trace.site(layer, stack),)
    number = None if head is None else sites[0]._head(head)
    rows = sum((site.heads if number is None else 1) * site.queries * site.keys for site in sites)
    if rows > MOST:
        raise InputError(
            f"expected at most {MOST:,} weights in a data frame, got {rows:,}. Name a layer, or a layer and a head."
        )
    parts = [
        _of_head(trace, site, one) for site in sites for one in (range(site.heads) if number is None else [number])
    ]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return data_frame(columns)


def _of_head(trace: Trace, site: Site, head: int) -> dict[str, "np.ndarray"]:
    seen = site.mask.allowed(torch.arange(site.queries), site.keys, head)
    query, key = (place.numpy() for place in seen.nonzero(as_tuple=True))
    weight = site.weights(head).cpu()[seen].float().numpy()
    size, first = len(weight), site.query_offset
    queries, keys = (
        np.array(tokens.shown, dtype=object) for tokens in (trace.query_tokens(site), trace.key_tokens(site))
    )
    return {
        "stack": np.full(size, site.stack, dtype=object),
        "layer": np.full(size, site.layer),
        "head": np.full(size, head),
        "query": query + first,
        "key": key,
        "query_token": queries[query + first],
        "key_token": keys[key],
        "weight": weight,
    }
