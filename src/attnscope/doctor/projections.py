"""Finds the projections of a module by name, else by shape, so that the reference runs on the module's own weights.

A weight is brought to one form, x @ weight + bias with weight [in, out]: nn.Linear stores [out, in], Conv1D [in, out],
research code one matrix per head. What a name does not settle (a raw square matrix, the order inside a fused one)
comes out as several candidates; the one under which the module agrees with the reference is right.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from torch import Tensor, nn

from attnscope.doctor.parameters import Owner, head_counts, numbers_in, owners_of, role_of


@dataclass(frozen=True)
class Affine:
    """x @ weight + bias; weight [in, out]."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        y = x @ self.weight.to(x.dtype)
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def columns(self, index: Any) -> "Affine":
        return Affine(self.weight[:, index], None if self.bias is None else self.bias[index])


@dataclass(frozen=True)
class Projections:
    """The four of them, how many heads they are for, and how they were read."""

    query: Affine
    key: Affine
    value: Affine
    out: Affine | None
    heads: int
    kv_heads: int
    layout: str = "separate"  # of a fused weight: "q|k|v blocks", "per head", ...
    found: str = "by name"
    unused: tuple[str, ...] = ()
    norms: tuple[Any, Any] = (None, None)  # modules that normalise queries and keys
    paths: dict[str, str] = field(default_factory=dict)  # from q, k, v, o to the module that projects


def candidates(module: nn.Module) -> Iterator[Projections]:
    """Every reading of the module's parameters as projections, likeliest first."""
    owners = owners_of(module)
    by_role: dict[str, list[Owner]] = {}
    other: list[Owner] = []
    for owner in owners:
        role = next(
            (role for part in reversed(owner.path) if not part.isdigit() and (role := role_of(part)) is not None), None
        )
        (by_role.setdefault(role, []) if role else other).append(owner)
    how = "by name"
    if not (all(r in by_role for r in "qkv") or "qkv" in by_role or ("kv" in by_role and "q" in by_role)):
        by_role, other, how = _by_shape(owners), [], "by shape"
        if not by_role:
            return
    raw = [role for role, found in by_role.items() if any(o.raw and o.weight.ndim == 2 for o in found)]  # type: ignore[union-attr]
    flips = product((False, True), repeat=1 if raw else 0)
    unused = tuple(".".join(o.path) for o in other)
    paths = {role: ".".join(found[0].path) for role, found in by_role.items() if len(found) == 1 and not found[0].raw and found[0].path}  # fmt: skip
    norms = (_norm_of(module, "q|query|queries"), _norm_of(module, "k|key|keys"))
    for flip in flips:
        turned = set(raw) if flip and flip[0] else set()
        affine = {role: _stacked(found, role in turned) for role, found in by_role.items()}
        per_head = next((o.weight.shape[0] for r in "qkv" for o in by_role.get(r, []) if o.weight.ndim == 3), None)  # type: ignore[union-attr]
        count = len(by_role.get("q", by_role.get("qkv", [])))
        for triple, layout, heads, kv_heads in _triples(module, affine, per_head or (count if count > 1 else None)):
            q, k, v = triple
            out = affine.get("o")
            if out is not None and out.weight.shape[0] != v.weight.shape[1] * heads // kv_heads:
                if out.weight.shape[1] == v.weight.shape[1] * heads // kv_heads and out.weight.shape[0] == 1:
                    continue
                out = None
            made = Projections(q, k, v, out, heads, kv_heads, layout, how, unused, paths=paths)
            if norms != (None, None):
                yield replace(made, norms=norms)
            yield made


def _norm_of(module: nn.Module, names: str) -> nn.Module | None:
    """The norm of queries, or of keys, by its name: q_norm, norm_q, ln_q, query_layernorm."""
    kind = r"(layer_?|rms_?)?(norm|ln)"
    for path, part in module.named_modules():
        if re.fullmatch(rf"({names})_?{kind}|{kind}_?({names})", path.rpartition(".")[2], re.IGNORECASE):
            return part
    return None


def _stacked(found: list[Owner], turned: bool) -> Affine:
    """One matrix [in, out] from a matrix, a matrix per head, or a list of one-head matrices."""
    weights, biases = [], []
    for owner in found:
        weight: Any = owner.weight
        if weight.ndim == 3 and "o" in (role_of(p) for p in owner.path):  # [H, D, M]
            weight = weight.flatten(0, 1)
        elif weight.ndim == 3:  # [H, M, D], or [M, H, D] where the first axis is the longest
            weight = (weight if weight.shape[0] > weight.shape[1] else weight.permute(1, 0, 2)).flatten(1)
        weights.append(weight.T if turned and owner.weight is not None and owner.weight.ndim == 2 else weight)
        biases.append(None if owner.bias is None else owner.bias.flatten())
    if len(weights) == 1:
        return Affine(weights[0], biases[0])
    import torch

    bias = None if any(b is None for b in biases) else torch.cat(biases)  # type: ignore[arg-type]
    return Affine(torch.cat(weights, dim=1), bias)


