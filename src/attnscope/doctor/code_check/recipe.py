"""Attention from a handful of choices, each of them one thing that people get right or wrong.

A `Recipe` with its defaults is the reference of `attnscope.attention`; with one field changed it makes one known mistake,
with two fields changed two. The doctor looks for the recipe that computes what the code under test computes, so pairs of
mistakes need no code of their own. Every choice becomes one argument of the reference's functions or one line here.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from attnscope.attention import cap, dot_product, merge_heads, repeat_heads, rotary, split_heads, weighted_sum


@dataclass(frozen=True)
class Recipe:
    """How to compute attention. The defaults are right; `causal`, `rotary`, `scaling`, `softcap` are free conventions."""

    softmax: str = "keys"  # keys | queries | heads | batch | all
    scale: str = (
        "head"  # head: 1/√D | one | times: √D | model: 1/√(H·D) | linear: 1/D | length: 1/√T | declared | twice
    )
    causal: bool = False
    offset: int = 0  # of the triangle's diagonal: 0 is right
    polarity: str = "keep"  # keep | drop: the causal mask is read the wrong way round | transposed
    causal_how: str = "fill"  # fill | after | multiply | zero | add_keep | add_drop | low
    aligned: str = "upper"  # upper | lower: where the triangle stands when Q < K
    mask_how: str = "fill"
    mask_axis: str = "keys"  # keys | queries: which axis a padding mask removes
    mask_order: str = "batch"  # batch | tiled: which row of a batch's masks a head gets
    fill: float = -math.inf
    split: str = "heads"  # heads | view
    merge: str = "heads"  # heads | view
    projected: str = "joined"  # joined | values: what the output projection is applied to
    groups: str = "neighbours"  # neighbours | tiled
    rotary: str = "none"  # none | half | adjacent | angles_adjacent | angles_half
    turns: tuple[str, ...] = ("query", "key")  # what the rotary embedding turns
    theta: float = 10_000.0
    batch: str = "first"  # first | swapped | reshaped
    scaling: float | None = None  # for scale = "declared"
    softcap: float | None = None
    qk: str = "plain"  # plain | rms | l2 | layer: whether queries and keys are normalised before they meet
    turned: int = 0  # dimensions that the rotary embedding turns; 0: all
    window: int = 0  # keys that a query sees, itself included, to the left (causal) or to both sides; 0: all

    def but(self, **changes: Any) -> "Recipe":
        return replace(self, **changes)


@dataclass(frozen=True)
class Operands:
    """What goes in: q, k, v as [B, T, H·D] where `heads` are still to be split, else [B, H, T, D]."""

    query: Tensor
    key: Tensor
    value: Tensor
    heads: int = 0  # 0: already split
    kv_heads: int = 0
    out: tuple[Tensor, Tensor | None] | None = None  # output projection: [H·D, M], [M]
    sinks: Tensor | None = None  # [H]
    order: str = "head-major"  # or "size-major": the width is laid out [D, H]
    norms: tuple[Any, Any] = (None, None)  # the module's own norms of queries and of keys
    bias: Tensor | None = None  # [H or 1, Q, K], added to the scores
    pattern: Tensor | None = None  # [H or 1, Q, K], True: may look; stands where the triangle would
    factors: Tensor | None = None  # [H], for scale = "own"
    known: dict[tuple, tuple[Tensor, ...]] = field(default_factory=dict, compare=False)  # what recipes have in common


@dataclass(frozen=True)
class Result:
    """scores and weights [B, H, Q, K]; output as the operands were: [B, T, M] or [B, H, T, D]. NaN: nothing to compare."""

    scores: Tensor
    weights: Tensor
    output: Tensor


def factor(recipe: Recipe, head_size: int, heads: int, length: int) -> float:
    """What q · k is multiplied by."""
    match recipe.scale:
        case "one":
            return 1.0
        case "times":
            return head_size**0.5
        case "model":
            return (head_size * heads) ** -0.5
        case "linear":
            return 1 / head_size
        case "length":
            return length**-0.5
        case "declared" | "own":
            return float(recipe.scaling or 1.0)
    return head_size**-0.5


def triangle(recipe: Recipe, queries: int, keys: int) -> Tensor:
    """[Q, K], True where this recipe lets a query look."""
    shift = keys - queries if recipe.aligned == "lower" else 0
    right = torch.ones(queries, keys, dtype=torch.bool).tril(recipe.offset + shift)
    if recipe.polarity == "transposed":
        return torch.ones(queries, keys, dtype=torch.bool).triu(recipe.offset + shift)
    return ~right if recipe.polarity == "drop" else right


def impose(scores: Tensor, allowed: Tensor | None, how: str, fill: float) -> Tensor:
    """The mask, before the softmax (`after` comes later)."""
    if allowed is None or how in ("after", "after_fill"):
        return scores
    match how:
        case "multiply":
            return scores * allowed
        case "zero":
            return torch.where(allowed, scores, 0.0)
        case "add_keep":
            return scores + allowed.to(scores.dtype)
        case "add_drop":
            return scores + (~allowed).to(scores.dtype)
        case "lower":  # the sentinel is added
            return torch.where(allowed, scores, scores + fill)
        case "minus_one":
            return torch.where(allowed, scores, -1.0)
    return torch.where(allowed, scores, fill)


def _turn(x: Tensor, recipe: Recipe, which: str) -> Tensor:
    """Rotary embedding of [B, H, T, D], in this recipe's way."""
    if recipe.rotary == "none" or which not in recipe.turns:
        return x
    if recipe.turned and recipe.turned < x.shape[-1]:
        turned = _turn(x[..., : recipe.turned], recipe.but(turned=0), which)
        return torch.cat([turned, x[..., recipe.turned :]], dim=-1)
    positions, half = torch.arange(x.shape[-2]), x.shape[-1] // 2
    if recipe.rotary == "half":
        return rotary(x, positions, recipe.theta)
    if recipe.rotary == "adjacent":  # pair (2d, 2d + 1): lay pairs out by halves, turn, lay back
        there = torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1)
        turned = rotary(there, positions, recipe.theta)
        return torch.stack([turned[..., :half], turned[..., half:]], dim=-1).flatten(-2)
    angle = positions[:, None] * recipe.theta ** (-torch.arange(half).to(x.dtype) / half)
    if recipe.rotary == "angles_adjacent":  # angles for pairs (2d, 2d + 1), rotation by halves
        angle = angle.repeat_interleave(2, dim=-1)
        rotated = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    else:  # angles for halves, rotation of adjacent pairs
        angle = torch.cat([angle, angle], dim=-1)
        rotated = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
    return x * angle.cos().to(x.dtype) + rotated * angle.sin().to(x.dtype)


