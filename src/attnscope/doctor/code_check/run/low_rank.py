"""Projections that are two maps in a row, through few dimensions: low-rank keys and values, and LoRA's sum with such a pair."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.run.affine import Affine
from attnscope.doctor.code_check.run.parameters import Owner, numbers_in

_ROLE = re.compile(r"(?:^|_)(q|k|v|query|key|value)(?:_|$)|(?:^|_)[ab](q|k|v)$|^(q|k|v)(?=_?lora)", re.IGNORECASE)


def chained(roles: dict[str, list[Owner]], other: list[Owner]) -> dict[str, list[Owner]] | None:
    """The same roles with two maps in a row as one; None where there are none."""
    every = [o for found in (roles.get("kv", []), roles.get("k", []), other) for o in found if o.weight.ndim == 2]
    made: dict[str, list[Owner]] = {}
    for role in "qkv":
        found = roles.get(role, [])
        if len(found) == 2 and _through_few(*found):
            made[role] = [_one(*found)]
        elif len(found) == 1 and found[0].weight.ndim == 2:
            first = [o for o in every if o is not found[0] and _through_few(o, found[0])]
            if first:
                made[role] = [_one(first[0], found[0])]
    return {**roles, **made} if made else None


def for_each_head(roles: dict[str, list[Owner]]) -> dict[str, list[Owner]] | None:
    """The same roles where one small map is applied to every head's part of the width: as one map of all heads, block by block. The
    output's map says how many heads there are. None where that cannot be."""
    found = [roles.get(role, []) for role in "qkv"]
    outs = [o.weight.shape[0] for o in roles.get("o", []) if o.weight.ndim == 2]
    if any(len(one) != 1 or one[0].weight.ndim != 2 for one in found) or len(outs) != 1:
        return None
    heads, rest = divmod(outs[0], found[2][0].weight.shape[1])
    if rest or heads < 2 or found[0][0].weight.shape[0] * heads != outs[0]:
        return None
    made = {}
    for role, (owner,) in zip("qkv", found, strict=True):
        bias = None if owner.bias is None else owner.bias.repeat(heads)
        made[role] = [Owner(owner.path, torch.block_diag(*[owner.weight] * heads), bias, measured=True)]
    return {**roles, **made}


def _through_few(first: Owner, second: Owner) -> bool:
    """Whether the second map takes what the first gives, and the first gives fewer numbers than it takes."""
    if first.weight.ndim != 2 or second.weight.ndim != 2:
        return False
    return first.weight.shape[1] == second.weight.shape[0] < first.weight.shape[0]


def _one(first: Owner, second: Owner) -> Owner:
    bias = (
        second.bias if first.bias is None else first.bias @ second.weight + (0 if second.bias is None else second.bias)
    )
    return Owner(second.path, first.weight @ second.weight, bias, measured=True)


def adapted(module: nn.Module, p: Any, owners: list[Owner]) -> Iterator[Any]:
    """Projections `p` with LoRA's pairs added to those whose names they bear, at each scale that the module's numbers suggest."""
    parts: dict[str, list[Owner]] = {}
    for owner in owners:
        name = "_".join(owner.path)
        role = next((r for r in _ROLE.findall(name) if any(r)), None)
        if role is not None and re.search(r"lora|adapter|delta|low_?rank|(^|_)[AaBb](_|$)", name):
            parts.setdefault("".join(role).lower()[0], []).append(owner)
    whole = {"q": p.query, "k": p.key, "v": p.value}
    deltas = {
        role: d for role, pair in parts.items() if (d := _delta(pair, tuple(whole[role].weight.shape))) is not None
    }
    if not deltas:
        return
    names = {"q": "query", "k": "key", "v": "value"}
    for scale in _scales(module):
        changed = {names[r]: Affine(whole[r].weight + scale * d, whole[r].bias) for r, d in deltas.items()}
        unused = tuple(u for u in p.unused if not any(".".join(o.path) == u for pair in parts.values() for o in pair))
        yield replace(p, **changed, unused=unused, paths={})


def _delta(pair: list[Owner], shape: tuple[int, int]) -> Tensor | None:
    """[in, out] of two maps in a row, as they are or, bare parameters, turned; None where they do not fit."""
    if len(pair) != 2 or any(o.weight.ndim != 2 for o in pair):
        return None
    for a, b in (pair, pair[::-1]):
        for first in (a.weight, a.weight.T) if a.raw else (a.weight,):
            for second in (b.weight, b.weight.T) if b.raw else (b.weight,):
                if first.shape[0] == shape[0] and first.shape[1] == second.shape[0] and second.shape[1] == shape[1]:
                    return torch.matmul(first, second)
    return None


def _scales(module: nn.Module) -> list[float]:
    """alpha / r, or what is called a scaling, or 1."""
    numbers = {n.lower(): float(v) for n, v in numbers_in(module).items()}
    alphas = [v for n, v in numbers.items() if "alpha" in n]
    ranks = [v for n, v in numbers.items() if re.fullmatch(r"(lora_)?(r|rank)", n) and v > 0]
    found = [a / r for a in alphas for r in ranks] + [v for n, v in numbers.items() if "scal" in n] + alphas + [1.0]
    return list(dict.fromkeys(found))[:5]
