"""From the layer that took the heads' output to a W_O that may be claimed.

Of a plain linear layer W_O is its parameter. Of any other one (an adapter around it, quantised or offloaded weights, hooks
of other people) what counts is what it does: as long as that is linear, W_O is what it makes of unit vectors. Whether the
heads' writes add up to what the layer returned is tried on the captured numbers; where they do not, W_O is not claimed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.attention.precision import autocast_off
from attnscope.capturing.listen.hooks import has_hooks
from attnscope.capturing.read.output_projection import Took
from attnscope.tracing.modules import is_matrix, modules_of
from attnscope.tracing.output_projection import Projection, versions
from attnscope.tracing.receipts import tolerance_of

AMONG_DEVICES = "it is a part of a model that is spread over several processes"
SEVERAL = "several layers take the heads' output"
NOT_LINEAR = "what the layer returned is not the sum of what its heads write"
_LOUDER = 16.0  # a power of two as well
PROBE_OF_BIASED = 256.0  # a power of two: numbers in 16 bits lose what is small beside the bias


class ProbedProjection(Projection):
    """W_O of a layer that is linear and no plain nn.Linear: what it makes of unit vectors, found when it is needed."""

    def __init__(self, module: nn.Module, width: int, written: int, dtype: torch.dtype, device: torch.device) -> None:
        """`module`: takes [R, width] in `dtype` on `device` and returns [R, written]."""
        for name, value in (("module", module), ("width", width), ("written", written), ("given", (dtype, device))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "transposed", False)

    module: nn.Module
    width: int
    written: int
    given: tuple[torch.dtype, torch.device]

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def nbytes(self) -> int:
        return self.width * self.written * 4

    @property
    def state(self) -> Any:
        return versions([*self.module.parameters(), *self.module.buffers()])

    @property
    def parameter(self) -> Tensor:  # type: ignore[override]
        """[heads · Dv, M], fp32."""
        return self._matrix()[0]

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        return self._matrix()[1]

    def by_head(self, z: Float[Tensor, "H R Dv"]) -> tuple[Float[Tensor, "H R M"], Float[Tensor, " M"]]:
        """What each head writes, asked of the layer itself, and b_O."""
        heads, rows, size = z.shape
        alone = z.new_zeros(heads, rows, heads, size)
        for head in range(heads):
            alone[head, :, head] = z[head]
        made = self._run(torch.cat([alone.reshape(-1, heads * size), alone.new_zeros(1, heads * size)]))
        return (made[:-1] - made[-1]).unflatten(0, (heads, rows)), made[-1]

    def unlike_alone(self, z: Float[Tensor, "H R Dv"], parts: Float[Tensor, "H R M"], offset: Tensor) -> float:
        """How far the write of the quietest head is from what the layer makes of it alone, and louder. A layer that rounds what it is
        given by the largest number there (dynamic quantisation) is not linear, and yet adds up where all are given together."""
        head = int(z.abs().amax((1, 2)).argmin())
        alone = z.new_zeros(z.shape[1], len(z), z.shape[2])
        alone[:, head] = z[head] * _LOUDER
        again = (self._run(alone.flatten(1)) - offset) / _LOUDER
        return float((again - parts[head]).abs().max())

    def _matrix(self) -> tuple[Tensor, Tensor | None]:
        state = self.state
        known = self.__dict__.get("_known")
        if known is None or known[0] != state:
            bias = self._run(torch.zeros(1, self.width))[0]
            size = PROBE_OF_BIASED if bool(bias.any()) else 1.0
            weight = (self._run(torch.eye(self.width) * size) - bias) / size
            known = state, weight, bias if bool(bias.any()) else None
            object.__setattr__(self, "_known", known)
        return known[1], known[2]

    @torch.no_grad()
    def _run(self, x: Tensor) -> Tensor:
        """The layer's own forward, without the hooks of other people, in eval mode; fp32."""
        dtype, device = self.given
        training = [part for part in modules_of(self.module) if part.training]
        for part in training:
            part.training = False
        try:
            with autocast_off():
                return self.module.forward(x[None].to(device, dtype))[0].float()
        finally:
            for part in training:
                part.training = True


def projection_of(took: Took, sample: Callable[[], tuple[Tensor, Tensor] | None]) -> tuple[Projection | None, str]:
    """W_O, or None and why it is not claimed. `sample`: z, [H, R, Dv], and what was made of it, [R, M], where known."""
    module = took.module
    if took.projection is not None:
        return (took.projection, "") if is_matrix(took.projection.parameter) else (None, NOT_LINEAR)
    if module is None:
        return None, SEVERAL
    if is_plain(module):
        return _of_linear(module), ""
    if (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    ):
        return None, AMONG_DEVICES  # to ask one part alone would wait for the others
    known = sample()
    if known is None or not len(known[1]):
        return None, NOT_LINEAR
    z, written = known
    unlike = 0.0
    try:
        if is_plain(module, hooks=False):
            projection = _of_linear(module)
            made = projection.total(z)
        else:
            dtype, device = _wanted(module, took.dtype), z.device
            projection = ProbedProjection(module, z.shape[0] * z.shape[2], written.shape[-1], dtype, device)
            parts, offset = projection.by_head(z)
            made, unlike = parts.sum(0) + offset, projection.unlike_alone(z, parts, offset)
    except Exception:
        return None, NOT_LINEAR
    wanted = written.float()
    error = max(float((made.to(wanted.device) - wanted).abs().max()), unlike) / max(float(wanted.abs().max()), 1e-30)
    return (projection, "") if error <= tolerance_of(took.dtype, written.dtype) else (None, NOT_LINEAR)


def is_plain(module: nn.Module, hooks: bool = True) -> bool:
    """Whether a layer does nothing but x · W + b with the parameters that it holds. `hooks`: those of others count too."""
    forward = type(module).forward
    kind = forward is nn.Linear.forward or type(module).__name__ == "Conv1D"
    if not kind or "forward" in vars(module) or (hooks and has_hooks(module)):
        return False
    bias = module._parameters.get("bias")
    return is_matrix(module._parameters.get("weight")) and (bias is None or is_matrix(bias))


def _of_linear(module: Any) -> Projection:
    return Projection(module.weight, module.bias, isinstance(module, nn.Linear))


def _wanted(module: nn.Module, given: torch.dtype) -> torch.dtype:
    """What to ask the layer in: its parameters' dtype where that is wider (autocast narrows what it is given)."""
    floats: Sequence[Tensor] = [p for p in module.parameters() if p.is_floating_point()]
    first = floats[0].dtype if floats else given
    return first if torch.finfo(first).eps < torch.finfo(given).eps else given
