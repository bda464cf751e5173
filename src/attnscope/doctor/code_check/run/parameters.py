"""The parameters of a module by owner, the part each plays (query, key, …) by its name, and the numbers among attributes."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_NOISE = r"(?:proj|projection|projections|linear|lin|layer|weights?|matrix|mat|net|map|fc|dense|transform|head|heads|w|to|mlp|conv|conv1d|conv2d|conv1x1|embed|embedding|affine|up|down)"
_ROLES = {
    "q": "q|query|queries|querys|qs",
    "k": "k|key|keys|ks",
    "v": "v|value|values|vs|val|vals",
    "qkv": "qkv|kqv|cattn|in|querykeyvalue|allheads|fused|packed|fusedqkv|packedqkv|inprojection",
    "kv": "kv|keyvalue|keysvalues",
    "qk": "qk|kq|querykey|querieskeys",
    "o": "o|out|output|outputs|unify|unifyheads|c|final|combine|merge|result|cproj|back|mix|outproj|concat",
}
_NUMBERED = re.compile(r"((?:^|[\W_])[wW]?(?:[qkvQKV]|query|key|value))_?\d$")  # q1, W_k2: one of several


def role_of(name: str) -> str | None:
    """q, k, v, qkv, kv, qk, o, or None, from one component of a parameter's path."""
    name = _NUMBERED.sub(r"\1", name)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
    bare = "".join(word for word in words if word and not re.fullmatch(_NOISE, word)) or "".join(words)
    plain = "".join(words)
    for role, names in _ROLES.items():
        forms = rf"{_NOISE}?(?:{names}){_NOISE}?"
        if re.fullmatch(forms, bare) or re.fullmatch(forms, plain):
            return role
    return "o" if plain in ("proj", "projection", "dense", "fc", "linear", "cproj", "wo") else None


TURNED = re.compile(r"^k(ey)?s?_?(t|T|[Tt]rans\w*)$")  # a key that is passed as (size, length)
_OF_INPUTS = re.compile(  # what follows q, k or v in the name of an argument that holds them
    r"^(q|k|v|query|key|value|queries|keys|values)_(?:cache|states?|layer|tensor|vec\w*|seq\w*|input|heads?|all|full|past|mem\w*|emb\w*"
    r"|in|feats?|features?|tokens?|hidden|x|h|new|proj\w*|mat\w*)$",
    re.IGNORECASE,
)


def input_role(name: str) -> str | None:
    """The part that an argument plays: by the last word of its name, or the first, or all of it: x_q, query, keys1, k_T, k_cache."""
    bare = re.sub(r"\d+$", "", name)
    if TURNED.match(bare):
        return "k"
    first = _OF_INPUTS.match(bare)
    return role_of(bare.split("_")[-1]) or role_of(bare) or (role_of(first[1]) if first else None)


@dataclass
class Owner:
    """A weight with its bias. Linear maps are [in, out]; a bare parameter of 2 to 4 axes is as it is stored."""

    path: tuple[str, ...]
    weight: Any = None  # a Tensor, of every owner that owners_of gives
    bias: Tensor | None = None
    raw: bool = False  # a bare nn.Parameter: its orientation is anyone's guess
    measured: bool = False  # of a part made of several weights, from what it gives: changing it changes nothing


def is_norm(part: nn.Module) -> bool:
    """Whether it is a norm, by its class: one with vectors at most, and no attention that has norms and is called so."""
    if isinstance(part, nn.LayerNorm):
        return True
    return "norm" in type(part).__name__.lower() and all(p.squeeze().ndim < 2 for p in part.parameters())


def norm_size(norm: nn.Module) -> int:
    """How many numbers a norm takes, by its weight; 0 where it has none."""
    return next((p.shape[-1] for p in norm.parameters() if p.ndim), 0)


def owners_of(module: nn.Module) -> list[Owner]:
    found: dict[tuple[str, ...], Owner] = {}
    for name, parameter in module.named_parameters():
        *path, leaf = name.split(".")
        holder = module.get_submodule(".".join(path))
        if isinstance(holder, nn.Embedding) or is_norm(holder):
            continue
        raw = leaf not in ("weight", "bias")
        is_bias = "bias" in leaf or (raw and _named_bias(leaf, parameter.ndim))
        if path and leaf.lower() in ("kernel", "w", "b"):  # of a class of one's own: it belongs to what holds it
            is_bias = leaf.lower() == "b"
        elif raw:
            leaf = re.sub(r"_?(weight|bias)$", "", leaf)
            prefix, flags = (r"^b_?(?=[a-z])", re.IGNORECASE) if is_bias else (r"^[wW]_?(?=[a-zA-Z])", 0)
            path = [*path, re.sub(prefix, "", leaf, flags=flags)]
        owner = found.setdefault(tuple(path), Owner(tuple(path)))
        owner.raw = owner.raw or (raw and "in_proj" not in leaf and not leaf.endswith("_proj"))
        value = parameter.detach()
        if is_bias:
            owner.bias = value
        else:
            while not raw and value.ndim > 2 and value.shape[-1] == 1:  # a convolution over single positions
                value = value.squeeze(-1)
            linear = raw or type(holder).__name__ == "Conv1D" or value.ndim != 2
            owner.weight = value if linear and not (raw and not owner.raw) else value.T
    _adopt_biases(found)
    _measure(module, found)
    return [owner for owner in found.values() if owner.weight is not None and owner.weight.ndim in (2, 3, 4)]


