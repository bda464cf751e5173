"""What is odd about weights that were given, in words: they are drawn all the same, and a note reports it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.tracing.receipts import TOLERANCE
from attnscope.tracing.weights_site import WeightsSite


def odd_weights(sites: Sequence[WeightsSite]) -> tuple[str, ...]:
    """Notes on NaN, and on rows that do not sum to 1."""
    broken: list[str] = []
    turned: list[str] = []
    odd: dict[str, list[str]] = {}  # why rows may not sum to 1 -> where
    sums: dict[str, list[float]] = {}
    count = 0
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
        why = _why(weights, float(rows.max()) > 1 + tolerance)
        odd.setdefault(why, []).append(site.name)
        sums.setdefault(why, []).extend((float(rows.min()), float(rows.max())))
    notes = []
    if broken:
        many = "1 weight is" if count == 1 else f"{count} weights are"
        notes.append(f"{many} NaN ({_listed(broken)}), and drawn as such.")
    for why, names in odd.items():
        between = " … ".join(dict.fromkeys((f"{min(sums[why]):.4g}", f"{max(sums[why]):.4g}")))
        notes.append(
            f"Rows do not sum to 1 but to {between} ({_listed(names)}): {why}. The weights are drawn as given."
        )
    if turned:
        notes.append(
            f"Rows do not sum to 1, but columns do ({_listed(turned)}): the softmax seems to have run over the queries (dim=-2); "
            "keys are dim=-1. The weights are drawn as given."
        )
    return tuple(notes)


BELOW = "a sink's column was left out, keys were cut off, or heads pruned"
DROPOUT = "dropout seems to have been active, which sets some weights to 0 and enlarges the others; call model.eval() before the pass"
ABOVE = "no softmax over the keys gives more than 1, so they were scaled, or added up, or are no attention weights"


def _why(weights: Float[Tensor, "H Q K"], above: bool) -> str:
    """Why rows may not sum to 1. `above`: some sum to more."""
    if not above:
        return BELOW
    zero = weights == 0
    # A mask hides the same keys from all heads; dropout does not.
    scattered = zero.any() if len(weights) == 1 else not torch.equal(zero.any(0), zero.all(0))
    return DROPOUT if bool(scattered) else ABOVE


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
