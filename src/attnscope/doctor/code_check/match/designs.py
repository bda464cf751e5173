"""Legitimate designs beyond the plain recipe, found by measuring: a bias or pattern of the code's own, normalised
queries and keys. A design is the invocation with what it adds given to the recipe too; mistakes are then looked for as ever.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.match.differential import differentials
from attnscope.doctor.code_check.match.extra_keys import extras
from attnscope.doctor.code_check.match.finishes import finishes
from attnscope.doctor.code_check.match.measured_bias import OwnScores, scores_seen
from attnscope.doctor.code_check.match.relative import relatives
from attnscope.doctor.code_check.recipe import Recipe, compute
from attnscope.doctor.code_check.recipe_steps import FEATURES
from attnscope.doctor.code_check.run.affine import Affine
from attnscope.doctor.code_check.run.invocation import Invocation
from attnscope.doctor.code_check.run.latent import Made
from attnscope.doctor.code_check.run.outputs import Reading
from attnscope.doctor.code_check.run.parameters import owners_of

PATTERN_FREE = ("offset", "polarity", "aligned")  # fields of the triangle: they say nothing where a pattern stands


def designs(
    invocation: Invocation, inputs: tuple[Tensor, ...], reading: Reading, text: str, options: dict[str, Any]
) -> Iterator[tuple[Invocation, dict[str, Any]]]:
    """The invocation with something of its own measured, and the fields of the recipe that belong to it."""
    for more in (*differentials(invocation, text, options), *_of_leftovers(invocation), *_shortened(invocation)):
        yield more, {}
    yield from _of_parameters(invocation)
    for more in extras(invocation, text, reading.outcome.seen.joined):
        yield more, {}
    for more in finishes(invocation):
        yield more, {}
        # as Luong et al. have it, and the Set Transformer's own code
        yield more, {"scale": "one" if more.finish.of_inputs else "model"}
    for relative in relatives(invocation):
        yield replace(invocation, relative=relative), {}
    kinds: list[dict[str, Any]] = [{}]
    if re.search(r"norm|rsqrt|cosine", text, re.IGNORECASE):
        kinds += [{"qk": kind} for kind in ("rms", "l2", "layer")]
    if re.search(r"\b(elu|relu|phi|feature|kernel)|linear_?att|efficient|softmax\([^()]*-2", text, re.IGNORECASE):
        for kind in FEATURES:
            yield invocation, {"features": kind}
    own = OwnScores(invocation, options)
    first = own.at(inputs[0].shape[-2], inputs[1].shape[-2])
    for kind in kinds:
        if kind:
            yield invocation, kind
            yield invocation, {**kind, "scale": "one"}  # normalised queries and keys may do without a scale
        if kind.get("qk") == "l2":
            for axis in (
                ("tokens", "heads") if first is None or first.plain else ()
            ):  # wrong ones, whose factor is another
                factors = _factors(invocation, inputs, reading, None, axis)
                if factors is not None:
                    yield replace(invocation, factors=factors), {**kind, "scale": "own", "qk_axis": axis}
            factors = _factors(invocation, inputs, reading, first.bias if first else None)
            if factors is not None:
                invocation = replace(invocation, factors=factors)
                yield invocation, {**kind, "scale": "own"}
                kind = {**kind, "scale": "own"}
        if first is None or first.plain:
            continue
        if bool(first.bias.any()):
            yield replace(invocation, own=own), kind
        if not bool(first.pattern.all()) and bool((first.pattern.sum(-1) > 1).any()):  # one key each is no attention
            how = {"causal_how": "after"} if first.late else {}
            yield replace(invocation, own=own, patterned=True), {**kind, "causal": True, **how}


def _of_parameters(invocation: Invocation) -> Iterator[tuple[Invocation, dict[str, Any]]]:
    """A parameter with a number for each head may multiply what the head gives, or its scores."""
    p, module = invocation.projections, invocation.fn
    if p is None or not isinstance(module, nn.Module):
        return
    inner = p.value.weight.shape[1] * p.heads // p.kv_heads
    for own in [x.detach().flatten() for x in module.parameters() if p.heads > 1 and x.numel() == p.heads]:
        yield replace(invocation, gate=Fixed(own.repeat_interleave(inner // p.heads))), {}
        for factors in (own, own.exp(), 1 / own):
            for size in (1.0, (p.query.weight.shape[1] // p.heads) ** -0.5):
                yield replace(invocation, factors=factors * size), {"scale": "own"}


@dataclass(frozen=True)
class Fixed:
    """The same factors for every token."""

    factors: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.factors.to(x.dtype)


_GATES: tuple[Callable[[Tensor], Tensor], ...] = (torch.sigmoid, torch.nn.functional.silu, torch.relu, torch.tanh)


def _shortened(invocation: Invocation) -> Iterator[Invocation]:
    """Keys and values of fewer places than there are tokens, by parameters [tokens, places] of the module's own (Linformer)."""
    p, module, length = invocation.projections, invocation.fn, invocation.tokens
    if p is None or not length or not isinstance(module, nn.Module):
        return
    own = [x.detach() for x in module.parameters() if x.ndim == 2 and length in x.shape]
    maps = [form for x in own for form in (x, x.T) if form.shape[0] == length > form.shape[1]][:4]
    for of_keys, of_values in [*permutations(maps, 2), *((x, x) for x in maps)]:
        key, value = (
            Made(lambda x, part=part, few=few: few.T @ part(x), part.weight)
            for part, few in ((p.key, of_keys), (p.value, of_values))
        )
        yield replace(invocation, projections=replace(p, key=key, value=value))


