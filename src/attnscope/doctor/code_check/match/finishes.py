"""What may follow the heads' outputs instead of the output projection alone: the block of the Set Transformer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from attnscope.doctor.code_check.run.invocation import Invocation


@dataclass(frozen=True)
class AfterQueries:
    """The projected queries are added to the heads' outputs; then x + relu(projection(x)), with a norm after each sum where there are two."""

    norms: tuple[nn.Module, ...] = ()

    def __call__(self, outputs: Tensor, queries: Tensor, projection: Callable[[Tensor], Tensor]) -> Tensor:
        x = outputs + queries
        x = self.norms[0](x) if self.norms else x
        x = x + projection(x).relu()
        return self.norms[1](x) if len(self.norms) > 1 else x


def finishes(invocation: Invocation) -> Iterator[Invocation]:
    """The invocation with that block, where its widths allow it."""
    p, module = invocation.projections, invocation.fn
    if p is None or not isinstance(module, nn.Module) or p.merged != "joined":
        return
    width = p.value.weight.shape[1] * p.heads // p.kv_heads
    if p.query.weight.shape[1] != width:
        return
    norms = tuple(part for part in module.modules() if isinstance(part, nn.LayerNorm))[:2]
    if p.out is not None and p.out.weight.shape[1] == width:
        yield from (replace(invocation, finish=AfterQueries(own)) for own in dict.fromkeys([(), norms]))
