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
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.capturing.read.asked_again import Asked, Run, first_tensor
from attnscope.tracing.modules import is_matrix
from attnscope.tracing.output_projection import Projection

MOST_RUNS = 96  # of the module, one for as many keys as a head has numbers
MOST_NUMBERS = 2**24  # weights of one run, over all heads: 64 MB
_CLOSE = 1e-4  # of the largest number
_MOST_TIMES = 64  # that a key counts in one softmax


@dataclass(frozen=True)
class Probed:
    """The weights of one run, and z; v, and q and k where they were found: [B, H, Q or K, D] each. `scaling`: of q · k.
    `bias`: added to it. `beside`: how many of the keys stand behind those of the tokens. `projection`: W_O, where the module returns
    what that makes of z, `written`."""

    weights: Float[Tensor, "B H Q K"]
    v: Float[Tensor, "B H K D"]
    z: Float[Tensor, "B H Q D"]
    q: Tensor | None = None
    k: Tensor | None = None
    scaling: float = 1.0
    bias: Float[Tensor, "B Hb Q K"] | None = None
    beside: int = 0
    projection: Projection | None = None
    written: Float[Tensor, "B Q M"] | None = None

    def written_by(self, out: Run) -> "Probed":
        """The same with W_O, where the layer that took z is a plain one."""
        layer = out.layer.inner
        if type(layer) is not nn.Linear or not is_matrix(layer.weight) or out.given.shape[:2] != self.z.shape[::2]:
            return self
        return replace(self, projection=Projection(layer.weight, layer.bias), written=out.given)

    def without(self, blank: int) -> "Probed":
        """The same without so many positions at the beginning of the tokens, and at their end."""
        queries, keys = self.z.shape[2], self.weights.shape[3]
        rows = slice(blank, queries - blank)
        there = torch.cat([torch.arange(blank, keys - self.beside - blank), torch.arange(keys - self.beside, keys)])
        there = there.to(self.weights.device)
        q, k = None if self.q is None else self.q[:, :, rows], None if self.k is None else self.k[:, :, there]
        bias = None if self.bias is None else self.bias[:, :, rows][..., there]
        weights, v, z = self.weights[:, :, rows][..., there], self.v[:, :, there], self.z[:, :, rows]
        written = None if self.written is None else self.written[:, rows]
        return Probed(weights, v, z, q, k, self.scaling, bias, self.beside, self.projection, written)


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
                found = found if out is None or not _same(out.given, own) else found.written_by(out)
                blank = 0 if values.turned else _blank(asked, found.weights)
                return found.without(blank) if blank else found
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
    is the output. `others`: what the other layers of that width give, for the tokens and for what stands behind them."""

    runs: tuple[Run, ...]
    turned: bool
    out: Run | None
    z: Tensor
    heads: int
    others: tuple[tuple[Tensor, Tensor | None], ...]

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
        others = [run for run in before if run not in chosen and run.given.shape == first.given.shape]
        more = beside[0].given.shape if len(beside) == 1 else None
        again = [
            next((one.given for one in before if one.layer is run.layer and one.given.shape == more), None)
            for run in others
        ]
        pairs = zip([run.given for run in others], again, strict=True)
        return _Values(chosen, turned, out, z, asked.heads, tuple(pairs))

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
        rest = [v for v in values[1:] if v is not None]
        own = all(v.shape[2] != length for v in rest)  # each token has one value
        q, k, scaling, bias = self._vectors(found) if own else (None, None, 1.0, None)
        v = torch.cat([values[0], *rest], 2) if own else values[0]
        return Probed(found, v, z, q, k, scaling, bias, keys - length)

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
        sides = [(self.in_axes(tokens), None if more is None else self.in_axes(more)) for tokens, more in self.others]
        queries = [tokens for tokens, _ in sides if tokens is not None]
        keys = [
            tokens if more is None else torch.cat([tokens, more], 2) for tokens, more in sides if tokens is not None
        ]
        keys = [k for k in keys if k.shape[2] == weights.shape[3]]
        seen = weights > 0
        if 2 * int((seen.sum(-1) > 1).sum()) <= int(seen.any(-1).sum()):
            return None, None, 1.0, None  # any q and k give the weights of a query that sees one key
        for q in queries:
            for k in keys:
                for scaling in (q.shape[-1] ** -0.5, 1.0):
                    scores = (q.float() @ k.float().mT * scaling).masked_fill(~seen, -torch.inf)
                    if _same(scores.softmax(-1).nan_to_num(0), weights):
                        return q, k, scaling, None
                    if (bias := _counted(scores, weights)) is not None:
                        return q, k, scaling, bias
        return None, None, 1.0, None


def _blank(asked: Asked, weights: Tensor) -> int:
    """How many rows of zeros the model put before the tokens, and as many behind them (Pegasus-X, to move the borders of its blocks),
    where no token looks at them."""
    assert asked.hidden is not None
    filled = asked.hidden.any(-1).any(0)
    length, first = len(filled), int(filled.int().argmax())
    if not first or weights.shape[2] != length or bool(filled[length - first :].any()):
        return 0
    tokens = weights[:, :, first : length - first, :length]
    return 0 if bool(tokens[..., :first].any() or tokens[..., length - first :].any()) else first


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
