"""What is odd about weights that were given, in words: they are drawn all the same, and a note reports it."""

from collections.abc import Sequence

import torch

from attnscope.tracing.receipts import TOLERANCE
from attnscope.tracing.weights_site import WeightsSite


def odd_weights(sites: Sequence[WeightsSite]) -> tuple[str, ...]:
    """Notes on NaN, and on rows that do not sum to 1."""
    broken: list[str] = []
    odd: list[str] = []
    turned: list[str] = []
    low, high, count = torch.inf, -torch.inf, 0
    for site in sites:
        weights, tolerance = site.weights(), TOLERANCE[site.given.dtype]
        if missing := int(torch.isnan(weights).sum()):
            broken.append(site.name)
            count += missing
        rows, columns = weights.sum(dim=-1), weights.sum(dim=-2)
        rows = rows[~torch.isnan(rows)]
        if not len(rows) or bool(((rows - 1).abs() <= tolerance).all()):
            continue
        if bool(((columns - 1).abs() <= tolerance).all()):
            turned.append(site.name)
            continue
        odd.append(site.name)
        low, high = min(low, float(rows.min())), max(high, float(rows.max()))
    notes = []
    if broken:
        many = "1 weight is" if count == 1 else f"{count} weights are"
        notes.append(f"{many} NaN ({_listed(broken)}), and drawn as such.")
    if odd:
        sums = " … ".join(dict.fromkeys((f"{low:.4g}", f"{high:.4g}")))
        notes.append(
            f"Rows do not sum to 1 but to {sums} ({_listed(odd)}): a sink's column was left out, keys were cut "
            "off, or heads pruned. The weights are drawn as given."
        )
    if turned:
        notes.append(
            f"Rows do not sum to 1, but columns do ({_listed(turned)}): the softmax seems to have run over the queries (dim=-2); "
            "keys are dim=-1. The weights are drawn as given."
        )
    return tuple(notes)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