def _of_leftovers(invocation: Invocation) -> Iterator[Invocation]:
    """What linear maps may do that no projection needs: talk between heads, or gate what the heads give."""
    p, module = invocation.projections, invocation.fn
    if p is None or not p.unused or not isinstance(module, nn.Module):
        return
    maps = [Affine(o.weight, o.bias) for o in owners_of(module) if ".".join(o.path) in p.unused and o.weight.ndim == 2]  # type: ignore[arg-type]
    heads, inner = p.heads, p.value.weight.shape[1] * p.heads // p.kv_heads
    talking = [m for m in maps if tuple(m.weight.shape) == (heads, heads)]
    if talking and heads > 1:
        first, *rest = talking
        yield from (
            replace(invocation, talk=talk) for talk in ([(first, rest[0])] if rest else [(first, None), (None, first)])
        )
    for gate in maps:
        width = gate.weight.shape[1]
        if gate.weight.shape[0] == p.query.weight.shape[0] and width in (heads, inner):
            for bend in _GATES:
                yield replace(invocation, gate=_Gate(gate, bend, inner // width))


@dataclass(frozen=True)
class _Gate:
    """bend(x @ weight + bias), each number `times` over: one gate for a head, or for each of its dimensions."""

    map: Affine
    bend: Callable[[Tensor], Tensor]
    times: int

    def __call__(self, x: Tensor) -> Tensor:
        return self.bend(self.map(x)).repeat_interleave(self.times, dim=-1)


def _factors(
    invocation: Invocation, inputs: tuple[Tensor, ...], reading: Reading, bias: Tensor | None, axis: str = "size"
) -> Tensor | None:
    """[H]: what the cosine of each head is multiplied by, where every pair of tokens says the same."""
    batch, queries, keys = inputs[0].shape[0], inputs[0].shape[-2], inputs[1].shape[-2]
    seen = scores_seen(reading, batch, invocation.heads, queries, keys)
    if seen is None:
        return None
    try:
        cosine = compute(Recipe(qk="l2", qk_axis=axis, scale="one"), invocation.operands(inputs)).scores  # type: ignore[arg-type]
    except RuntimeError:
        return None
    scores = seen - bias if bias is not None else seen
    known = scores > -1e3
    if scores.shape != cosine.shape:
        return None
    by_head = [(scores[:, h][known[:, h]] / cosine[:, h][known[:, h]]).median() for h in range(cosine.shape[1])]
    factors = torch.stack(by_head)
    return factors if bool(factors.isfinite().all()) else None
