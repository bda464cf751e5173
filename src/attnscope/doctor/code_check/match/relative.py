"""Keys and values of each distance between two tokens (Shaw et al., 2018), from tables of the module's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.run.invocation import Invocation


@dataclass(frozen=True)
class Relative:
    """keys, values: [distances, D], or None. A distance j - i (or i - j) picks row `middle` + distance, cut off at both ends."""

    keys: Tensor | None
    values: Tensor | None
    middle: int
    ahead: bool  # whether the distance is j - i
    scaled: bool  # whether q · r is divided by √D with q · k

    def _rows(self, table: Tensor, queries: int, keys: int) -> Tensor:
        distance = torch.arange(keys) - torch.arange(queries)[:, None]
        distance = distance if self.ahead else -distance
        return table[(self.middle + distance).clamp(0, len(table) - 1)]  # [Q, K, D]

    def scores(self, query: Tensor, keys: int) -> Tensor | float:
        """q · r, [B, H, Q, K]."""
        if self.keys is None:
            return 0.0
        return torch.einsum("bhqd,qkd->bhqk", query, self._rows(self.keys, query.shape[-2], keys))

    def outputs(self, weights: Tensor, size: int) -> Tensor | float:
        """What the values of each distance add to the outputs, [B, H, Q, D]."""
        if self.values is None or self.values.shape[-1] != size:
            return 0.0
        return torch.einsum("bhqk,qkd->bhqd", weights, self._rows(self.values, *weights.shape[-2:]))


def relatives(invocation: Invocation) -> Iterator[Relative]:
    """What the module's tables may be: of keys, of values, or one of each."""
    p = invocation.projections
    if p is None or not isinstance(invocation.fn, nn.Module):
        return
    size, own = p.query.weight.shape[1] // p.heads, {part.weight.data_ptr() for part in (p.query, p.key, p.value)}
    tables = [x.detach() for x in invocation.fn.parameters() if x.ndim == 2 and x.shape[1] == size and len(x) > 2]
    tables = [table for table in tables if table.data_ptr() not in own][:3]
    pairs = [
        *((table, None) for table in tables),
        *permutations(tables, 2),
        *((None, t) for t in tables),
        *((t, t) for t in tables),
    ]
    for keys, values in pairs:
        first = keys if keys is not None else values
        middles = [(len(first) - 1) // 2] if len(first) % 2 else []  # type: ignore[arg-type]
        for middle, ahead, scaled in product([*middles, len(first) - 1, 0], (True, False), (True, False)):  # type: ignore[arg-type]
            yield Relative(keys, values, middle, ahead, scaled)
