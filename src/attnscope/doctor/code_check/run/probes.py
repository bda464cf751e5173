"""What the code under test gets: Gaussian numbers of distinct prime sizes, masks of every convention, and the extremes.

Sizes differ from each other and from everything likely in user code, so that no swapped axis can pass unseen. All is
deterministic: a probe's numbers depend on its name alone.
"""

import math
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

BATCH, HEADS, QUERIES, KEYS, SIZE = 2, 3, 5, 7, 11


def gaussian(name: str, *shape: int) -> Tensor:
    """Unit normal numbers that depend on `name` and `shape` alone."""
    generator = torch.Generator().manual_seed(zlib.crc32(repr((name, shape)).encode()))
    return torch.randn(*shape, generator=generator)


@dataclass(frozen=True)
class Form:
    """The shape in which a mask is handed over, and the axes it has."""

    name: str
    padding: bool  # (batch, key): one row of allowed keys for each text

    def shaped(self, mask: Tensor) -> Tensor | None:
        """From [B, 1, Q, K]; None where this form cannot say it."""
        match self.name:
            case "(query, key)":
                return mask[0, 0]
            case "(batch, query, key)":
                return mask[:, 0]
            case "(batch, 1, query, key)":
                return mask
            case "(batch, key)" | "(batch,)":
                return mask[:, 0, 0]
            case "(batch, 1, 1, key)":
                return mask[:, :, :1]
            case "(batch, 1, key)":
                return mask[:, 0, :1]
        return None


FORMS = (
    Form("(batch, query, key)", padding=False),
    Form("(batch, 1, query, key)", padding=False),
    Form("(query, key)", padding=False),
    Form("(batch, key)", padding=True),
    Form("(batch, 1, 1, key)", padding=True),
    Form("(batch, 1, key)", padding=True),
)

LENGTHS = Form("(batch,)", padding=True)
FULL = Form("(batch, heads, query, key)", False)


@dataclass(frozen=True)
class Convention:
    """How a mask says what may be seen."""

    name: str
    kind: str  # bool | number | whole | additive | lengths
    keep: bool = True  # True or 1 means keep
    low: float = -math.inf

    def encode(self, allowed: Tensor) -> Tensor:
        if self.kind == "additive":
            return torch.zeros(allowed.shape).masked_fill(~allowed, self.low)
        if self.kind == "lengths":
            return allowed.sum(dim=-1)
        mask = allowed if self.keep else ~allowed
        return mask if self.kind == "bool" else mask.float() if self.kind == "number" else mask.long()


CONVENTIONS = (
    Convention("boolean, True = keep", "bool"),
    Convention("boolean, True = drop", "bool", keep=False),
    Convention("1 = keep, 0 = drop", "number"),
    Convention("1 = keep, 0 = drop (whole numbers)", "whole"),
    Convention("1 = drop, 0 = keep", "number", keep=False),
    Convention("added to the scores: 0 = keep, -inf = drop", "additive"),
    Convention("added to the scores: 0 = keep, -1e9 = drop", "additive", low=-1e9),
)


LENGTH = Convention("the number of keys that may be seen", "lengths")


def allowed_pairs(batch: int, queries: int, keys: int, *, shared: bool) -> Tensor:
    """[B, 1, Q, K] at random; the diagonal, and key 0, stay allowed, so that no row is empty, under a triangle either."""
    allowed = gaussian("mask", batch, 1, queries, keys) > 0
    if shared:
        allowed = allowed[:1].expand(batch, -1, -1, -1).clone()
    index = torch.arange(min(queries, keys))
    allowed[:, :, index, index] = True
    allowed[..., 0] = True
    return allowed


def allowed_keys(batch: int, queries: int, keys: int) -> Tensor:
    """[B, 1, Q, K]: text b ends b + 1 keys early, the last text but none."""
    length = keys - 1 - torch.arange(batch) % 3
    length[-1] = keys
    seen = torch.arange(keys) < length[:, None]  # [B, K]
    return seen[:, None, None, :].expand(batch, 1, queries, keys).clone()
