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
from attnscope.capturing.listen.detect import makes_shares
from attnscope.tracing.modules import is_linear

MOST_RUNS = 96  # of the module, one for as many keys as a head has numbers
MOST_NUMBERS = 2**24  # weights of one run, over all heads: 64 MB
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
        given = given if self.instead is None else self.instead.to(given.dtype)
        self.given = given
        return given


def repeatable(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a second run would change nothing: no training, arguments that can be copied, no forward that something else has
    replaced. A cache is copied only for modules whose softmax nobody sees: for others it would cost much for nothing."""
    if not makes_shares(module) and any(hasattr(value, "update") for value in (*args, *kwargs.values())):
        return False
    plain = all(_plain(value) for value in (*args, *kwargs.values()))
    return plain and not module.training and not any("forward" in vars(part) for part in module.modules())


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_plain, value))
    return isinstance(value, _PLAIN) or hasattr(value, "update")  # a cache


def copied(value: Any) -> Any:
    """Arguments as they are now: the module may change them in their place."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(copied, value))
    if isinstance(value, Tensor):
        return value.detach().clone()
    return value if isinstance(value, _PLAIN) else copy.deepcopy(value)


@torch.no_grad()
def probe(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any, random: Tensor
) -> Probed | None:
    """The weights of one run of `module`; None where its values, or weights that are shares, are not found. `output`: what
    it returned; `random`: the state of torch's generator before it ran."""
    asked = _Asked(module, args, kwargs, random)
    with torch._C.DisableTorchFunction(), torch.random.fork_rng(devices=[]):
        first = asked.run()
        if first is None or asked.hidden is None or (own := _first_tensor(output)) is None or not _same(first, own):
            return None
        once = [layer for layer in asked.order if layer.runs == 1 and layer.given is not None and layer.given.ndim == 3]
        # The last layer takes z, or z is what comes out.
        for out in (*reversed(once), None):
            values = _Values.of(once, out, asked)
            if values is not None and (found := values.weights(asked)) is not None:
                return found
    return None


class _Asked:
    """A copy of the module without hooks, which shares its parameters."""

    def __init__(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], random: Tensor) -> None:
        self.order: list[_Layer] = []
        self._args, self._kwargs, self._random = args, kwargs, random
        self.heads = heads_named_by(module) or 1
        self.hidden = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.ndim == 3), None)
        self._module = _bare(module, self.order)

    def run(self, instead: Mapping["_Layer", Tensor] | None = None, to: "_Layer | None" = None) -> Tensor | None:
        """The module's output, or what the layer `to` took; with `instead` in the place of what layers give."""
        self.order.clear()
        for one in self._module.modules():
            if isinstance(one, _Layer):
                one.runs, one.instead = 0, (instead or {}).get(one)
        torch.random.set_rng_state(self._random)
        args, kwargs = copied(tuple(self._args)), {name: copied(x) for name, x in self._kwargs.items()}
        came = _first_tensor(self._module.forward(*args, **kwargs))
        return came if to is None else to.taken


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


