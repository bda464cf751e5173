"""Attention from a handful of choices, each of them one thing that people get right or wrong.

A `Recipe` with its defaults is the reference of `attnscope.attention`; with one field changed it makes one known mistake,
with two fields changed two. The doctor looks for the recipe that computes what the code under test computes, so pairs of
mistakes need no code of their own. Every choice becomes one argument of the reference's functions or one line here.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attnscope.attention import cap, dot_product, repeat_heads, weighted_sum
from attnscope.doctor.code_check.recipe_heads import join, projected, split
from attnscope.doctor.code_check.recipe_steps import (
    FEATURES,
    factor,
    impose,
    largest,
    linear,
    normalise,
    normed,
    normed_along,
    triangle,
    turn,
)


@dataclass(frozen=True)
class Recipe:
    """How to compute attention. The defaults are right; `causal`, `rotary`, `scaling`, `softcap` are free conventions."""

    softmax: str = "keys"  # keys | queries | heads | batch | all | everything | heads_and_keys | twice | log | sigmoid | exp | none | output
    running: tuple[str, int] = (
        "",
        0,
    )  # a softmax in blocks of so many keys: what is not rescaled when the largest score grows
    before: str = ""  # relu: what else bends the scores | averaged: over the heads
    weights_times: float = 1.0  # what the weights are multiplied by
    weight_axes: str = "kept"  # kept | transposed | averaged (over the heads): how the weights meet the values
    queries: str = "queries"  # queries | keys: what plays the part of the queries
    keys: str = "keys"  # keys | values | queries
    values: str = "values"  # values | keys | queries
    key_axes: str = (
        "transposed"  # transposed | reshaped | viewed: how keys become (size, length); viewed: out of the whole width
    )
    sources: tuple[int, int, int] = (0, 1, 2)  # which inputs queries, keys and values are made of
    turned_weights: tuple[str, ...] = ()  # query | key | value | out: projections whose weights are transposed
    scale: str = "head"  # head: 1/√D | one | after (the softmax) | times: √D | model: 1/√(H·D) | linear: 1/D | length: 1/√K | queries: 1/√Q | declared | own
    causal: bool = False
    offset: int = 0  # of the triangle's diagonal: 0 is right
    polarity: str = "keep"  # keep | drop: the causal mask is read the wrong way round | transposed
    prefix: str = "seen"  # seen | counted: as tokens by the triangle, where keys of the module's own stand before those of the tokens
    causal_how: str = "fill"  # fill | after | multiply | zero | add_keep | add_drop | low
    aligned: str = "upper"  # upper | lower: where the triangle stands when Q < K
    mask_how: str = "fill"
    mask_axis: str = "keys"  # keys | queries: which axis a padding mask removes
    mask_order: str = "batch"  # batch | tiled: which row of a batch's masks a head gets
    fill: float = -math.inf
    split: str = "heads"  # heads | view | missing: the axes of heads and of tokens never change places
    merge: str = "heads"  # heads | view | turned: viewed from (heads, size, length) | reversed, sizes first: from other orders still
    # | sizes: laid out (size, heads) | folded, unfolded: heads and texts taken for one another | mean: over the heads, repeated
    projected: str = "joined"  # joined | values | with_input: what the output projection is applied to
    groups: str = "neighbours"  # neighbours | tiled
    rotary: str = "none"  # none | half | adjacent | angles_adjacent | angles_half
    turns: tuple[str, ...] = ("query", "key")  # what the rotary embedding turns
    theta: float = 10_000.0
    power: float = 1.0  # of theta, beside the right one
    shift: int = 0  # of the queries' positions against the keys'
    signs: str = "both"  # both | back: the other way round | keys: only keys the other way round | none: no minus
    batch: str = "first"  # first | swapped | reshaped
    scaling: float | None = None  # for scale = "declared"
    softcap: float | None = None
    qk: str = "plain"  # plain | rms | l2 | layer: whether queries and keys are normalised before they meet
    qk_axis: str = "size"  # size | tokens | heads: along which axis
    turned_at: str = (
        "heads"  # heads | width: whether the rotary embedding turns each head, or the whole width before it is cut
    )
    turned: int = 0  # dimensions that the rotary embedding turns; 0: all
    window: int = 0  # keys that a query sees, itself included, to the left (causal) or to both sides; 0: all
    most: float = 0  # keys with the largest scores that a query keeps; below 1 a share of all; 0: all
    features: str = ""  # elu | relu | exp | softmaxes: linear attention, with these features in place of the softmax

    def but(self, **changes: Any) -> "Recipe":
        """The recipe with these fields changed. Made thousands of times in a search, so not by way of `dataclasses.replace`."""
        if not changes.keys() <= self.__dict__.keys():
            raise TypeError(f"expected fields of a recipe, got {', '.join(changes.keys() - self.__dict__.keys())}")
        other = object.__new__(Recipe)
        other.__dict__.update(self.__dict__, **changes)
        return other


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
    relative: Any = None  # a Relative: keys and values of each distance
    talk: tuple[Any, Any] = (None, None)  # maps over heads, of the scores and of the weights: each x -> x on [..., H]
    gate: Tensor | None = None  # [B, Q, H·D], multiplies the heads' outputs before they are projected
    merged: str = "joined"  # joined | mean | sum: what becomes of the heads' outputs
    pairs: Any = None  # [B, 2·H, T, D] -> [B, H, T, D], where two heads give one output: differential attention
    finish: Any = None  # (outputs, queries, projection) -> output, where more than the projection follows
    extra: Any = None  # an Extra: keys and values of the module's own, which join those of the tokens
    given: Tensor | None = None  # [B, H, Q, K]: scores that stand in place of the recipe's own
    inputs: tuple[Tensor, ...] = ()  # what the projections take
    projections: tuple[Any, ...] = ()  # to q, k, v: each with a weight [in, out] and a bias
    known: dict[tuple, tuple[Tensor, ...]] = field(default_factory=dict, compare=False)  # what recipes have in common


@dataclass(frozen=True)
class Result:
    """scores and weights [B, H, Q, K]; output as the operands were: [B, T, M] or [B, H, T, D]. NaN: nothing to compare."""

    scores: Tensor
    weights: Tensor
    output: Tensor


def _before_scores(recipe: Recipe, operands: Operands) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values, [B, H, T, D], and q · k, [B, H, Q, K]; kept with the operands, for the next recipe."""
    same = (
        recipe.split,
        recipe.batch,
        recipe.groups,
        (recipe.qk, recipe.qk_axis),
        recipe.rotary,
        recipe.turns,
        (recipe.theta, recipe.power, recipe.shift, recipe.signs),
        recipe.turned,
        recipe.turned_at,
        recipe.projected,
        (recipe.queries, recipe.keys, recipe.values, recipe.key_axes, recipe.turned_weights, recipe.sources),
    )
    if same not in operands.known:
        query, key, value = _heads(recipe, operands)
        operands.known[same] = query, key, value, _dot(recipe, operands, query, key)
    return operands.known[same]  # type: ignore[return-value]


