"""How to call an unknown function or module, found from its signature and by trying.

An `Invocation` is one way of calling: it turns canonical q, k, v into the arguments the user's code wants, and what comes
back into (output, weights). Where several ways are possible, several invocations are tried, and the one that agrees with
the reference, or with a known mistake, was right.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from attnscope.doctor.code_check.recipe import Operands
from attnscope.doctor.code_check.run import filling, probes
from attnscope.doctor.code_check.run.outputs import Reading, from_user, tensors_in, to_user
from attnscope.doctor.code_check.run.parameters import numbers_in
from attnscope.doctor.code_check.run.projections import Projections
from attnscope.doctor.code_check.run.sandbox import Outcome, run
from attnscope.doctor.code_check.run.signature import Call
from attnscope.doctor.code_check.run.submodule import Ends


@dataclass(frozen=True)
class Run:
    """One probe through one way of calling. `allowed`: the mask that was passed in, [B, 1 or H, Q, K], True: may look."""

    inputs: tuple[Tensor, Tensor, Tensor]
    reading: Reading
    allowed: Tensor | None = None
    known: dict[tuple, tuple] = field(default_factory=dict, compare=False)  # the operands, for each invocation


@dataclass(frozen=True)
class Own:
    """For one pair of lengths; both [H or 1, Q, K]. `late`: the pattern is seen in the weights only."""

    bias: Tensor
    pattern: Tensor
    late: bool = False
    raw: Tensor | None = None  # [H or 1, Q, K]: the scores as they were, where they are known without a constant

    @property
    def plain(self) -> bool:
        return not bool(self.bias.any()) and bool(self.pattern.all())

    @property
    def along_diagonals(self) -> bool:
        """Whether the bias depends on the distance i - j (and the head) alone, where it is seen at all."""
        for head, seen in zip(self.bias, self.pattern.expand_as(self.bias), strict=True):
            for offset in range(1 - head.shape[0], head.shape[1]):
                values = head.diagonal(offset)[seen.diagonal(offset)]
                if len(values) > 1 and float(values.max() - values.min()) > 1e-3:
                    return False
        return True


class OwnScores(Protocol):
    """What measures the code's own bias and pattern (`match.measured_bias`)."""

    def at(self, queries: int, keys: int) -> Own | None: ...


