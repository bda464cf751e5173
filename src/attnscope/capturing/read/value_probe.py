"""Weights found by asking the module: what comes out when the values are positions.

Given its queries and keys, attention is linear in its values: z = weights · v, however the module computes it (in a band, in
sorted chunks, in blocks, in a function that no mode sees). So a copy of the module without hooks runs again on the same
inputs, and the layer that makes v returns zeros and a one: row j of head h is the d-th unit vector. What comes out for query i is the weight
of key j, at their true places. Nothing is believed: the weights times the model's own v must give its own z, and be shares. Where they
are also the softmax of two layers' products, at the places that they do not leave out, those are q and k.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.capturing.listen.axes import heads_named_by
from attnscope.tracing.modules import is_linear

MOST_RUNS = 96  # of the module, one for as many keys as a head has numbers
_CLOSE = 1e-4  # of the largest number
_PLAIN = (bool, int, float, str, Tensor, type(None))


@dataclass(frozen=True)
class Probed:
    """The weights of one run, and z; q, k and v where they were found: [B, H, T, D] each. `scaling`: of q · k."""

    weights: Float[Tensor, "B H Q K"]
    v: Float[Tensor, "B H K D"]
    z: Float[Tensor, "B H Q D"]
    q: Tensor | None = None
    k: Tensor | None = None
    scaling: float = 1.0


class _Layer(nn.Module):
    """A linear layer, with what it took and gave. `instead`: what it gives in the place of its own output."""

    def __init__(self, inner: nn.Module, order: list["_Layer"]) -> None:
        super().__init__()
        self.inner, self.order, self.runs = inner, order, 0
        self.taken: Tensor | None = None
        self.given: Tensor | None = None
        self.instead: Tensor | None = None

    def __getattr__(self, name: str) -> Any:  # a module may read the weight of its layer
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        self.taken, self.runs = x, self.runs + 1
        given = self.inner(x, *more)
        self.order.append(self)
        self.given = given if self.instead is None else self.instead.to(given.dtype)
        return self.given


def repeatable(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a second run would change nothing: no training, no cache, no forward that something else has replaced."""
    plain = all(_plain(value) for value in (*args, *kwargs.values()))
    return plain and not module.training and not any("forward" in vars(part) for part in module.modules())


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_plain, value))
    return isinstance(value, _PLAIN)


def copied(value: Any) -> Any:
    """Arguments as they are now: the module may change them in their place."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(copied, value))
    return value.detach().clone() if isinstance(value, Tensor) else value


@torch.no_grad()
def probe(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any, random: Tensor
) -> Probed | None:
    """The weights of one run of `module`; None where its values, or weights that are shares, are not found. `output`: what
    it returned; `random`: the state of torch's generator before it ran."""
    asked = _Asked(module, args, kwargs, random)
    with torch._C.DisableTorchFunction(), torch.random.fork_rng(devices=[]):
        first = asked.run()
        if first is None or (own := _first_tensor(output)) is None or not _same(first, own):
            return None
        for layer in [*asked.order]:
            if layer.runs == 1 and (values := _Values.of(layer, asked)) is not None:
                if (found := values.weights(asked)) is not None:
                    return found
    return None


class _Asked:
    """A copy of the module without hooks, which shares its parameters."""

    def __init__(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], random: Tensor) -> None:
        self.order: list[_Layer] = []
        self._args, self._kwargs, self._random = args, kwargs, random
        self.heads = heads_named_by(module)
        self.hidden = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.ndim == 3), None)
        self._module = _bare(module, self.order)

    def run(self, layer: "_Layer | None" = None, instead: Tensor | None = None) -> Tensor | None:
        """The module's output; with `instead` in the place of a layer's."""
        self.order.clear()
        for one in self._module.modules():
            if isinstance(one, _Layer):
                one.runs, one.instead = 0, instead if one is layer else None
        torch.random.set_rng_state(self._random)
        args, kwargs = copied(tuple(self._args)), {name: copied(x) for name, x in self._kwargs.items()}
        return _first_tensor(self._module.forward(*args, **kwargs))


def _bare(module: nn.Module, order: list[_Layer]) -> nn.Module:
    plain = copy.copy(module)
    plain.__dict__ = dict(module.__dict__)
    for name, value in module.__dict__.items():
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")) and isinstance(value, dict):
            plain.__dict__[name] = type(value)()
    plain.__dict__["_modules"] = {
        name: None if child is None else _bare(child, order) for name, child in module._modules.items()
    }
    return _Layer(plain, order) if is_linear(module) else plain


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    a, b = a.float(), b.float()
    return bool((a - b).abs().max() <= _CLOSE * b.abs().max().clamp_min(1e-6)) if a.numel() else False


