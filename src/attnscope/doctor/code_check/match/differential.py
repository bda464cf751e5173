"""Differential attention (Ye et al., 2024): the weights of each head are one softmax less λ times another.

Queries and keys have two parts for each head, values one. The recipes compute twice as many heads, each pair of them on the same values;
what the pair gives is subtracted, and a head's norm and a factor may follow. λ is a parameter, a number, or what parameters say; where
no norm follows, a text of one token shows it: each softmax is then 1, whatever else is wrong.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnscope.doctor.code_check.run.affine import Affine
from attnscope.doctor.code_check.run.invocation import Invocation
from attnscope.doctor.code_check.run.parameters import is_norm, named_heads, norm_size, numbers_in
from attnscope.doctor.code_check.run.projections import Projections

_WORDS = re.compile(
    r"diff\w*_?(attn|attention|transformer|head)|differential|lambda_|_lambda|λ|\b(self\.)?lam(bda)?\d?\b(?!\s+\w+:)"
    r"|\b(q|k|a|w|attn|query|key|softmax)_?2\b",
    re.IGNORECASE,
)
MOST = 120  # readings of one way of calling


@dataclass(frozen=True)
class Difference:
    """first − λ · second of each pair of heads, [B, 2·H, T, D] -> [B, H, T, D]; then a norm of each head, and a factor."""

    less: Tensor  # λ, [H] or [1]
    norm: Any = None
    factor: float = 1.0

    def __call__(self, z: Tensor) -> Tensor:
        pairs = z.unflatten(1, (-1, 2))
        x = pairs[:, :, 0] - self.less.to(z.dtype).view(-1, 1, 1) * pairs[:, :, 1]
        return (x if self.norm is None else self.norm(x)) * self.factor


def differentials(invocation: Invocation, text: str, options: dict[str, Any]) -> Iterator[Invocation]:
    """The invocation as differential attention, for every reading of its heads, λ, norm and factor."""
    p, module = invocation.projections, invocation.fn
    if p is None or not isinstance(module, nn.Module) or not _WORDS.search(text):
        return
    tried = 0
    for heads, halves in product(dict.fromkeys([*named_heads(module), p.heads, p.heads // 2]), (False, True)):
        paired = _paired(p, heads, halves) if heads and not (halves and heads == 1) else None
        if paired is None:
            continue
        ends = replace(invocation, projections=paired, heads=paired.heads, kv_heads=paired.heads)
        for difference in _differences(ends, module, heads, options):
            tried += 1
            if tried > MOST:
                return
            yield replace(ends, pairs=difference)


def _paired(p: Projections, heads: int, halves: bool) -> Projections | None:
    """Twice as many heads, those of a pair side by side; `halves`: the first of all heads stand before the second of all."""
    width, values = p.query.weight.shape[1], p.value.weight.shape[1]
    size, rest = divmod(width, 2 * heads)
    if (
        rest
        or values % heads
        or not isinstance(p.query, Affine)
        or p.key.weight.shape[1] != width
        or p.merged != "joined"
    ):
        return None
    columns = torch.arange(width)
    if halves:
        columns = columns.view(2, heads, size).transpose(0, 1).flatten()
    same = torch.arange(values).view(heads, 1, -1).expand(-1, 2, -1).flatten()
    query, key = (part.columns(columns) for part in (p.query, p.key))
    return replace(p, query=query, key=key, value=p.value.columns(same), heads=2 * heads, kv_heads=2 * heads)


def _differences(
    invocation: Invocation, module: nn.Module, heads: int, options: dict[str, Any]
) -> Iterator[Difference]:
    p = invocation.projections
    assert p is not None
    size = p.value.weight.shape[1] // (2 * heads)
    starts = [v for v in numbers_in(module).values() if isinstance(v, float) and 0 < v < 2]
    factors = [1.0, *(1 - v for v in starts if v != 1)]
    for factor in factors:
        measured = _of_one_token(invocation, heads, factor, options)
        if measured is not None:
            yield Difference(measured, None, factor)
    norms: list[Any] = [n for n in list(module.modules())[1:] if is_norm(n) and norm_size(n) in (0, size)][:3]
    said = list(_said(module, heads, p.query.weight.shape[1] // (2 * heads), starts))
    bare = [_rms, partial(functional.layer_norm, normalized_shape=(size,))] if not norms else []
    for norm, factor, less in product((*norms, None, *bare), factors[::-1], said):
        yield Difference(less, norm, factor)


def _rms(x: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


def _said(module: nn.Module, heads: int, size: int, starts: list[float]) -> Iterator[Tensor]:
    """What λ may be: exp(q1 · k1) − exp(q2 · k2) and a start, as in the paper; else a parameter, bent or not, and a start; a number."""
    named = {n.rpartition(".")[2].lower(): p.detach() for n, p in module.named_parameters() if p.ndim in (1, 2)}
    named = {n: p for n, p in named.items() if p.shape[-1] == size and p.numel() in (size, size * heads)}
    four = [next((p for n, p in named.items() if re.search(f"{a}_?{i}|{i}_?{a}", n)), None) for i in "12" for a in "qk"]
    q1, k1, q2, k2 = four
    if q1 is not None and k1 is not None and q2 is not None and k2 is not None:
        for start in (*starts, 0.0):
            yield ((q1 * k1).sum(-1).exp() - (q2 * k2).sum(-1).exp() + start).flatten()
    alone = [p.flatten() for p in module.parameters() if p.numel() in (1, heads) and p.requires_grad]
    for own in [p.detach() for p in alone][:4]:
        for start in (0.0, *starts):
            yield from (bent + start for bent in (own, own.sigmoid(), own.exp()))
    yield from (torch.tensor([start]) for start in starts)


def _of_one_token(invocation: Invocation, heads: int, factor: float, options: dict[str, Any]) -> Tensor | None:
    """λ of each head, where a text of one token gives 1 − λ times its value."""
    p = invocation.projections
    inputs = tuple(x[:, :1] for x in invocation.inputs("one token", 7))
    output = invocation.run(inputs, seed=5, **options).output
    if p is None or output is None or not bool(output.isfinite().all()):
        return None
    if p.out is not None:
        bare = output if p.out.bias is None else output - p.out.bias
        output = bare @ torch.linalg.pinv(p.out.weight)
    value = p.value(inputs[2]).unflatten(-1, (heads, 2, -1))[..., 0, :]  # [B, 1, H, D]
    if output[0].numel() != value[0].numel():
        return None
    given = output.view(value.shape)
    shares = (given * value).sum((0, 1, 3)) / value.square().sum((0, 1, 3))
    exact = (given - shares[:, None] * value).abs().max() < 1e-3 * value.std()
    return 1 - shares / factor if bool(exact) else None