# --- the layers of the values -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Values:
    """`layers`: their outputs, `given`, are v, [B, T, W], or [T, B, W] where `turned`; several where some queries have values of
    their own (global ones). `out`: the layer that takes z; None: z is the output. `others`: what the other layers of that shape give."""

    layers: tuple[_Layer, ...]
    given: tuple[Tensor, ...]
    turned: bool
    out: _Layer | None
    z: Tensor
    heads: int
    others: tuple[Tensor, ...]

    @staticmethod
    def of(once: Sequence[_Layer], out: _Layer | None, asked: _Asked) -> "_Values | None":
        """The layers in whose outputs z is linear, if together they make all of it."""
        z = asked.run(to=out)
        before = once if out is None else once[: once.index(out)]
        given = {layer: layer.given for layer in before if layer.given is not None}
        taken = {layer: layer.taken for layer in before}
        if z is None or not bool(z.any()):
            return None
        layers = [layer for layer, own in given.items() if not _same(own, z) and _linear(layer, own, out, z, asked)]
        if not layers:
            return None
        shape = given[layers[0]].shape
        layers = [layer for layer in layers if given[layer].shape == shape]
        twice = asked.run({layer: given[layer] * 2 for layer in layers}, out)
        none = asked.run({layer: given[layer] * 0 for layer in layers}, out)
        if twice is None or none is None or not _same(twice, z * 2) or bool(none.abs().max() > _CLOSE * z.abs().max()):
            return None
        hidden = asked.hidden
        assert hidden is not None
        batch, length = hidden.shape[:2]
        if shape[-1] % asked.heads or shape[:2] not in ((batch, length), (length, batch)):
            return None
        first = taken[layers[0]]
        turned = shape[:2] != (batch, length) or (batch == length and first is not None and not _same(first, hidden))
        others = tuple(own for layer, own in given.items() if own.shape == shape and layer not in layers)
        return _Values(tuple(layers), tuple(given[one] for one in layers), turned, out, z, asked.heads, others)

    def in_axes(self, x: Tensor) -> Tensor | None:
        """What a layer gave, or z, as [B, H, T, D]."""
        length, batch = self.given[0].shape[:2] if self.turned else self.given[0].shape[1::-1]
        if x.ndim == 4 and x.shape[-2] == self.heads:
            x = x.flatten(-2)
        if x.ndim != 3 or x.shape[-1] != self.given[0].shape[-1]:
            return None
        if self.turned and x.shape[:2] == (length, batch) and (x is not self.z or length != batch):
            x = x.transpose(0, 1)  # z may be turned back already
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2) if x.shape[0] == batch else None

    def weights(self, asked: _Asked) -> Probed | None:
        """The weights of every query, where they are shares and make z of v."""
        z, values = self.in_axes(self.z), [self.in_axes(given) for given in self.given]
        if z is None or values[0] is None:
            return None
        batch, heads, keys, size = values[0].shape
        if keys > MOST_RUNS * size or batch * heads * z.shape[2] * keys > MOST_NUMBERS:
            return None  # too long a text to hold every weight of it
        parts = [self._weights_on(number, z, asked) for number in range(len(self.layers))]
        found, made = torch.zeros(()), torch.zeros(())
        for part, v in zip(parts, values, strict=True):
            if part is None or v is None:
                return None
            found, made = found + part, made + part @ v.float()
        if not _are_shares(found) or not _same(made, z.float()):
            return None
        found = found.clamp_min(0)
        q, k, scaling = self._vectors(found) if len(parts) == 1 else (None, None, 1.0)
        return Probed(found, values[0], z, q, k, scaling)

    def _weights_on(self, number: int, z: Tensor, asked: _Asked) -> Tensor | None:
        """How much of each key's value comes out at each query, of one of the layers, [B, H, Q, K]."""
        v = self.in_axes(self.given[number])
        assert v is not None
        batch, heads, keys, size = v.shape
        found = torch.zeros(batch, heads, z.shape[2], keys, device=v.device)
        instead = {layer: torch.zeros_like(given) for layer, given in zip(self.layers, self.given, strict=True)}
        for first in range(0, keys, size):
            many = min(size, keys - first)
            coded = torch.zeros_like(v)
            places = torch.arange(many, device=v.device)
            coded[:, :, first + places, places] = 1
            given = coded.transpose(1, 2).flatten(-2)
            instead[self.layers[number]] = (given.transpose(0, 1) if self.turned else given).contiguous()
            came = asked.run(instead, self.out)
            came = None if came is None else self.in_axes(came)
            if came is None or came.shape != z.shape:
                return None
            found[..., first : first + many] = came[..., :many].float()
        return found

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


def _linear(layer: _Layer, own: Tensor, out: _Layer | None, z: Tensor, asked: _Asked) -> bool:
    """Whether z is linear in what this layer gives, and depends on it."""
    twice, none = asked.run({layer: own * 2}, out), asked.run({layer: own * 0}, out)
    if twice is None or none is None or twice.shape != z.shape:
        return False
    change = z - none
    return bool(change.any()) and _same(twice - none, 2 * change)


def _are_shares(weights: Tensor) -> bool:
    """Whether these are numbers from 0 whose rows add up to 1 (or to 0, of a query without a key), and some query sees more than
    itself: of the last layer of a module the output is its own, which is no attention."""
    total = weights.sum(-1)
    shares = bool(((total - 1).abs() < 1e-3).logical_or(total.abs() < 1e-6).all()) and bool(weights.min() >= -_CLOSE)
    return shares and bool((weights.amax(-1) < 0.999).logical_and(total > 0.5).any())
