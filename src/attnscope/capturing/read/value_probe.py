"""Weights found by asking the module: what comes out when the values are positions.

Given its queries and keys, attention is linear in its values: z = weights · v, however the module computes it (in a band, in
sorted chunks, in blocks, in a function that no mode sees). So a copy of the module without hooks runs again on the same
inputs, and the layer that makes v returns zeros and a one: row j of head h is the d-th unit vector. What comes out for query i is the weight
of key j, at their true places. Nothing is believed: the weights times the model's own v must give its own z, and be shares. Where they
are also the softmax of two layers' products, at the places that they do not leave out, those are q and k. A key may count
several times in that softmax (BigBird's random blocks, in eval mode, are all the first one): the bias of one that counts n times is log n.

A layer of values may run twice: for the tokens, and for what the module makes of them (LongT5's global tokens, one for a
block). The latter are keys behind those of the tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.capturing.read.asked_again import Asked, Run, first_tensor

MOST_RUNS = 96  # of the module, one for as many keys as a head has numbers
MOST_NUMBERS = 2**24  # weights of one run, over all heads: 64 MB
_CLOSE = 1e-4  # of the largest number
_MOST_TIMES = 64  # that a key counts in one softmax


@dataclass(frozen=True)
class Probed:
    """The weights of one run, and z; v of the tokens, q and k where they were found: [B, H, T, D] each. `scaling`: of q · k.
    `bias`: added to it. `beside`: how many of the keys stand behind those of the tokens."""

    weights: Float[Tensor, "B H Q K"]
    v: Float[Tensor, "B H T D"]
    z: Float[Tensor, "B H Q D"]
    q: Tensor | None = None
    k: Tensor | None = None
    scaling: float = 1.0
    bias: Float[Tensor, "B Hb Q K"] | None = None
    beside: int = 0


class TooLong(Exception):
    """A module that could be asked, on a text too long to hold every weight of it."""


@torch.no_grad()
def probe(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any, random: Tensor
) -> Probed | None:
    """The weights of one run of `module`; None where its values, or weights that are shares, are not found. `output`: what
    it returned; `random`: the state of torch's generator before it ran. Raises TooLong where every weight would be too many."""
    asked = Asked(module, args, kwargs, random)
    with torch._C.DisableTorchFunction(), torch.random.fork_rng(devices=[]):
        first = asked.run()
        if first is None or asked.hidden is None or (own := first_tensor(output)) is None or not _same(first, own):
            return None
        runs = [run for run in asked.order if run.given.ndim == 3]
        # The last layer takes z, or z is what comes out.
        for out in (*reversed(runs), None):
            values = _Values.of(runs, out, asked)
            if values is not None and (found := values.weights(asked)) is not None:
                return found
    return None


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    a, b = a.float(), b.float()
    return bool((a - b).abs().max() <= _CLOSE * b.abs().max().clamp_min(1e-6)) if a.numel() else False


