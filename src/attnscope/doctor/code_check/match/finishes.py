"""What may follow the heads' outputs instead of the output projection alone: the block of the Set Transformer, and the decoder step of Luong et al. (2015)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.run.affine import Affine
from attnscope.doctor.code_check.run.invocation import Invocation
from attnscope.doctor.code_check.run.parameters import owners_of


@dataclass(frozen=True)
class AfterQueries:
    """The projected queries are added to the heads' outputs; then x + relu(projection(x)), with a norm after each sum where there are two."""

    norms: tuple[nn.Module, ...] = ()
    of_inputs = False  # whether it takes what queries are made of, not the queries

    def __call__(self, outputs: Tensor, queries: Tensor, projection: Callable[[Tensor], Tensor]) -> Tensor:
        x = outputs + queries
        x = self.norms[0](x) if self.norms else x
        x = x + projection(x).relu()
        return self.norms[1](x) if len(self.norms) > 1 else x


@dataclass(frozen=True)
class Beside:
    """A map of output and query side by side, in either order, bent by tanh or not."""

    map: Affine
    query_first: bool
    bent: bool
    of_inputs = True

    def __call__(self, outputs: Tensor, queries: Tensor, projection: Callable[[Tensor], Tensor]) -> Tensor:
        x = self.map(torch.cat([queries, outputs] if self.query_first else [outputs, queries], dim=-1))
        return x.tanh() if self.bent else x


def _beside(invocation: Invocation, module: nn.Module) -> Iterator[Invocation]:
    """The invocation with such a map, of a module of its own that no projection is."""
    p = invocation.projections
    if p is None or p.out is not None or not p.bilinear:
        return
    both = p.value.weight.shape[1] + invocation.widths[0]
    for owner in owners_of(module):
        if owner.weight.ndim == 2 and owner.weight.shape[0] == both and not owner.raw:
            made = Affine(owner.weight, owner.bias)
            for query_first, bent in product((False, True), (True, False)):
                yield replace(invocation, finish=Beside(made, query_first, bent))


def finishes(invocation: Invocation) -> Iterator[Invocation]:
    """The invocation with that block, where its widths allow it."""
    p, module = invocation.projections, invocation.fn
    if p is None or not isinstance(module, nn.Module) or p.merged != "joined":
        return
    yield from _beside(invocation, module)
    width = p.value.weight.shape[1] * p.heads // p.kv_heads
    if p.query.weight.shape[1] != width:
        return
    norms = tuple(part for part in module.modules() if isinstance(part, nn.LayerNorm))[:2]
    if p.out is not None and p.out.weight.shape[1] == width:
        yield from (replace(invocation, finish=AfterQueries(own)) for own in dict.fromkeys([(), norms]))
