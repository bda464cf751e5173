"""Heads: how a recipe cuts the width into them, joins them again, and projects what they give."""

from typing import Any

from torch import Tensor

from attnscope.attention import merge_heads, split_heads

Recipe = Any  # the classes stand in recipe.py, which imports these steps
Operands = Any


def split(x: Tensor, heads: int, operands: Operands, recipe: Recipe) -> Tensor:
    """[B, T, H·D] -> [B, H, T, D]."""
    if recipe.batch == "reshaped":
        x = x.reshape(x.shape[1], x.shape[0], x.shape[2]).transpose(0, 1)
    elif recipe.batch == "swapped":
        x = x.transpose(0, 1)
    if operands.order == "size-major":
        x = x.unflatten(-1, (-1, heads)).transpose(-1, -2).flatten(-2)
    if recipe.split == "view":
        return x.reshape(x.shape[0], heads, x.shape[1], -1)
    if recipe.split == "missing":
        return x.unflatten(-1, (heads, -1))
    return split_heads(x, heads)


def join(z: Tensor, operands: Operands, recipe: Recipe) -> Tensor:
    """[B, H, T, D] -> [B, T, M], projected where the recipe says so."""
    if operands.merged != "joined":
        joined = z.mean(1) if operands.merged == "mean" else z.sum(1)
    elif recipe.merge == "view":
        joined = z.reshape(z.shape[0], z.shape[2], -1)
    elif recipe.merge == "turned":
        joined = z.transpose(-1, -2).reshape(z.shape[0], z.shape[2], -1)
    elif recipe.merge in ("reversed", "sizes first"):
        axes = (0, 3, 2, 1) if recipe.merge == "reversed" else (0, 3, 1, 2)
        joined = z.permute(axes).reshape(z.shape[0], z.shape[2], -1)
    elif recipe.merge == "sizes":
        joined = z.permute(0, 2, 3, 1).flatten(2)
    elif recipe.merge == "folded":  # from (heads · batch), taken for (batch · heads)
        joined = merge_heads(z.transpose(0, 1).reshape(z.shape))
    elif recipe.merge == "unfolded":  # the other way
        joined = merge_heads(z.reshape(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1))
    elif recipe.merge == "mean":
        joined = merge_heads(z.mean(1, keepdim=True).expand_as(z))
    elif recipe.split == "missing":
        joined = z.flatten(2)
    else:
        joined = merge_heads(z)
        if operands.order == "size-major":
            joined = joined.unflatten(-1, (z.shape[1], -1)).transpose(-1, -2).flatten(-2)
    if recipe.batch == "swapped":
        joined = joined.transpose(0, 1)
    elif recipe.batch == "reshaped":
        joined = joined.transpose(0, 1).reshape(*joined.shape)
    joined = joined if operands.gate is None else joined * operands.gate
    if operands.finish is not None:
        queries = operands.inputs[0] if operands.finish.of_inputs else operands.query
        return operands.finish(joined, queries, lambda x: projected(x, operands, recipe))
    if recipe.projected == "with_input":
        joined = joined + operands.inputs[0]
    return joined if recipe.projected == "values" else projected(joined, operands, recipe)


def projected(x: Tensor, operands: Operands, recipe: Recipe) -> Tensor:
    """[B, T, H·D] -> [B, T, M] by the output projection, where there is one."""
    if operands.out is None:
        return x
    weight, bias = operands.out
    weight = weight.T if "out" in recipe.turned_weights else weight
    return x @ weight + (0 if bias is None else bias)