def _dot(recipe: Recipe, operands: Operands, query: Tensor, key: Tensor) -> Tensor:
    """q · k, [B, H, Q, K], with keys turned to (size, length) by a transpose or, wrongly, by a reshape."""
    if recipe.key_axes == "transposed":
        return dot_product(query, key)
    batch, heads, length, size = key.shape
    if recipe.key_axes == "viewed":
        viewed = operands.key.reshape(batch, operands.kv_heads, size, length)
        return query @ repeat_heads(viewed, heads)
    return query @ key.reshape(batch, heads, size, length)


def _flat(recipe: Recipe, operands: Operands) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as they were projected, [B, T, H·D]; some of them by transposed weights."""
    flat = [operands.query, operands.key, operands.value]
    for i, name in enumerate(("query", "key", "value")):
        part = operands.projections[i] if operands.projections else None
        if name in recipe.turned_weights and part is not None:
            flat[i] = part.transposed()(operands.inputs[recipe.sources[i]])
        elif recipe.sources[i] != i and part is not None:
            flat[i] = part(operands.inputs[recipe.sources[i]])
    return flat[0], flat[1], flat[2]


def _heads(recipe: Recipe, operands: Operands) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values by head, normalised, repeated and turned as the recipe says."""
    if operands.heads:
        whole = [
            norm if n > 1 else None for norm, n in zip(operands.norms, (operands.heads, operands.kv_heads), strict=True)
        ]
        query, key, value = _flat(recipe, operands)
        if recipe.turned_at == "width":
            query, key = (turn(x[:, None], recipe, part)[:, 0] for x, part in ((query, "query"), (key, "key")))
        values = projected(value, operands, recipe) if recipe.projected == "values" else value
        flat = (normed(query, whole[0]), normed(key, whole[1]), values)
        if recipe.split in ("fused_view", "fused_first"):
            fused = torch.cat(flat, dim=-1)
            rest = (operands.heads, fused.shape[1], fused.shape[2] // 3 // operands.heads)
            first = recipe.split == "fused_first"
            shape = (3, fused.shape[0], *rest) if first else (fused.shape[0], 3, *rest)
            query, key, value = fused.reshape(shape).unbind(0 if first else 1)
        else:
            counts = (operands.heads, operands.kv_heads, operands.kv_heads)
            query, key, value = (split(x, n, operands, recipe) for x, n in zip(flat, counts, strict=True))
        query, key = normed(query, operands.norms[0]), normed(key, operands.norms[1])
    else:
        query, key, value = operands.query, operands.key, operands.value
        if recipe.batch == "swapped":
            query, key, value = (x.transpose(0, 2) for x in (query, key, value))
    heads = query.shape[1]
    if heads % key.shape[1]:
        raise RuntimeError(f"{heads} query heads do not fit {key.shape[1]} key heads")
    if recipe.groups in ("tiled", "keys_tiled"):
        key = key.repeat(1, heads // key.shape[1], 1, 1)
    if recipe.groups in ("tiled", "values_tiled"):
        value = value.repeat(1, heads // value.shape[1], 1, 1)
    key, value = repeat_heads(key, heads), repeat_heads(value, heads)
    parts = {"queries": query, "keys": key, "values": value}
    query, key, value = parts[recipe.queries], parts[recipe.keys], parts[recipe.values]
    batches = {len(query), len(key), len(value)}
    if len(batches) > 1 or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"q of {tuple(query.shape)}, k of {tuple(key.shape)} and v of {tuple(value.shape)} do not fit"
        )
    if recipe.qk != "plain":
        query, key = (normed_along(x, recipe) for x in (query, key))
    if recipe.turned_at == "width":
        return query, key, value
    return turn(query, recipe, "query"), turn(key, recipe, "key"), turn(value, recipe, "value")


def _talked(x: Tensor, talk: Any) -> Tensor:
    """[B, H, Q, K] after a map over its heads, where there is one."""
    return x if talk is None else talk(x.movedim(1, -1)).movedim(-1, 1)


@torch.no_grad()
def compute(recipe: Recipe, operands: Operands, allowed: Tensor | None = None) -> Result:
    """Attention by this recipe. `allowed` is the mask that was passed in: [B or 1, H or 1, Q, K], True: may look."""
    query, key, value, dot = _before_scores(recipe, operands)
    heads = query.shape[1]
    beside = 0.0
    if operands.relative is not None:
        beside = operands.relative.scores(query, key.shape[-2])
        dot, beside = (dot + beside, 0.0) if operands.relative.scaled else (dot, beside)
    if recipe.features:
        dot = dot_product(*FEATURES[recipe.features](query, key))
    if operands.factors is not None and recipe.scale == "own":
        scores = dot * operands.factors[:, None, None]
    else:
        length = query.shape[-2] if recipe.scale == "queries" else key.shape[-2]
        scores = dot * factor(recipe, query.shape[-1], heads, length)
    scores = scores + beside
    scores = cap(_talked(scores, operands.talk[0]), recipe.softcap)
    scores = scores.relu() if recipe.before == "relu" else scores
    scores = scores.mean(1, keepdim=True).expand_as(scores) if recipe.before == "averaged" else scores
    scores = scores if operands.bias is None else scores + operands.bias
    if operands.given is not None:
        if operands.given.shape != scores.shape:
            raise RuntimeError(f"scores of {tuple(operands.given.shape)} are not those of {tuple(scores.shape)}")
        scores = operands.given
    if allowed is not None:
        allowed = allowed.expand(query.shape[0], heads, *scores.shape[-2:])
        if recipe.mask_order == "tiled":
            order = torch.arange(query.shape[0] * heads) % query.shape[0]
            allowed = allowed[:, :1].flatten(0, 1)[order].view(query.shape[0], heads, *scores.shape[-2:])
    own = None
    if recipe.causal:
        later = operands.extra.keys.shape[2] if operands.extra is not None and recipe.prefix == "counted" else 0
        shifted = recipe.but(offset=recipe.offset - later)
        own = triangle(shifted, *scores.shape[-2:]) if operands.pattern is None else operands.pattern
    if recipe.window:
        apart = torch.arange(scores.shape[-2])[:, None] - torch.arange(scores.shape[-1])
        near = apart.abs() < recipe.window
        own = near if own is None else own & near
    scores = impose(scores, own, recipe.causal_how, recipe.fill)
    scores = impose(scores, allowed, recipe.mask_how, recipe.fill)
    scores = largest(scores, recipe.most) if recipe.most else scores

    added: Tensor | float = 0.0
    if recipe.features:
        weights = linear(dot, recipe, own, allowed)
    elif operands.extra is not None:
        scale = factor(recipe, query.shape[-1], heads, key.shape[-2])
        weights, added = operands.extra.weights(
            scores, query, scale, lambda x: normalise(x, recipe, operands.sinks), counted=recipe.prefix == "counted"
        )
    else:
        weights = normalise(scores, recipe, operands.sinks)
    if own is not None and recipe.causal_how == "after":
        weights = weights * own
    if allowed is not None and recipe.mask_how == "after":
        weights = weights * allowed
    elif allowed is not None and recipe.mask_how == "after_fill":
        weights = torch.where(allowed, weights, recipe.fill if math.isfinite(recipe.fill) else -1e9)
    weights = _talked(weights, operands.talk[1])
    weights = weights * query.shape[-1] ** -0.5 if recipe.scale == "after" else weights
    weights = weights if recipe.weights_times == 1 else weights * recipe.weights_times
    if recipe.weight_axes == "averaged":
        weights = weights.mean(1, keepdim=True).expand_as(weights)
    elif recipe.weight_axes == "transposed":
        if weights.shape[-1] != weights.shape[-2]:
            raise RuntimeError(f"weights of {tuple(weights.shape[-2:])} cannot be transposed")
        weights = weights.mT
    output = weighted_sum(weights, value) + added
    output = output if operands.pairs is None else operands.pairs(output)
    output = output.softmax(dim=-1) if recipe.softmax == "output" else output
    if operands.relative is not None:
        output = output + operands.relative.outputs(weights, value.shape[-1])
    if operands.heads:
        return Result(scores, weights, join(output, operands, recipe))
    if recipe.merge == "view":
        joined = output.reshape(output.shape[0], output.shape[2], -1)
        output = joined.unflatten(-1, (heads, -1)).transpose(1, 2)
    return Result(scores, weights, output.transpose(0, 2) if recipe.batch == "swapped" else output)