def _by_shape(owners: list[Owner]) -> dict[str, list[Owner]]:
    """Projections in the order in which they were made: q, k, v[, o], or one three times as wide[, o]."""
    flat = [o for o in owners if o.weight is not None and o.weight.ndim == 2]
    shapes = [tuple(o.weight.shape) for o in flat]  # type: ignore[union-attr]
    if len(flat) in (1, 2) and shapes[0][1] % 3 == 0 and shapes[0][1] // 3 >= 1 and shapes[0][1] > shapes[0][0]:
        return {"qkv": [flat[0]], **({"o": [flat[1]]} if len(flat) == 2 else {})}
    if len(flat) in (3, 4) and len({s[0] for s in shapes[:3]}) == 1 and shapes[1] == shapes[2]:
        return {r: [o] for r, o in zip("qkvo", flat, strict=False)}
    return {}


def _triples(module: nn.Module, affine: dict[str, Affine], known_heads: int | None) -> Iterator[tuple]:
    """(q, k, v), layout, heads, kv_heads."""
    numbers = numbers_in(module)
    if "qkv" in affine and not all(r in affine for r in "qkv"):
        fused = affine["qkv"]
        width = fused.weight.shape[1]
        kv_named = [v for n, v in numbers.items() if isinstance(v, int) and re.search("kv|key|group", n.lower())]
        if width % 3 == 0:
            for heads in [known_heads] if known_heads else head_counts(module, width // 3):
                for layout, index in _fused(width, heads):
                    yield tuple(fused.columns(i) for i in index), layout, heads, heads
        for heads in head_counts(module, width)[:6]:  # q wider than k and v
            for kv_heads in kv_named:
                size, rest = divmod(width, heads + 2 * kv_heads)
                if not rest and 0 < kv_heads < heads and heads % kv_heads == 0:
                    parts = (slice(0, heads * size), slice(heads * size, (heads + kv_heads) * size), slice((heads + kv_heads) * size, None))  # fmt: skip
                    yield tuple(fused.columns(i) for i in parts), "q|k|v blocks", heads, kv_heads
        return
    query = affine["q"]
    inner = query.weight.shape[1]
    for heads in [known_heads] if known_heads else head_counts(module, inner):
        size = inner // heads
        if "kv" in affine and "k" not in affine:
            both = affine["kv"]
            half = both.weight.shape[1] // 2
            if half % size:
                continue
            kv_heads = half // size
            for layout, (first, second) in _halves(half, kv_heads):
                yield (query, both.columns(first), both.columns(second)), layout, heads, kv_heads
            continue
        key, value = affine["k"], affine["v"]
        if key.weight.shape[1] % size:
            continue
        kv_heads = key.weight.shape[1] // size
        if kv_heads and heads % kv_heads == 0 and value.weight.shape[1] % kv_heads == 0:
            yield (query, key, value), "separate", heads, kv_heads


def _fused(width: int, heads: int) -> Iterator[tuple[str, list[Any]]]:
    """Columns of q, k, v in a fused weight, for each layout in use."""
    import torch

    where = torch.arange(width)
    size = width // 3 // heads
    blocks = list(where.view(3, -1))
    yield "q|k|v blocks", blocks
    if heads > 1:
        yield (
            "per head (q, k, v of head 0, then of head 1 …)",
            [x.flatten() for x in where.view(heads, 3, size).unbind(1)],
        )
    yield "interleaved (size, 3, heads)", [x.T.flatten() for x in where.view(size, 3, heads).unbind(1)]
    yield "interleaved (heads, size, 3)", [x.flatten() for x in where.view(heads, size, 3).unbind(2)]
    yield "k|q|v blocks", [blocks[1], blocks[0], blocks[2]]
    yield "v|k|q blocks", [blocks[2], blocks[1], blocks[0]]


def _halves(half: int, kv_heads: int) -> Iterator[tuple[str, Any]]:
    import torch

    where = torch.arange(2 * half)
    yield "k|v blocks", where.view(2, -1).unbind(0)
    yield "per head (k, v of head 0, then of head 1 …)", [x.flatten() for x in where.view(kv_heads, 2, -1).unbind(1)]
