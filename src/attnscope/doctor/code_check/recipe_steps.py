"""The steps of a recipe that have a choice: the triangle, how a mask is imposed, rotary embeddings, norms, the softmax."""

from typing import Any

import torch
from torch import Tensor

from attnscope.attention import rotary

Recipe = Any  # the class stands in recipe.py, which imports these steps


def factor(recipe: Recipe, head_size: int, heads: int, length: int) -> float:
    """What q · k is multiplied by."""
    match recipe.scale:
        case "one" | "after":
            return 1.0
        case "times":
            return head_size**0.5
        case "model":
            return (head_size * heads) ** -0.5
        case "linear":
            return 1 / head_size
        case "length" | "queries":
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


def turn(x: Tensor, recipe: Recipe, which: str) -> Tensor:
    """Rotary embedding of [B, H, T, D], in this recipe's way."""
    if recipe.rotary == "none" or which not in recipe.turns:
        return x
    if recipe.turned and recipe.turned < x.shape[-1]:
        turned = turn(x[..., : recipe.turned], recipe.but(turned=0), which)
        return torch.cat([turned, x[..., recipe.turned :]], dim=-1)
    positions, half = torch.arange(x.shape[-2]), x.shape[-1] // 2
    positions = positions + recipe.shift if which == "query" else positions
    if recipe.power != 1:
        recipe = recipe.but(theta=recipe.theta**recipe.power, power=1.0)
    if recipe.signs in ("back", "keys") and (which == "key" or recipe.signs == "back"):
        positions = -positions
    if recipe.signs == "none":
        return _without_minus(x, positions, recipe)
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


def _without_minus(x: Tensor, positions: Tensor, recipe: Recipe) -> Tensor:
    """x · cos + rotated · sin where the rotated half has lost its minus: no rotation."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * recipe.theta ** (-torch.arange(half).to(x.dtype) / half)
    if recipe.rotary == "half":
        angle, rotated = torch.cat([angle, angle], dim=-1), torch.cat([x[..., half:], x[..., :half]], dim=-1)
    else:
        angle = angle.repeat_interleave(2, dim=-1)
        rotated = torch.stack([x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
    return x * angle.cos().to(x.dtype) + rotated * angle.sin().to(x.dtype)


NORMS = {
    "rms": lambda x: x * x.pow(2).mean(-1, keepdim=True).clamp_min(1e-12).rsqrt(),
    "l2": lambda x: torch.nn.functional.normalize(x, dim=-1),
    "layer": lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:]),
}


def normed_along(x: Tensor, recipe: Recipe) -> Tensor:
    """[B, H, T, D], each vector of the recipe's axis normalised."""
    axis = {"size": -1, "tokens": -2, "heads": 1}[recipe.qk_axis]
    return NORMS[recipe.qk](x.transpose(axis, -1)).transpose(axis, -1)


FEATURES = {  # of queries and of keys, in place of the softmax: linear attention
    "elu": lambda q, k: (torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1),
    "relu": lambda q, k: (q.relu(), k.relu()),
    "exp": lambda q, k: (q.exp(), k.exp()),
    "softmaxes": lambda q, k: (q.softmax(-1), k.softmax(-2)),  # over the size, and over the keys
    "softmaxes scaled": lambda q, k: (q.softmax(-1) * q.shape[-1] ** -0.5, k.softmax(-2)),
}


def linear(dot: Tensor, recipe: Recipe, *masks: Tensor | None) -> Tensor:
    """Weights of linear attention, from the products of features; of those that a mask allows."""
    for mask in masks:
        dot = dot if mask is None else dot * mask
    return dot if recipe.features.startswith("softmaxes") else dot / (dot.sum(-1, keepdim=True) + 1e-6)


def largest(scores: Tensor, most: float) -> Tensor:
    """Scores with all but the `most` largest of each query masked; a number below 1 is a share of the keys."""
    keys = scores.shape[-1]
    count = min(keys, int(most) if most >= 1 else max(1, int(most * keys)))
    return scores.masked_fill(scores < scores.topk(count, dim=-1).values[..., -1:], -torch.inf)


def normed(x: Tensor, norm: Any) -> Tensor:
    """The module's own norm where its size is that of the last axis; other sizes belong to another step."""
    if norm is None:
        return x
    size = next((p.shape[-1] for p in norm.parameters()), x.shape[-1])
    return norm(x) if size == x.shape[-1] else x


RUNNING = ("output", "sums", "both", "inverted", "apart", "averaged")


def in_blocks(scores: Tensor, wrong: str, size: int) -> Tensor:
    """What a softmax in blocks of `size` keys makes of the scores, [B, H, Q, K], where the running `output`, the running `sums` or `both` are
    not rescaled, or are by the `inverted` factor; or where each block has a softmax of its own, added up (`apart`) or `averaged`."""
    blocks = scores.split(size, dim=-1)
    if wrong in ("apart", "averaged"):
        own = torch.cat([block.softmax(-1) for block in blocks], dim=-1)
        return own / (len(blocks) if wrong == "averaged" else 1)
    tops = torch.stack([block.amax(-1) for block in blocks], dim=-1).cummax(-1).values.clamp_min(-1e30)
    then = torch.cat([tops[..., i : i + 1].expand_as(block) for i, block in enumerate(blocks)], dim=-1)
    last = tops[..., -1:]
    if wrong == "inverted":
        then = 2 * then - last
    late, now = (scores - then).exp(), (scores - last).exp()
    return (now if wrong == "sums" else late) / (now if wrong == "output" else late).sum(-1, keepdim=True)


def normalise(scores: Tensor, recipe: Recipe, sinks: Tensor | None) -> Tensor:
    """Softmax over the axis that this recipe takes; a slice without any key is NaN: whatever comes out there is fine."""
    if recipe.running[1]:
        return in_blocks(scores, *recipe.running)
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
        case "none" | "output":
            return scores
        case (
            "sum over queries" | "sum over all"
        ):  # less the largest score of each query, as a softmax of one's own has it
            parts = (scores - scores.amax(-1, keepdim=True)).exp()
            return parts / parts.sum(-2 if recipe.softmax == "sum over queries" else (-2, -1), keepdim=True)
        case "shares":
            return scores / scores.sum(-1, keepdim=True)
        case "everything":
            return torch.softmax(scores.flatten(), dim=0).view(scores.shape)
    if recipe.softmax == "all":
        return torch.softmax(scores.flatten(-2), dim=-1).view(scores.shape)
    return torch.softmax(scores, dim={"keys": -1, "queries": -2, "heads": 1, "batch": 0}[recipe.softmax])