def _measure(module: nn.Module, found: dict[tuple[str, ...], Owner]) -> None:
    """A part named as a projection that is one linear map of several weights (LoRA, a reparametrised weight, a class of one's own) is
    one owner, with the weight that its outputs show."""
    for name, part in module.named_modules():
        path = tuple(name.split("."))
        below = [p for p in found if name and p[: len(path)] == path]
        if not below or role_of(path[-1]) is None or type(part) in (nn.Linear, nn.Conv1d, nn.Conv2d):
            continue
        kinds = {role_of(p[-1]) for p in below if len(p) > len(path)} & {"q", "k", "v", "qkv"}
        if kinds - {role_of(path[-1])} or (len(below) == 1 and not found[below[0]].raw):
            continue
        affine = _affine(part, {n for p in below if (w := found[p].weight) is not None for n in w.shape})
        if affine is not None:
            for p in below:
                del found[p]
            found[path] = Owner(path, affine[0], affine[1], measured=True)


@torch.no_grad()
def _affine(part: nn.Module, widths: set[int]) -> tuple[Tensor, Tensor] | None:
    """(weight [in, out], bias [out]) of a part that is an affine map of the last axis; None where it is something else."""
    for width in sorted(widths, reverse=True):
        x = torch.randn(2, 3, width, generator=torch.Generator().manual_seed(width))
        try:
            zero, weight, y = part(torch.zeros(1, 1, width)), part(torch.eye(width)[None]), part(x)
            bias = zero[0, 0]
            if y.ndim == 3 and torch.allclose(y, x @ (weight[0] - bias) + bias, atol=1e-4):
                return weight[0] - bias, bias
        except Exception:
            continue
    return None


def _adopt_biases(found: dict[tuple[str, ...], Owner]) -> None:
    """Biases of q, k or v that are parameters of their own belong to a fused weight without one; what is missing is 0."""
    whole = [
        o.bias
        for path, o in found.items()
        if path and o.weight is None and o.bias is not None and role_of(path[-1]) == "qkv"
    ]
    apart = [
        o for role in "qkv" for path, o in found.items() if path and role_of(path[-1]) == role and o.weight is not None
    ]
    if len(whole) == 1 and len(apart) == 3 and all(o.bias is None and o.weight.ndim == 2 for o in apart):
        sizes = [o.weight.shape[1] for o in apart]
        if sum(sizes) == whole[0].numel():
            for owner, bias in zip(apart, whole[0].split(sizes), strict=True):
                owner.bias = bias
        return
    alone = {role_of(path[-1]): o.bias for path, o in found.items() if path and o.weight is None and o.bias is not None}
    fused = [
        o
        for path, o in found.items()
        if path and role_of(path[-1]) == "qkv" and o.weight is not None and o.bias is None
    ]
    if not set(alone) & set("qkv") or len(fused) != 1 or fused[0].weight.ndim != 2 or fused[0].weight.shape[1] % 3:
        return
    size = fused[0].weight.shape[1] // 3
    parts = [alone.get(role) for role in "qkv"]
    if all(part is None or part.numel() == size for part in parts):
        fused[0].bias = torch.cat(
            [fused[0].weight.new_zeros(size) if part is None else part.flatten() for part in parts]
        )


def _named_bias(name: str, axes: int) -> bool:
    """Whether a bare parameter is a bias by its name: b_q, bq, b_qkv."""
    part = re.fullmatch(r"b_?([a-z]+)", name, re.IGNORECASE)
    return part is not None and (axes == 1 or role_of(part.group(1)) is not None)


def numbers_in(module: nn.Module) -> dict[str, Any]:
    """Whole and real numbers among a module's attributes, its children's and their configurations'."""
    found: dict[str, Any] = {}
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(name, value)
            elif name in ("cfg", "config", "args", "params", "hparams", "conf") and value is not None:
                entries = value if isinstance(value, dict) else _attributes(value)
                for inner, number in entries.items():
                    if isinstance(number, int | float) and not isinstance(number, bool):
                        found.setdefault(inner, number)
    return found


def _attributes(config: Any) -> dict[str, Any]:
    """Its own and those of its classes, which a plain class with values has."""
    found: dict[str, Any] = {}
    for one in (*reversed(type(config).__mro__), config):
        found |= dict(getattr(one, "__dict__", {}))
    return found


def named_heads(module: nn.Module) -> list[int]:
    """Whole numbers among its attributes that are called heads."""
    return list(
        dict.fromkeys(v for n, v in numbers_in(module).items() if isinstance(v, int) and v > 0 and _rank(n) == 0)
    )


def _rank(name: str) -> int:
    """How likely a number of this name is the number of heads: 0 is likeliest."""
    low = name.lower()
    if "head" in low and not re.search("dim|size|kv|key|group|width|channels|d_head", low):
        return 0
    return 1 if low in ("h", "nh", "nq", "n", "num", "n_q", "q_heads") else 2


_SIZE = re.compile(r"_?(head_?(dim|size)|(d|dim|size)_?(per_)?head|d_?k|hd)", re.IGNORECASE)


def head_counts(module: nn.Module, width: int) -> list[int]:
    """Likely numbers of heads, likeliest first."""
    named = sorted((_rank(n), i, v) for i, (n, v) in enumerate(numbers_in(module).items()) if isinstance(v, int))
    certain = [v for r, _, v in named if r == 0 and 0 < v <= width and width % v == 0]
    likely = [
        width // v
        for n, v in numbers_in(module).items()
        if _SIZE.fullmatch(n) and isinstance(v, int) and v > 0 and width % v == 0
    ]
    likely += [v for r, _, v in named if r > 0 and 1 < v < width and width % v == 0]
    rest = [1, *(h for h in range(2, min(width, 65)) if width % h == 0)]
    return list(dict.fromkeys(certain or [*likely, *rest]))
