"""Keys and values of a module's own that stand beside those of the tokens: prefixes, memory tokens, null keys, the bias_k of torch."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import torch
from torch import Tensor, nn

from attnscope.attention import dot_product, repeat_heads
from attnscope.doctor.code_check.run.invocation import Invocation

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Extra:
    """keys, values: [1, H_kv, P, D]. Every query sees them, but where a triangle counts them as tokens."""

    keys: Tensor
    values: Tensor

    def weights(
        self, scores: Tensor, query: Tensor, scale: float, normalise: Callable[[Tensor], Tensor], counted: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The weights of the tokens' keys, [B, H, Q, K], and what the keys beside them add to the output, [B, H, Q, D]. `counted`: whether
        the triangle takes them for the first tokens."""
        heads, count = query.shape[1], self.keys.shape[2]
        if heads % self.keys.shape[1] or query.shape[-1] != self.keys.shape[-1]:
            raise RuntimeError(f"q of {tuple(query.shape)} and keys of its own of {tuple(self.keys.shape)} do not fit")
        keys, values = (repeat_heads(x, heads) for x in (self.keys, self.values))
        beside = dot_product(query, keys.expand(len(query), -1, -1, -1)) * scale
        if counted:
            beside = beside.masked_fill(torch.ones(beside.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
        every = normalise(torch.cat([beside, scores], dim=-1))
        return every[..., count:], every[..., :count] @ values


def extras(invocation: Invocation, text: str, joined: list[Tensor]) -> Iterator[Invocation]:
    """The invocation with each pair of its parameters that may be keys and values, likeliest first; then with what is the same for every
    text among the tensors that it put side by side, such as a prefix that a network of its own makes."""
    p, module = invocation.projections, invocation.fn
    if p is None or not isinstance(module, nn.Module):
        return
    found = {part.weight.data_ptr() for part in (p.query, p.key, p.value, *([p.out] if p.out else []))}
    named = [(n, x.detach()) for n, x in module.named_parameters() if x.data_ptr() not in found]
    own = [x for n, x in named if not re.search(r"(weight|proj_bias|norm\w*\.bias|proj\.bias)$", n) and x.numel() > 1][
        :6
    ]
    pairs: list[Pair] = [(x[0], x[1]) for x in own if x.ndim > 1 and len(x) == 2]
    pairs += [(a, b) for a, b in permutations(own, 2) if a.ndim == b.ndim]
    pairs += [(x, x) for x in own]
    made = [x[0] for x in joined if len(x) > 1 and torch.equal(x, x[:1].expand_as(x)) and bool(x.any())][:6]
    for keys, values in (*pairs, *permutations(made, 2)):
        for k in _by_head(keys, p.kv_heads, p.key.weight.shape[1]):
            for v in _by_head(values, p.kv_heads, p.value.weight.shape[1]):
                if k.shape[2] == v.shape[2]:
                    yield replace(invocation, extra=Extra(k, v))
    for x in own:
        rows = x.reshape(-1, x.shape[-1])
        if rows.shape[1] == p.key.weight.shape[0] == p.value.weight.shape[0]:  # tokens of its own, which are projected
            (k,), (v,) = (_cut(f(rows), p.kv_heads) for f in (p.key, p.value))
            yield replace(invocation, extra=Extra(k, v))
    if re.search(r"zero|off_?by|quiet|softmax_?1|null", text, re.IGNORECASE):
        zero = [torch.zeros(1, p.kv_heads, 1, part.weight.shape[1] // p.kv_heads) for part in (p.key, p.value)]
        yield replace(invocation, extra=Extra(*zero))


def _cut(rows: Tensor, heads: int) -> list[Tensor]:
    """[P, H·D] as [1, H, P, D]."""
    return [rows.unflatten(-1, (heads, -1)).transpose(0, 1)[None]]


def _by_head(x: Tensor, heads: int, width: int) -> list[Tensor]:
    """A parameter as [1, H, P, D]: rows of the whole width, rows of a head's width for all heads, or with an axis of heads."""
    while x.ndim > 1 and x.shape[0] == 1:
        x = x[0]
    x, size = (x[None] if x.ndim == 1 else x), width // heads
    if x.ndim == 2 and x.shape[1] == width:
        return _cut(x, heads)
    if x.ndim == 2 and x.shape[1] == size:
        same = [x.expand(heads, *x.shape)[None]]
        return [*same, x[None, :, None]] if len(x) == heads else same
    if x.ndim == 3 and x.shape[2] == size:
        turned = [x.transpose(0, 1)[None]] if x.shape[1] == heads else []
        return ([x[None]] if x.shape[0] == heads else []) + turned
    return []
