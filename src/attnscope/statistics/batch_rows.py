"""Blocks of the weights of all texts of a batch, which a model has computed together."""

from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from attnscope.statistics.rows import Rows, moderate
from attnscope.tracing.biases import BiasRule
from attnscope.tracing.site import Site


class BatchRows(Rows):
    """The rows of head 0 in each of the B texts, then those of head 1, …: so q and k are read where the model left them, and
    not copied, which would take as long as the statistics.

    `row`: the site of one text; its mask and biases are those of all.
    """

    def __init__(self, row: Site, q: Float[Tensor, "B H Q D"], k: Float[Tensor, "B Hkv K D"]) -> None:
        self._q, self._k, self.texts = q.detach(), k.detach(), len(q)
        nothing = q.new_zeros(1).float()  # the site has their shapes, and takes no memory
        shapes = [(heads * self.texts, *rest) for heads, *rest in (row.q.shape, row.k.shape, row.v.shape)]
        queries, keys, values = (nothing.expand(shape) for shape in shapes)
        super().__init__(
            Site(
                queries,
                keys,
                values,
                row.scaling,
                softcap=row.softcap,
                mask=row.mask,
                position_bias=None if row.position_bias is None else _repeated(row.position_bias, self.texts),
                sinks=None if row.sinks is None else row.sinks.repeat_interleave(self.texts),
            )
        )

    @cached_property
    def whole(self) -> bool:
        return not moderate(self.site, self._q, self._k)

    def products(self, out: Float[Tensor, "h q n"], heads: slice, run: slice, keys: slice, factor: float) -> None:
        """`heads`: all texts of some heads."""
        for head, one in enumerate(out.split(self.texts), heads.start // self.texts):
            query, key = self._q[:, head, run].float(), self._k[:, head // self.group, keys].float()
            one.baddbmm_(query, key.transpose(1, 2), beta=0, alpha=factor)


def _repeated(bias: BiasRule, texts: int) -> BiasRule:
    tables = (bias.diagonals, bias.cells, bias.blocks)
    return BiasRule(*(t if t is None or len(t) == 1 else t.repeat_interleave(texts, 0) for t in tables))