_NORMS = {
    "rms": lambda x: x * x.pow(2).mean(-1, keepdim=True).clamp_min(1e-12).rsqrt(),
    "l2": lambda x: torch.nn.functional.normalize(x, dim=-1),
    "layer": lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:]),
}


def _normed(x: Tensor, norm: Any) -> Tensor:
    """The module's own norm where its size is that of the last axis; other sizes belong to another step."""
    if norm is None:
        return x
    size = next((p.shape[-1] for p in norm.parameters()), x.shape[-1])
    return norm(x) if size == x.shape[-1] else x


def _split(x: Tensor, heads: int, operands: Operands, recipe: Recipe) -> Tensor:
    if recipe.batch == "reshaped":
        x = x.reshape(x.shape[1], x.shape[0], x.shape[2]).transpose(0, 1)
    elif recipe.batch == "swapped":
        x = x.transpose(0, 1)
    if operands.order == "size-major":
        x = x.unflatten(-1, (-1, heads)).transpose(-1, -2).flatten(-2)
    if recipe.split == "view":
        return x.reshape(x.shape[0], heads, x.shape[1], -1)
    return split_heads(x, heads)


def _join(z: Tensor, operands: Operands, recipe: Recipe) -> Tensor:
    if recipe.merge == "view":
        joined = z.reshape(z.shape[0], z.shape[2], -1)
    else:
        joined = merge_heads(z)
        if operands.order == "size-major":
            joined = joined.unflatten(-1, (z.shape[1], -1)).transpose(-1, -2).flatten(-2)
    if recipe.batch == "swapped":
        joined = joined.transpose(0, 1)
    elif recipe.batch == "reshaped":
        joined = joined.transpose(0, 1).reshape(*joined.shape)
    return _projected(joined, operands) if recipe.projected == "joined" else joined


def _projected(x: Tensor, operands: Operands) -> Tensor:
    """[B, T, H·D] -> [B, T, M] by the output projection, where there is one."""
    if operands.out is None:
        return x
    weight, bias = operands.out
    return x @ weight + (0 if bias is None else bias)