@dataclass(frozen=True)
class Invocation:
    """One way of calling the user's code."""

    fn: Callable
    call: Call
    layout: str
    shape: str  # of the scores, in words, as the user sees them
    queries_dim: int  # the axis of queries in them
    heads: int = 1
    kv_heads: int = 1
    projections: Projections | None = None
    widths: tuple[int, int, int] = (0, 0, 0)
    flat: bool = False
    size: int = probes.SIZE
    spread: float = 1.0
    batch: int = probes.BATCH
    own: OwnScores | None = None  # a bias or a pattern of its own
    patterned: bool = False  # whether that pattern stands in place of a triangle
    factors: Tensor | None = None  # [H]: what it multiplies the cosines of normalised queries and keys by
    ends: Ends | None = None  # attention inside a larger module: compare what happens between these parts
    permit: tuple[str, str] | None = None  # the form and kind of the mask that permits all, where one must be passed
    fill: filling.Fills = ()  # the kinds of values that the other parameters get
    talk: tuple[Any, Any] = (None, None)  # maps over heads, of the scores and of the weights
    gate: Callable[[Tensor], Tensor] | None = None  # what multiplies the heads' outputs, from the queries' inputs
    relative: Any = None  # keys and values of each distance (`match.relative`)
    one_query: str = ""  # kept | squeezed: it takes one query alone, with all keys; squeezed: without an axis for it
    tokens: int = 0  # the only length that it takes, such as the patches of a window; 0: any
    latents: Tensor | None = None  # [L, width]: queries of the module's own, where it has such
    asks: str = ""  # first | last | mean | mean_too: the one query of each text, where not every token is one; mean_too: it is a key as well
    extra: Any = None  # keys and values of its own (`match.extra_keys`)
    pairs: Any = None  # what becomes of two heads of differential attention (`match.differential`)
    finish: Any = None  # what follows the heads' outputs (`match.finishes`)

    @property
    def queries_apart(self) -> bool:
        """Whether it takes one sequence, and its queries are not all its tokens."""
        return self.latents is not None or bool(self.asks)

    @property
    def length(self) -> int:
        """How many tokens the probes of masks and extremes have."""
        return self.tokens or 7

    def inputs(self, name: str, queries: int, keys: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Canonical q, k, v: [B, H, T, D], or [B, T, width] where heads are split by the user's code. Without `keys`:
        self-attention, of the same length; and of the same tokens where the user's code takes one sequence."""
        if self.tokens:
            queries, keys = self.tokens, self.tokens
        if self.latents is not None:
            x = self.spread * probes.gaussian(name, self.batch, keys or queries, self.widths[1])
            return self.latents.expand(self.batch, -1, -1), x, x
        if self.asks:
            x = self.spread * probes.gaussian(name, self.batch, keys or queries, self.widths[1])
            asking = {"first": x[:, :1], "last": x[:, -1:]}.get(self.asks, x.mean(1, keepdim=True))
            x = torch.cat([asking, x], dim=1) if self.asks == "mean_too" else x
            return asking, x, x
        lengths = (1 if self.one_query else queries, keys or queries, keys or queries)
        if self.flat:
            shapes = [(t, w) for t, w in zip(lengths, self.widths, strict=True)]
            made = [self.spread * probes.gaussian(f"{name}{i}", self.batch, *shape) for i, shape in enumerate(shapes)]
        else:
            heads = (self.heads, self.kv_heads, self.kv_heads)
            shapes = [(h, t, self.size) for h, t in zip(heads, lengths, strict=True)]
            made = [probes.gaussian(f"{name}{i}", self.batch, *shape) for i, shape in enumerate(shapes)]
        if self.call.inputs < 3:
            made[2] = made[1]
        return (made[0],) * 3 if self.call.inputs == 1 else tuple(made)  # type: ignore[return-value]

    def operands(
        self, inputs: tuple[Tensor, Tensor, Tensor], sinks: Tensor | None = None, order: str = "head-major"
    ) -> Operands:
        """What the recipes compute with."""
        own = self.own.at(inputs[0].shape[-2], inputs[1].shape[-2]) if self.own else None
        extras: dict[str, Any] = {"sinks": sinks, "factors": self.factors}
        if own is not None:
            extras |= {"bias": own.bias, "pattern": own.pattern if self.patterned else None}
        if not self.flat:
            return Operands(*inputs, **extras)
        p = self.projections
        if p is None:
            return Operands(*inputs, heads=self.heads, kv_heads=self.kv_heads, order=order, **extras)
        q, k, v = p.query(inputs[0]), p.key(inputs[1]), p.value(inputs[2])
        out = None if p.out is None else (p.out.weight, p.out.bias)
        extras |= {"inputs": inputs, "projections": (p.query, p.key, p.value), "talk": self.talk}
        extras |= {"relative": self.relative, "extra": self.extra, "finish": self.finish, "merged": p.merged}
        extras["pairs"] = self.pairs
        extras["gate"] = None if self.gate is None else self.gate(inputs[0])
        return Operands(q, k, v, p.heads, p.kv_heads, out, order=order, norms=p.norms, **extras)

    def looks_back(self, inputs: tuple[Tensor, Tensor, Tensor]) -> bool:
        """Whether its own pattern lets no query look ahead."""
        own = self.own.at(inputs[0].shape[-2], inputs[1].shape[-2]) if self.own else None
        return own is not None and not bool(own.pattern.triu(1 + inputs[1].shape[-2] - inputs[0].shape[-2]).any())

    def probe(
        self, inputs: tuple[Tensor, Tensor, Tensor], *mask: Any, allowed: Tensor | None = None, **options: Any
    ) -> "Run":
        """`run`, with what the recipes compute from: the inputs, or what the projections saw."""
        reading = self.run(inputs, *mask, **options)
        return Run(reading.saw or inputs, reading, allowed)

    def run(
        self, inputs: tuple[Tensor, ...], mask: Tensor | None = None, name: str | None = None, **options: Any
    ) -> Reading:
        """Once. `options`: seed, still, causal (the user's own flag), dtype, sinks, limit."""
        causal, sinks = options.pop("causal", None), options.pop("sinks", None)
        given = [
            to_user(x, self.layout, keys=i > 0) for i, x in enumerate(inputs[1:] if self.queries_apart else inputs)
        ]
        given = [to_user(inputs[1][:, 1:], self.layout)] if self.asks == "mean_too" else given
        if self.one_query == "squeezed":
            given[0] = given[0].squeeze(-2)
        if self.call.turned:
            given[1] = given[1].mT
        ordered = [given[i] for i in self.call.order] if self.call.inputs == 3 else given[: self.call.inputs]
        named = dict(zip(self.call.names, ordered, strict=False))
        args = tuple(x for name, x in zip(self.call.names, ordered, strict=False) if name is None)
        kwargs = {**{name: x for name, x in named.items() if name is not None}, **self.call.fixed}
        kwargs |= self.filled(inputs, given[0])
        if self.call.heads_name and self.flat and self.projections is None:
            kwargs[self.call.heads_name] = self.heads
        if causal is not None and self.call.causal_flag:
            kwargs[self.call.causal_flag] = causal
        if sinks is not None and self.call.sinks_name:
            kwargs[self.call.sinks_name] = sinks
        if mask is not None and name:
            kwargs[name] = mask
        for needed in self.call.needed_masks:
            kwargs.setdefault(needed, self._permission(inputs))
        if self.ends is None:
            return self.read(run(self.fn, args, kwargs, **options), inputs)
        with self.ends.watched(self.fn) as seen:
            outcome = run(self.fn, args, kwargs, **options)
        return self.ends.reading(outcome, seen, self.layout)

    def filled(self, inputs: tuple[Tensor, ...], given: Tensor) -> dict[str, Any]:
        """What the parameters get that are neither q, k, v nor a mask. given: the queries as the code gets them."""
        return {
            name: filling.value(name, kind, inputs[0], given, self._size(name), max(self.heads, 1))
            for name, kind in self.fill
        }

    def _size(self, parameter: str) -> int:
        """Of a head; for rotary tables, of the part of it that is turned, where an attribute says so."""
        p = self.projections
        size = p.query.weight.shape[1] // max(p.heads, 1) if p else self.size
        if p is None or not filling.turns(parameter):
            return size
        part = next((v for n, v in numbers_in(self.fn).items() if "partial_rotary" in n or n in _TURNED), None)  # type: ignore[arg-type]
        return size if part is None else int(size * part) if 0 < part < 1 else int(part)

    def _permission(self, inputs: tuple[Tensor, ...]) -> Tensor | None:
        """A mask that permits everything, if this way of calling reads its user's masks rightly."""
        if self.permit is None:
            return None
        form, kind = self.permit
        every = torch.ones(inputs[0].shape[0], 1, inputs[0].shape[-2], inputs[1].shape[-2], dtype=torch.bool)
        if kind == "lengths":
            return every[:, 0, 0].sum(-1)
        mask = next(f for f in probes.FORMS if f.name == form).shaped(every)
        assert mask is not None
        mask = mask if kind.startswith("ones") else ~mask
        return mask.float() if kind.endswith("float") else mask

    def permitting(self) -> "list[Invocation]":
        """This way of calling, once for every mask that may be the one that permits all, and for all else that a parameter may
        want."""
        filled = [replace(self, fill=fill) for fill in filling.combinations(self.call.fills)]
        return [candidate for one in filled for candidate in one._under_masks()]

    def _under_masks(self) -> "list[Invocation]":
        if not self.call.needs_mask:
            return [self]
        if re.search(LENGTHS_NAME, self.call.masks[0], re.IGNORECASE):
            return [self, replace(self, permit=(probes.LENGTHS.name, "lengths"))]
        forms = ("(batch, 1, query, key)" if self.heads > 1 else "(batch, query, key)", "(batch, key)", "(query, key)")
        if self.flat and self.heads > 1:  # heads that are folded into the batch
            forms = (*forms, "(batch, query, key)")
        kinds = ("ones bool", "ones float", "zeros bool", "zeros float")
        return [self, *(replace(self, permit=(form, kind)) for form in forms for kind in kinds)]

    def read(self, outcome: Outcome, inputs: tuple[Tensor, ...]) -> Reading:
        if not outcome.ok:
            return Reading(outcome)
        tensors = tensors_in(outcome.value)
        batch, queries, keys = inputs[0].shape[0], inputs[0].shape[-2], inputs[1].shape[-2]
        wanted = self._wanted(batch, queries)
        output = weights = None
        exchanged = False
        for tensor in tensors:
            if (self.queries_apart or self.one_query == "squeezed") and queries == 1 and tensor.ndim == 2:
                tensor = tensor.unsqueeze(1)  # the one output of each text
            canonical = from_user(tensor, self.layout, self.flat)
            if output is None and canonical is not None and tuple(canonical.shape) in wanted:
                output = canonical
                if tuple(canonical.shape) != wanted[0]:
                    output = canonical.transpose(1, 2).flatten(-2)
            elif (
                output is None
                and not self.flat
                and self.heads > 1
                and (joined := self._joined(tensor, wanted[0])) is not None
            ):
                output = joined
            elif output is None and self._by_tokens(canonical, wanted[0]):
                output, exchanged = canonical.transpose(1, 2), True  # type: ignore[union-attr]
            elif weights is None and tensor.ndim >= 2 and tuple(tensor.shape[-2:]) == (queries, keys):
                weights = None if bool((tensor < -1e-3).any()) else _with_heads(tensor)
        if output is None:
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors) or type(outcome.value).__name__
            given = any(tuple(t.shape) == tuple(to_user(inputs[0], self.layout).shape) for t in tensors[:1])
            expected = wanted[0] if self.flat or self.heads > 1 else (batch, queries, self.size)
            return Reading(outcome, as_given=given, wrong=f"returned {shapes}; expected {expected}")
        weights = None if weights is None else weights.detach().float()
        return Reading(outcome, output.detach().float(), weights, exchanged=exchanged)

    def _by_tokens(self, canonical: Tensor | None, wanted: tuple[int, ...]) -> bool:
        """Whether it is the output [B, T, H, D] of a function that takes [B, H, T, D], ready for its heads to be joined; or the other way."""
        if self.flat or canonical is None or canonical.ndim != 4 or wanted[1] in (1, wanted[2]):
            return False
        return tuple(canonical.transpose(1, 2).shape) == wanted

    def _joined(self, tensor: Tensor, wanted: tuple[int, ...]) -> Tensor | None:
        """[B, H, T, D] from an output whose heads stand side by side, (batch, length, heads · size); else None."""
        batch, heads, length, size = wanted
        if tuple(tensor.shape) != (batch, length, heads * size):
            return None
        return tensor.unflatten(-1, (heads, size)).transpose(1, 2)

    def _wanted(self, batch: int, queries: int) -> list[tuple[int, ...]]:
        if not self.flat:
            return [(batch, self.heads, queries, self.size)]
        p = self.projections
        if p is None:
            width = self.widths[0]
        else:
            inner = p.value.weight.shape[1] // p.kv_heads * (p.heads if p.merged == "joined" else 1)
            inner = inner // 2 if self.pairs is not None else inner
            width = p.out.weight.shape[1] if p.out else inner
        return [(batch, queries, width), (batch, self.heads, queries, width // max(self.heads, 1))]


LENGTHS_NAME = r"lens?$|lengths?$|^n_valid"  # of an argument that says how many keys of each text may be seen
_TURNED = ("rotary_ndims", "rotary_dim", "rotary_dims", "rot_dim", "rope_dim")


def _with_heads(weights: Tensor) -> Tensor:
    """[B, H, Q, K] from weights that lack the axis of heads, or that of the batch too."""
    if weights.ndim == 2:
        return weights[None, None]
    return weights.unsqueeze(1) if weights.ndim == 3 else weights
