"""Finds the projections of a module by name, else by shape, so that the reference runs on the module's own weights.

A weight is brought to one form, x @ weight + bias with weight [in, out]: nn.Linear stores [out, in], Conv1D [in, out],
research code one matrix per head. What a name does not settle (a raw square matrix, the order inside a fused one)
comes out as several candidates; the one under which the module agrees with the reference is right.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from torch import Tensor, nn

_NOISE = r"(?:proj|projection|projections|linear|lin|layer|weights?|matrix|mat|net|map|fc|dense|transform|head|heads|w|to|mlp)"
_ROLES = {
    "q": "q|query|queries|querys|qs",
    "k": "k|key|keys|ks",
    "v": "v|value|values|vs|val|vals",
    "qkv": "qkv|kqv|cattn|in|querykeyvalue|allheads|fused|packed|fusedqkv|packedqkv|inprojection",
    "kv": "kv|keyvalue|keysvalues",
    "o": "o|out|output|outputs|unify|unifyheads|c|final|combine|merge|result|cproj|back|mix|outproj|concat",
}


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


def role_of(name: str) -> str | None:
    """q, k, v, qkv, kv, o, or None, from one component of a parameter's path."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
    bare = "".join(word for word in words if word and not re.fullmatch(_NOISE, word)) or "".join(words)
    plain = "".join(words)
    for role, names in _ROLES.items():
        forms = rf"{_NOISE}?(?:{names}){_NOISE}?"
        if re.fullmatch(forms, bare) or re.fullmatch(forms, plain):
            return role
    return "o" if plain in ("proj", "projection", "dense", "fc", "linear", "cproj", "wo") else None


@dataclass
class _Owner:
    path: tuple[str, ...]
    weight: Tensor | None = None
    bias: Tensor | None = None
    raw: bool = False  # a bare nn.Parameter: its orientation is anyone's guess


def _owners(module: nn.Module) -> list[_Owner]:
    found: dict[tuple[str, ...], _Owner] = {}
    for name, parameter in module.named_parameters():
        *path, leaf = name.split(".")
        holder = module.get_submodule(".".join(path))
        if isinstance(holder, nn.LayerNorm | nn.Embedding) or "norm" in type(holder).__name__.lower():
            continue
        raw = leaf not in ("weight", "bias")
        is_bias = "bias" in leaf or (raw and bool(re.match(r"b_?[a-z]+$", leaf, re.IGNORECASE)) and parameter.ndim < 3)
        if raw:
            leaf = re.sub(r"_?(weight|bias)$", "", leaf)
            path = [*path, re.sub(r"^b_?(?=[a-z])", "", leaf, flags=re.IGNORECASE) if is_bias else re.sub(r"^[wW]_?(?=[a-zA-Z])", "", leaf)]  # fmt: skip
        owner = found.setdefault(tuple(path), _Owner(tuple(path)))
        owner.raw = owner.raw or (raw and "in_proj" not in leaf and not leaf.endswith("_proj"))
        value = parameter.detach()
        if is_bias:
            owner.bias = value
        else:
            while value.ndim > 2 and value.shape[-1] == 1:  # a convolution over single positions
                value = value.squeeze(-1)
            linear = raw or type(holder).__name__ == "Conv1D" or value.ndim != 2
            owner.weight = value if linear and not (raw and not owner.raw) else value.T
    return [owner for owner in found.values() if owner.weight is not None and owner.weight.ndim in (2, 3)]


def numbers_in(module: nn.Module) -> dict[str, Any]:
    """Whole and real numbers among a module's attributes, its children's and their configurations'."""
    found: dict[str, Any] = {}
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(name, value)
            elif name in ("cfg", "config", "args", "params", "hparams", "conf") and value is not None:
                entries = value if isinstance(value, dict) else getattr(value, "__dict__", {})
                for inner, number in entries.items():
                    if isinstance(number, int | float) and not isinstance(number, bool):
                        found.setdefault(inner, number)
    return found


def head_counts(module: nn.Module, width: int) -> list[int]:
    """Likely numbers of heads, likeliest first."""

    def rank(name: str) -> int:
        low = name.lower()
        if "head" in low and not re.search("dim|size|kv|key|group|width|channels|d_head", low):
            return 0
        return 1 if low in ("h", "nh", "nq", "n", "num", "n_q", "q_heads") else 2

    named = sorted((rank(n), i, v) for i, (n, v) in enumerate(numbers_in(module).items()) if isinstance(v, int))
    certain = [v for r, _, v in named if r == 0 and 0 < v <= width and width % v == 0]
    likely = [v for r, _, v in named if r > 0 and 1 < v < width and width % v == 0]
    rest = [1, *(h for h in range(2, min(width, 65)) if width % h == 0)]
    return list(dict.fromkeys(certain or [*likely, *rest]))


def _three(owners: list[_Owner], roles: dict[int, str]) -> tuple[list[_Owner], int]:
    return [o for i, o in enumerate(owners) if roles.get(i) == "q"], 0


def candidates(module: nn.Module) -> Iterator[Projections]:
    """Every reading of the module's parameters as projections, likeliest first."""
    owners = _owners(module)
    by_role: dict[str, list[_Owner]] = {}
    other: list[_Owner] = []
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
            yield Projections(q, k, v, out, heads, kv_heads, layout, how, unused)


def _stacked(found: list[_Owner], turned: bool) -> Affine:
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


def _by_shape(owners: list[_Owner]) -> dict[str, list[_Owner]]:
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