def _before_scores(recipe: Recipe, operands: Operands) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values, [B, H, T, D], and q · k, [B, H, Q, K]; kept with the operands, for the next recipe."""
    same = (
        recipe.split,
        recipe.batch,
        recipe.groups,
        recipe.qk,
        recipe.rotary,
        recipe.turns,
        recipe.theta,
        recipe.turned,
        recipe.projected,
    )
    if same not in operands.known:
        query, key, value = _heads(recipe, operands)
        operands.known[same] = query, key, value, dot_product(query, key)
    return operands.known[same]  # type: ignore[return-value]


def _heads(recipe: Recipe, operands: Operands) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values by head, normalised, repeated and turned as the recipe says."""
    if operands.heads:
        whole = [
            norm if n > 1 else None for norm, n in zip(operands.norms, (operands.heads, operands.kv_heads), strict=True)
        ]
        values = _projected(operands.value, operands) if recipe.projected == "values" else operands.value
        flat = (_normed(operands.query, whole[0]), _normed(operands.key, whole[1]), values)
        if recipe.split == "fused_view":
            fused = torch.cat(flat, dim=-1)
            query, key, value = fused.reshape(fused.shape[0], 3, operands.heads, fused.shape[1], -1).unbind(1)
        else:
            counts = (operands.heads, operands.kv_heads, operands.kv_heads)
            query, key, value = (_split(x, n, operands, recipe) for x, n in zip(flat, counts, strict=True))
        query, key = _normed(query, operands.norms[0]), _normed(key, operands.norms[1])
    else:
        query, key, value = operands.query, operands.key, operands.value
        if recipe.batch == "swapped":
            query, key, value = (x.transpose(0, 2) for x in (query, key, value))
    heads = query.shape[1]
    if recipe.groups in ("tiled", "keys_tiled"):
        key = key.repeat(1, heads // key.shape[1], 1, 1)
    if recipe.groups in ("tiled", "values_tiled"):
        value = value.repeat(1, heads // value.shape[1], 1, 1)
    key, value = repeat_heads(key, heads), repeat_heads(value, heads)
    if recipe.qk != "plain":
        query, key = _NORMS[recipe.qk](query), _NORMS[recipe.qk](key)
    return _turn(query, recipe, "query"), _turn(key, recipe, "key"), _turn(value, recipe, "value")


@torch.no_grad()
def compute(recipe: Recipe, operands: Operands, allowed: Tensor | None = None) -> Result:
    """Attention by this recipe. `allowed` is the mask that was passed in: [B or 1, H or 1, Q, K], True: may look."""
    query, key, value, dot = _before_scores(recipe, operands)
    heads = query.shape[1]
    if operands.factors is not None and recipe.scale == "own":
        scores = dot * operands.factors[:, None, None]
    else:
        scores = dot * factor(recipe, query.shape[-1], heads, key.shape[-2])
    scores = cap(scores, recipe.softcap)
    scores = scores if operands.bias is None else scores + operands.bias
    if allowed is not None:
        allowed = allowed.expand(query.shape[0], heads, *scores.shape[-2:])
        if recipe.mask_order == "tiled":
            order = torch.arange(query.shape[0] * heads) % query.shape[0]
            allowed = allowed[:, :1].flatten(0, 1)[order].view(query.shape[0], heads, *scores.shape[-2:])
    own = None
    if recipe.causal:
        own = triangle(recipe, *scores.shape[-2:]) if operands.pattern is None else operands.pattern
    if recipe.window:
        apart = torch.arange(scores.shape[-2])[:, None] - torch.arange(scores.shape[-1])
        near = apart.abs() < recipe.window
        own = near if own is None else own & near
    scores = impose(scores, own, recipe.causal_how, recipe.fill)
    scores = impose(scores, allowed, recipe.mask_how, recipe.fill)

    weights = _normalise(scores, recipe, operands.sinks)
    if own is not None and recipe.causal_how == "after":
        weights = weights * own
    if allowed is not None and recipe.mask_how == "after":
        weights = weights * allowed
    elif allowed is not None and recipe.mask_how == "after_fill":
        weights = torch.where(allowed, weights, -1e9)
    output = weighted_sum(weights, value)
    if operands.heads:
        return Result(scores, weights, _join(output, operands, recipe))
    return Result(scores, weights, output.transpose(0, 2) if recipe.batch == "swapped" else output)


def _normalise(scores: Tensor, recipe: Recipe, sinks: Tensor | None) -> Tensor:
    """Softmax over the axis that this recipe takes; a slice without any key is NaN: whatever comes out there is fine."""
    if sinks is not None:
        column = sinks.to(scores.dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        return torch.softmax(torch.cat([scores, column], dim=-1), dim=-1)[..., :-1]
    if recipe.softmax == "all":
        return torch.softmax(scores.flatten(-2), dim=-1).view(scores.shape)
    return torch.softmax(scores, dim={"keys": -1, "queries": -2, "heads": 1, "batch": 0}[recipe.softmax])