# --- the layers of the values -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Values:
    """`runs`: the outputs of these are v, [B, T, W], or [T, B, W] where `turned`; several where some queries have values of
    their own (global ones), or where the last of them stand for keys behind those of the tokens. `out`: the one that takes z; None: z
    is the output. `others`: what the other layers of that width give."""

    runs: tuple[Run, ...]
    turned: bool
    out: Run | None
    z: Tensor
    heads: int
    others: tuple[Tensor, ...]

    @staticmethod
    def of(runs: Sequence[Run], out: Run | None, asked: Asked) -> "_Values | None":
        """The layers in whose outputs z is linear, if together they make all of it."""
        z = asked.run(to=out)
        before = runs if out is None else runs[: runs.index(out)]
        if z is None or not bool(z.any()):
            return None
        linear = [run for run in before if not _same(run.given, z) and _linear(run, out, z, asked)]
        hidden = asked.hidden
        assert hidden is not None
        batch, length = hidden.shape[:2]
        tokens = [run for run in linear if run.given.shape[:2] in ((batch, length), (length, batch))]
        tokens = [run for run in tokens if run.given.shape == tokens[0].given.shape]
        if not tokens or (width := tokens[0].given.shape[-1]) % asked.heads:
            return None
        first = tokens[0]
        turned = first.given.shape[:2] != (batch, length) or (batch == length and not _same(first.taken, hidden))
        beside = [run for run in linear if run not in tokens and run.given.shape[::2] == (batch, width) and not turned]
        chosen = (*tokens, *beside)
        twice = asked.run({run: run.given * 2 for run in chosen}, out)
        none = asked.run({run: run.given * 0 for run in chosen}, out)
        if twice is None or none is None or not _same(twice, z * 2) or bool(none.abs().max() > _CLOSE * z.abs().max()):
            return None
        others = (run for run in before if run not in chosen and run.given.shape == first.given.shape)
        return _Values(chosen, turned, out, z, asked.heads, tuple(run.given for run in others))

    def in_axes(self, x: Tensor) -> Tensor | None:
        """What a layer gave, or z, as [B, H, T, D]."""
        own = self.runs[0].given
        length, batch = own.shape[:2] if self.turned else own.shape[1::-1]
        if x.ndim == 4 and x.shape[-2] == self.heads:
            x = x.flatten(-2)
        if x.ndim != 3 or x.shape[-1] != own.shape[-1]:
            return None
        if self.turned and x.shape[:2] == (length, batch) and (x is not self.z or length != batch):
            x = x.transpose(0, 1)  # z may be turned back already
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2) if x.shape[0] == batch else None

    def weights(self, asked: Asked) -> Probed | None:
        """The weights of every query, where they are shares and make z of v."""
        z, values = self.in_axes(self.z), [self.in_axes(run.given) for run in self.runs]
        if z is None or values[0] is None:
            return None
        batch, heads, length, size = values[0].shape
        keys = sum(v.shape[2] for v in values if v is not None and v.shape[2] != length) + length
        if keys > MOST_RUNS * size or batch * heads * z.shape[2] * keys > MOST_NUMBERS:
            raise TooLong
        found, made = torch.zeros(()), torch.zeros(())
        behind = []
        for run, v in zip(self.runs, values, strict=True):
            part = None if v is None else self._weights_on(run, v, z, asked)
            if part is None or v is None:
                return None
            made = made + part @ v.float()
            if v.shape[2] == length:
                found = found + part
            else:
                behind.append(part)
        found = torch.cat([found, *behind], -1)
        if not _are_shares(found) or not _same(made, z.float()):
            return None
        found = found.clamp_min(0)
        q, k, scaling, bias = self._vectors(found) if len(values) == 1 else (None, None, 1.0, None)
        return Probed(found, values[0], z, q, k, scaling, bias, keys - length)

    def _weights_on(self, run: Run, v: Tensor, z: Tensor, asked: Asked) -> Tensor | None:
        """How much of each key's value comes out at each query, of one of the runs, [B, H, Q, K]."""
        batch, heads, keys, size = v.shape
        found = torch.zeros(batch, heads, z.shape[2], keys, device=v.device)
        instead = {other: torch.zeros_like(other.given) for other in self.runs}
        for first in range(0, keys, size):
            many = min(size, keys - first)
            coded = torch.zeros_like(v)
            places = torch.arange(many, device=v.device)
            coded[:, :, first + places, places] = 1
            given = coded.transpose(1, 2).flatten(-2)
            instead[run] = (given.transpose(0, 1) if self.turned else given).contiguous()
            came = asked.run(instead, self.out)
            came = None if came is None else self.in_axes(came)
            if came is None or came.shape != z.shape:
                return None
            found[..., first : first + many] = came[..., :many].float()
        return found

    def _vectors(self, weights: Tensor) -> tuple[Tensor | None, Tensor | None, float, Tensor | None]:
        """q, k, the scaling and the bias of two of the other layers that give these weights, where they are not 0."""
        sides = [side for other in self.others if (side := self.in_axes(other)) is not None]
        seen = weights > 0
        if 2 * int((seen.sum(-1) > 1).sum()) <= int(seen.any(-1).sum()):
            return None, None, 1.0, None  # any q and k give the weights of a query that sees one key
        for q in sides:
            for k in sides:
                for scaling in (q.shape[-1] ** -0.5, 1.0):
                    scores = (q.float() @ k.float().mT * scaling).masked_fill(~seen, -torch.inf)
                    if _same(scores.softmax(-1).nan_to_num(0), weights):
                        return q, k, scaling, None
                    if (bias := _counted(scores, weights)) is not None:
                        return q, k, scaling, bias
        return None, None, 1.0, None


def _counted(scores: Tensor, weights: Tensor) -> Tensor | None:
    """log n, where each key counts n times in the softmax of these scores, [B, 1, Q, K]; None where that does not give the weights."""
    seen = weights > 0
    times = (weights.log() - scores).masked_fill(~seen, torch.inf)  # log n, and one number more for each query and head
    times = (times - times.amin(-1, keepdim=True)).exp().masked_fill(~seen, 1).nan_to_num(1)
    whole = times[:, :1].round()
    if bool(whole.max() > _MOST_TIMES) or bool(((times - whole).abs() > 0.01 * whole).any()):
        return None
    bias = whole.log()
    return bias if _same((scores + bias).softmax(-1).nan_to_num(0), weights) else None


def _linear(run: Run, out: Run | None, z: Tensor, asked: Asked) -> bool:
    """Whether z is linear in what this run gave, and depends on it."""
    twice, none = asked.run({run: run.given * 2}, out), asked.run({run: run.given * 0}, out)
    if twice is None or none is None or twice.shape != z.shape:
        return False
    change = z - none
    return bool(change.any()) and _same(twice - none, 2 * change)


def _are_shares(weights: Tensor) -> bool:
    """Whether these are numbers from 0 whose rows add up to 1, and some query sees more than itself: of the last layer of a module the
    output is its own, which is no attention. Less than 1 is for padding: it sees no key, or (LongT5) what fills up a block."""
    total = weights.sum(-1)
    whole = ((total - 1).abs() < 1e-3).flatten(1).any(1)
    shares = bool(weights.min() >= -_CLOSE) and bool(total.max() < 1.001) and bool(whole.all())
    return shares and bool((weights.amax(-1) < 0.999).logical_and(total > 0.5).any())
