"""Position biases as the rule that reproduces them: one value per diagonal and head where a bias is constant along
diagonals, by parts where these do not see each other, and whole otherwise."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from attnscope.tracing.query_blocks import query_blocks


@dataclass(frozen=True, eq=False)
class BiasRule:
    """A position bias added to the scores: one value per diagonal, or every cell, or the cells of P parts.

    `diagonals` holds the value at key - query + Q - 1; `cells` the whole bias; `blocks` that of parts of one size which do not
    see each other (windows of an image), q queries and k keys each. The head axis is 1 where heads share it.
    """

    diagonals: Float[Tensor, "Hb diagonals"] | None = None
    cells: Float[Tensor, "Hb Q K"] | None = None
    blocks: Float[Tensor, "Hb P q k"] | None = None

    @property
    def table(self) -> Float[Tensor, "Hb ..."]:
        """The numbers, whichever form they have."""
        return next(one for one in (self.diagonals, self.cells, self.blocks) if one is not None)

    @property
    def form(self) -> str:
        """Which form that is, as payloads name it: "diagonals", "full" or "blocks"."""
        return "diagonals" if self.diagonals is not None else "full" if self.cells is not None else "blocks"

    @property
    def nbytes(self) -> int:
        return self.table.nbytes

    def cut(self, queries: int, keys: int) -> "BiasRule":
        """The bias of the first `keys` keys."""
        if self.diagonals is not None:
            return BiasRule(diagonals=self.diagonals[..., : queries + keys - 1])
        return BiasRule(cells=self._whole()[..., :keys])

    def behind(self, front: int) -> "BiasRule":
        """The bias with `front` more keys before its own, which get none."""
        if self.diagonals is not None:
            return BiasRule(diagonals=torch.nn.functional.pad(self.diagonals, (front, 0)))
        return BiasRule(cells=torch.nn.functional.pad(self._whole(), (front, 0)))

    def _whole(self) -> Float[Tensor, "Hb Q K"]:
        if self.blocks is None:
            assert self.cells is not None
            return self.cells
        _, parts, queries, keys = self.blocks.shape
        return self._of_blocks(torch.arange(parts * queries), parts * keys, self.blocks)

    @staticmethod
    def _of_blocks(
        queries: Shaped[Tensor, " q"], keys: int, blocks: Float[Tensor, "*H P _ _"]
    ) -> Float[Tensor, "*H q {keys}"]:
        """The rows of these queries: what their own part has, at its place among the keys."""
        each, wide = blocks.shape[-2:]
        own = blocks.flatten(-3, -2)[..., queries, :].float()
        places = (queries // each * wide)[:, None] + torch.arange(wide)
        return own.new_zeros(*own.shape[:-1], keys).scatter_(-1, places.to(own.device).expand_as(own), own)

    def values(
        self, queries: Shaped[Tensor, " q"], total_queries: int, keys: int, head: int | None = None
    ) -> Float[Tensor, "*H q {keys}"]:
        """The bias for these query positions, fp32: [q, K] for one head, [H or 1, q, K] with head=None."""
        table = self.table
        if head is not None:
            table = table[head if len(table) > 1 else 0]
        if self.blocks is not None:
            return self._of_blocks(queries.cpu(), keys, table)
        if self.cells is not None:
            return table[..., queries, :].float()
        index = torch.arange(keys) - queries[:, None] + total_queries - 1
        return table[..., index].float()

    def block(self, rows: slice, total_queries: int, total_keys: int, keys: slice) -> Float[Tensor, "Hb q n"]:
        """The bias of a run of queries and a run of keys, fp32; a row of diagonals is copied whole.

        `rows`, `keys`: the runs. `total_queries`, `total_keys`: Q and K.
        """
        if self.cells is not None:
            return self.cells[:, rows, keys].float()
        if self.blocks is not None:
            return self._of_blocks(torch.arange(rows.start, rows.stop), total_keys, self.blocks)[..., keys]
        assert self.diagonals is not None
        windows = self.diagonals[:, : total_queries + total_keys - 1].unfold(-1, keys.stop - keys.start, 1)
        starts = torch.arange(rows.start, rows.stop)
        return windows[:, keys.start - starts + total_queries - 1].float()


def bias_rule_of(bias: Float[Tensor, "Hb Q K"]) -> BiasRule:
    """Diagonal values where the bias is constant along diagonals, else the bias itself."""
    queries, keys = bias.shape[-2:]
    # Walk up the first column, then along the first row: key - query runs from 1 - Q to K - 1.
    diagonals = torch.cat([bias[:, :, 0].flip(-1), bias[:, 0, 1:]], dim=-1).detach().clone()
    rule = BiasRule(diagonals=diagonals.cpu())
    for rows in query_blocks(queries, keys, len(bias)):
        position = torch.arange(queries)[rows]
        index = torch.arange(keys) - position[:, None] + queries - 1
        if not torch.equal(diagonals[:, index.to(diagonals.device)], bias[:, rows]):
            return BiasRule(cells=bias.detach().cpu().clone())
    return rule
