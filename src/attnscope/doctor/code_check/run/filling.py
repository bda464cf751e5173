"""What the parameters get that are neither q, k, v nor a mask: sizes, switches, rotary tables, positions.

A name says of what kind a parameter is. Where several values are possible (the cosines of halves or of neighbouring pairs), each is
tried, and the one under which the code agrees with a recipe was right.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Fills = tuple[tuple[str, str], ...]  # parameters, and the kind of value that each gets
MOST = 14  # combinations that are tried

_ROTARY = re.compile(r"^(cos|sin)(_\w+|ines?)?$|^(freqs?|rope|rotary)(_\w+)?$|^position_embeddings$", re.IGNORECASE)
_TABLES = ("halves", "halves by text", "once", "pairs", "none turned")
_PLACES = re.compile(r"^(\w+_)?(pos|positions?|position_ids?|input_pos|pos_ids?)$", re.IGNORECASE)
_STARTS = re.compile(
    r"^(start|begin|cur(rent)?|cache|past)_?(pos|position|index|len|length)?$|offset|^(layer|step|block)(_?(idx|index|id))?$"
)
_ADDED = re.compile(
    r"^((query|key|x|q|k)_)?(pos|pe|positional|position)(_?(emb\w*|enc\w*|bias|query|key))?$|^pos_\w+$", re.IGNORECASE
)
_GRIDS = re.compile(
    r"^(hw(_shape)?|grid(_size)?|spatial_(shape|size)|(input_|patch(es)?_)?resolution|x_size)$", re.IGNORECASE
)
_SIDES = (("h", "w"), ("height", "width"), ("rows", "cols"), ("rows", "columns"), ("n_rows", "n_cols"))
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (  # by what the name says; the first that fits
    (r"^(?!.*mask).*drop|dropout", ("zero",)),  # a drop_mask is a mask
    (r"^p$|^eps$|^epsilon$|_p$", ("zero",)),
    (r"^(d_?model|embed_dim|emb_?\w*|hidden_?\w*|model_\w+|width|dim|n_embd)$", ("model size",)),
    (r"^(d|dk|d_k|d_q|dq|dh|d_h|d_head|head_?dim|head_size|size|d_key|key_dim|dim_\w+|\w*_dim)$", ("head size",)),
    (r"^(\w+_)?scal(e|ing)(_factor)?$", ("scale",)),
    (r"^sqrt_\w+$|^temp(erature)?$", ("root",)),
    (r"train|return|need|output|^use_|_only$|^is_|scaled", ("false", "true")),
    (r"^(generator|rng|past\w*|cache\w*|kv_?cache|layer_past|state)$", ("none",)),
)


def kinds_of(name: str, must: bool) -> tuple[str, ...] | None:
    """Kinds of values for a parameter, likeliest first. None where its name says nothing; then GUESSES remain. A parameter with a
    default (`must` false) gets one only where the default may be no value at all, as with rotary tables."""
    if _ROTARY.match(name):
        return (*_TABLES, "none") if must else ("none", *_TABLES)
    if not must:
        return None
    if _STARTS.search(name):
        return ("none",) if re.search("past|cache$", name) else ("whole zero",)
    if _PLACES.match(name) or _ADDED.match(name):
        return ("zeros like x", "places", "places by text", "none")
    if _GRIDS.match(name):
        return ("grid",)
    low = name.lower()
    return next((kinds for pattern, kinds in _KINDS if re.search(pattern, low)), None)


def sides_in(names: Sequence[str]) -> dict[str, str]:
    """The two parameters that say how many rows and columns of tokens a picture has, with their kinds; none where there are not two."""
    low = {name.lower(): name for name in names}
    found = next((pair for pair in _SIDES if pair[0] in low and pair[1] in low), ())
    return {low[name]: kind for name, kind in zip(found, ("rows", "columns"), strict=False)}


GUESSES = ("none", "zeros like x", "whole zero", "false", "true")  # for names that say nothing


def combinations(fills: dict[str, tuple[str, ...]]) -> Iterator[Fills]:
    """One value for each parameter, in every combination; parameters with the same kinds (cos and sin) go together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, kinds in fills.items():
        groups.setdefault(kinds, []).append(name)
    for chosen in itertools.islice(itertools.product(*groups), MOST):
        yield tuple((name, kind) for kind, names in zip(chosen, groups.values(), strict=True) for name in names)


def value(name: str, kind: str, x: Tensor, given: Tensor, size: int, heads: int) -> Any:
    """What `name` gets. x [B, (H,) T, D]: the queries; given: the same as the code gets them; size: of a head."""
    length = x.shape[-2]
    match kind:
        case "none":
            return None
        case "false" | "true":
            return kind == "true"
        case "zero":
            return 0.0
        case "whole zero":
            return 0
        case "head size":
            return size
        case "model size":
            return size * heads
        case "rows" | "columns" | "grid":
            rows = max(n for n in range(1, int(length**0.5) + 1) if length % n == 0)
            return {"rows": rows, "columns": length // rows}.get(kind, (rows, length // rows))
        case "scale":
            return size**-0.5
        case "root":
            return size**0.5
        case "zeros like x":
            return torch.zeros_like(given)
        case "places":
            return torch.arange(length)
        case "places by text":
            return torch.arange(length).expand(x.shape[0], -1)
    return _table(name, kind, length, size)


def _table(name: str, kind: str, length: int, size: int) -> Any:
    """Cosines and sines, or complex numbers, for the places 0 to length - 1 and a head of `size` dimensions, base 10,000."""
    half = size // 2
    angle = torch.arange(length)[:, None] * 1e4 ** (-torch.arange(half) / max(half, 1))
    if kind == "none turned":
        angle = angle * 0
    if re.match("freqs?_?c|freqs?_?complex", name) or (name.startswith("freq") and kind == "halves"):
        return torch.polar(torch.ones_like(angle), angle)
    if kind == "once":
        full = angle
    elif kind == "pairs":
        full = angle.repeat_interleave(2, dim=-1)
    else:
        full = torch.cat([angle, angle], dim=-1)
    full = full[None] if kind == "halves by text" else full
    if name.lower().startswith("cos"):
        return full.cos()
    if name.lower().startswith("sin"):
        return full.sin()
    return full if name.startswith("freq") else (full.cos(), full.sin())


def of_a_picture(fills: dict[str, tuple[str, ...]]) -> bool:
    """Whether a parameter takes the sides of a picture."""
    return any(kind in ("rows", "columns", "grid") for kinds in fills.values() for kind in kinds)


def turns(name: str) -> bool:
    """Whether this parameter takes a rotary table, so that a head's size must be even."""
    return _ROTARY.match(name) is not None