# --- the layer of the values ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Values:
    """`layer`: its output is v, [B, T, W], or [T, B, W] where `turned`. `out`: the layer that takes z; None: z is the output."""

    layer: _Layer
    given: Tensor
    turned: bool
    out: _Layer | None
    z: Tensor
    heads: int
    others: tuple[Tensor, ...]  # what layers before z gave, in the same axes

    @staticmethod
    def of(layer: _Layer, asked: _Asked) -> "_Values | None":
        """The layer as the one of the values, if doubling what it gives doubles z."""
        asked.run()
        given, taken, hidden = layer.given, layer.taken, asked.hidden
        if given is None or taken is None or hidden is None or given.ndim != 3 or taken.shape[:2] != given.shape[:2]:
            return None
        width, heads = given.shape[-1], asked.heads or 1
        batch, length = hidden.shape[:2]
        if width % heads or given.shape[:2] not in ((batch, length), (length, batch)):
            return None
        turned = given.shape[:2] != (batch, length) or (batch == length and not _same(taken, hidden))
        others = tuple(
            one.given for one in asked.order if one.given is not None and one.given.shape == given.shape and one is not layer
        )
        after = [one for one in asked.order[asked.order.index(layer) + 1 :] if one.runs == 1]
        # The last layer that takes something as wide as the values is the output's, if it takes z.
        wide = [one for one in after if one.taken is not None and one.taken.shape[-1] == width and not _same(one.taken, taken)]
        for out in (*reversed(wide), None):
            z = asked.run() if out is None else _run_to(out, asked)
            twice = _run_to(out, asked, layer, given * 2)
            none = _run_to(out, asked, layer, given * 0)
            if z is None or twice is None or none is None or not bool(z.any()):
                continue
            if _same(twice, z * 2) and bool(none.abs().max() <= _CLOSE * z.abs().max()):
                others = tuple(other for other in others if other is not (None if out is None else out.given))
                return _Values(layer, given, turned, out, z, heads, others)
        return None

    def in_axes(self, x: Tensor) -> Tensor | None:
        """A layer's output, or z, as [B, H, T, D]."""
        batch = self.given.shape[1 if self.turned else 0]
        if x.ndim == 4 and x.shape[-2] == self.heads:
            x = x.flatten(-2)
        if x.ndim != 3 or x.shape[-1] != self.given.shape[-1]:
            return None
        # z may be turned back already
        if self.turned and x.shape[1] == batch and x.shape[0] == self.given.shape[0] and x.shape[0] != batch:
            x = x.transpose(0, 1)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2) if x.shape[0] == batch else None

    def weights(self, asked: _Asked) -> Probed | None:
        v, z = self.in_axes(self.given), self.in_axes(self.z)
        if v is None or z is None:
            return None
        batch, heads, keys, size = v.shape
        if keys > MOST_RUNS * size:
            return None
        found = torch.empty(batch, heads, z.shape[2], keys, device=v.device)
        for first in range(0, keys, size):
            many = min(size, keys - first)
            coded = torch.zeros_like(v)
            places = torch.arange(many, device=v.device)
            coded[:, :, first + places, places] = 1
            given = coded.transpose(1, 2).flatten(-2)
            came = _run_to(self.out, asked, self.layer, (given.transpose(0, 1) if self.turned else given).contiguous())
            came = None if came is None else self.in_axes(came)
            if came is None or came.shape != z.shape:
                return None
            found[..., first : first + many] = came[..., :many].float()
        if not _are_shares(found) or not _same(found @ v.float(), z.float()):
            return None
        found = found.clamp_min(0)
        q, k, scaling = self._vectors(found)
        return Probed(found, v, z, q, k, scaling)

    def _vectors(self, weights: Tensor) -> tuple[Tensor | None, Tensor | None, float]:
        """q, k and the scaling of two of the other layers that give these weights, where they are not 0."""
        sides = [side for other in self.others if (side := self.in_axes(other)) is not None]
        seen = weights > 0
        if 2 * int((seen.sum(-1) > 1).sum()) <= int(seen.any(-1).sum()):
            return None, None, 1.0  # any q and k give the weights of a query that sees one key
        for q in sides:
            for k in sides:
                for scaling in (q.shape[-1] ** -0.5, 1.0):
                    scores = (q.float() @ k.float().mT * scaling).masked_fill(~seen, -torch.inf)
                    if _same(scores.softmax(-1).nan_to_num(0), weights):
                        return q, k, scaling
        return None, None, 1.0


def _are_shares(weights: Tensor) -> bool:
    """Whether these are numbers from 0 whose rows add up to 1 (or to 0, of a query without a key), and some query sees more than
    itself: of the last layer of a module the output is its own, which is no attention."""
    total = weights.sum(-1)
    shares = bool(((total - 1).abs() < 1e-3).logical_or(total.abs() < 1e-6).all()) and bool(weights.min() >= -_CLOSE)
    return shares and bool((weights.amax(-1) < 0.999).logical_and(total > 0.5).any())


def _run_to(
    out: _Layer | None, asked: _Asked, layer: _Layer | None = None, instead: Tensor | None = None
) -> Tensor | None:
    """z of a run: what the layer of the output took, or else what the module returned."""
    came = asked.run(layer, instead)
    return came if out is None else out.taken
