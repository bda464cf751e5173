"""The numbers in a picture of a head: a row for each query, a column for each key, the pieces of a word merged.

As keys, the weights of a word's pieces are added, because softmax divides one whole among the keys. As queries they are
averaged, so that a row stays a distribution. Scores and q · k are not parts of a whole: a word has the mean of its pieces.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attnscope.render.figures.scene import Scene
from attnscope.render.figures.slots import Axis
from attnscope.tracing.site import Site

LEAST_LEFT = 1e-3  # of less weight beside the hidden tokens no picture is made large


@dataclass(frozen=True, eq=False)
class Field:
    """values: the numbers of `quantity`. masked: no piece of the query may attend to any piece of the key. hidden, outside,
    sink: the weight of each row on hidden tokens, on the other sentence, and on the sink. empty: no key allowed."""

    values: Float[Tensor, "R C"]
    masked: Bool[Tensor, "R C"]
    hidden: Float[Tensor, " R"]
    outside: Float[Tensor, " R"]
    sink: Float[Tensor, " R"]
    empty: Bool[Tensor, " R"]
    quantity: str = "weights"

    @property
    def parts(self) -> Float[Tensor, "R C"]:
        """Weights as parts of what the hidden tokens leave: how thick a line is. Where nothing is hidden, the weights."""
        return self.values / (1 - self.hidden).clamp_min(LEAST_LEFT)[:, None]

    def row(self, slots: list[int], combine: str) -> "Field":
        """Several rows as one: their mean, or their sum."""
        part = 1 / len(slots) if combine == "mean" else 1.0
        added = {
            n: getattr(self, n)[slots].sum(0, keepdim=True) * part for n in ("values", "hidden", "outside", "sink")
        }
        return Field(
            **added, masked=self.masked[slots].all(0, keepdim=True), empty=self.empty[slots].all(0, keepdim=True)
        )


def field_of(scene: Scene, head: int, queries: Axis, keys: Axis, quantity: str = "weights") -> Field:
    """The field of one head, or of the state's mean over heads, which has weights only.

    Raises NotCaptured for scores of a site that has weights only.
    """
    members = scene.members(head)
    quantity = quantity if len(members) == 1 else "weights"
    rows = queries.tokens - scene.site.query_offset
    found = [_numbers(site, h, rows, quantity) for site, h in members]
    values = torch.stack([v for v, _, _ in found]).mean(0)
    allowed = torch.stack([a for _, a, _ in found]).any(0)
    sink = torch.stack([s for _, _, s in found]).mean(0)
    weights = values if quantity == "weights" else torch.zeros_like(values)
    pairs = _gather(allowed.double(), queries, keys)
    if quantity == "weights":
        merged = _mean_rows(_sum_columns(values, keys), queries)
    elif quantity == "scores":
        merged = _gather(torch.where(allowed, values, 0.0), queries, keys) / pairs.clamp_min(1)
    else:
        merged = _gather(values, queries, keys) / _gather(torch.ones_like(values), queries, keys)
    masked = (pairs == 0) & ~((merged > 0) if quantity == "weights" else torch.zeros_like(merged, dtype=torch.bool))
    empty = _gather_rows((~allowed.any(-1)).double(), queries) == _gather_rows(torch.ones(len(rows)).double(), queries)
    return Field(
        merged,
        masked,
        _mean_rows(weights[:, list(keys.hidden)].sum(-1, keepdim=True), queries)[:, 0],
        _mean_rows(weights[:, list(keys.outside)].sum(-1, keepdim=True), queries)[:, 0],
        _mean_rows(sink[:, None], queries)[:, 0],
        empty,
        quantity,
    )


def _numbers(site: Site, head: int, rows: Tensor, quantity: str) -> tuple[Tensor, Tensor, Tensor]:
    """[q, K] of the quantity, [q, K] of allowed pairs, [q] of the sink's weight; in fp64."""
    if quantity == "weights":
        values = weights = site.weights(head, rows)
    else:
        chain = site.chain(head, rows)
        values, weights = (chain.biased if quantity == "scores" else chain.dot), chain.weights
    allowed = torch.ones(len(rows), site.keys, dtype=torch.bool)
    if not site.mask.is_empty:
        allowed = site.mask.allowed(rows, site.keys, head).reshape(len(rows), -1).expand(-1, site.keys)
    sink = torch.zeros(len(rows)) if site.sinks is None else (1 - weights.sum(-1)).clamp_min(0)
    return values.double().cpu(), allowed.cpu(), sink.double().cpu()


def _sum_columns(values: Tensor, keys: Axis) -> Tensor:
    out = values.new_zeros(len(values), len(keys.slots))
    return out.index_add(1, keys.owners, values[:, keys.tokens])


def _gather_rows(values: Tensor, queries: Axis) -> Tensor:
    out = values.new_zeros(len(queries.slots), *values.shape[1:])
    return out.index_add(0, queries.owners, values)


def _mean_rows(values: Tensor, queries: Axis) -> Tensor:
    count = torch.tensor([len(slot.tokens) for slot in queries.slots], dtype=values.dtype)
    return _gather_rows(values, queries) / count[:, None]


def _gather(values: Tensor, queries: Axis, keys: Axis) -> Tensor:
    return _gather_rows(_sum_columns(values, keys), queries)
