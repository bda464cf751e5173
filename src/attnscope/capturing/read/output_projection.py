"""Finds W_O by data: the first linear layer whose input is a site's output, the same storage or a copy of it.

No table of names: BERT keeps its W_O outside the attention module, others call it o_proj, out_proj, c_proj, dense …
A gate or a norm between attention and the linear layer makes a new tensor, and then there rightly is no W_O.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.tracing.output_projection import Projection

_Found = Callable[[Projection], None]


class ProjectionFinder:
    """Watches the `linear` layers of a model while a capture is open."""

    def __init__(self, linear: Iterable[nn.Module]) -> None:
        self._waiting = threading.local()
        self._handles = [module.register_forward_pre_hook(self._before_linear) for module in linear]

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def expect(self, output: Tensor, found: _Found) -> None:
        """Call `found` with the projection that takes `output` [B, Q, H, Dv] next in this thread. Holding `output`
        keeps its storage from being given to another tensor meanwhile; only the latest call waits."""
        self._waiting.entry = (output, found)

    def forget(self) -> None:
        self._waiting.entry = None

    def _before_linear(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        entry = getattr(self._waiting, "entry", None)
        if entry is None or not inputs or not isinstance(inputs[0], Tensor):
            return
        output, found = entry
        if not _same(inputs[0], output):
            return
        self._waiting.entry = None
        transposed = isinstance(module, nn.Linear)
        weight: Any = module.weight
        if weight.is_meta:  # its numbers lie elsewhere, and are here only while it runs (accelerate)
            return
        if weight.shape[1 if transposed else 0] == output.shape[-1] * output.shape[-2]:
            found(Projection(weight, getattr(module, "bias", None), transposed))


def _same(x: Tensor, output: Tensor) -> bool:
    """Whether `x` is the `output`: by its storage, or by its values where heads were joined into a copy (GPT-2,
    eager).
    """
    if x.untyped_storage().data_ptr() == output.untyped_storage().data_ptr():
        return True
    return (
        x.shape[-1] == output.shape[-1] * output.shape[-2]
        and x.numel() == output.numel()
        and torch.equal(x.reshape(output.shape), output)
    )
