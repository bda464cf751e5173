"""The steps of a recipe that have a choice: the triangle, how a mask is imposed, rotary embeddings, norms, the softmax."""

from typing import Any

import torch
from torch import Tensor

from attnscope.attention import rotary

Recipe = Any  # the class stands in recipe.py, which imports these steps


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


def turn(x: Tensor, recipe: Recipe, which: str) -> Tensor:
    """Rotary embedding of [B, H, T, D], in this recipe's way."""
    if recipe.rotary == "none" or which not in recipe.turns:
        return x
    if recipe.turned and recipe.turned < x.shape[-1]:
        turned = turn(x[..., : recipe.turned], recipe.but(turned=0), which)
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


NORMS = {
    "rms": lambda x: x * x.pow(2).mean(-1, keepdim=True).clamp_min(1e-12).rsqrt(),
    "l2": lambda x: torch.nn.functional.normalize(x, dim=-1),
    "layer": lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:]),
}


def normed(x: Tensor, norm: Any) -> Tensor:
    """The module's own norm where its size is that of the last axis; other sizes belong to another step."""
    if norm is None:
        return x
    size = next((p.shape[-1] for p in norm.parameters()), x.shape[-1])
    return norm(x) if size == x.shape[-1] else x


def normalise(scores: Tensor, recipe: Recipe, sinks: Tensor | None) -> Tensor:
    """Softmax over the axis that this recipe takes; a slice without any key is NaN: whatever comes out there is fine."""
    if sinks is not None:
        column = sinks.to(scores.dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        return torch.softmax(torch.cat([scores, column], dim=-1), dim=-1)[..., :-1]
    match recipe.softmax:
        case "heads_and_keys":
            joint = scores.transpose(1, 2).flatten(2)
            return torch.softmax(joint, dim=-1).view(scores.transpose(1, 2).shape).transpose(1, 2)
        case "twice":
            return torch.softmax(torch.softmax(scores, dim=-1), dim=-1)
        case "log":
            return torch.log_softmax(scores, dim=-1)
        case "sigmoid":
            return torch.sigmoid(scores)
        case "exp":
            return scores.exp()
        case "none":
            return scores
    if recipe.softmax == "all":
        return torch.softmax(scores.flatten(-2), dim=-1).view(scores.shape)
    return torch.softmax(scores, dim={"keys": -1, "queries": -2, "heads": 1, "batch": 0}[recipe.softmax])
