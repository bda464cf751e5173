"""The distance between patches of an image, in its rows and columns and not along the row of tokens."""

import math

import pytest
import torch

import attnscope
from attnscope.statistics.compute import sums_of
from attnscope.statistics.pairs import Pairs
from attnscope.tracing.grids import grid_from
from attnscope.tracing.tokens import Tokens

ROWS, COLUMNS, FIRST = 3, 5, 2


def test_it_is_the_straight_line_between_patches_of_one_image() -> None:
    each = ROWS * COLUMNS
    names = ["[CLS]", "[REG 0]", *(f"patch {n}" for n in range(2 * each))]
    grids = (grid_from(FIRST, ROWS, COLUMNS), grid_from(FIRST + each, ROWS, COLUMNS))
    tokens = Tokens(tuple(names), special=(True,) * FIRST + (False,) * 2 * each, grids=grids)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, len(names), 7, generator=generator) for _ in range(3))
    site = attnscope.Trace.from_qkv(q, k, v, tokens=names).sites[0]
    sums = sums_of(site, Pairs(site, tokens, tokens), 8)
    found = sums.finish().statistics
    assert "distance" not in found, "how many tokens lie between two patches says nothing"
    weights = site.weights().double()
    for head in range(2):
        total = mass = 0.0
        for a in range(2 * each):
            for b in range(2 * each):
                if a // each != b // each:
                    continue
                (row, column), (other, beside) = divmod(a % each, COLUMNS), divmod(b % each, COLUMNS)
                weight = float(weights[head, FIRST + a, FIRST + b])
                total, mass = total + weight * math.dist((row, column), (other, beside)), mass + weight
        assert found["patch_distance"][head] == pytest.approx(total / mass, rel=1e-4)


def test_beside_a_text_tokens_still_stand_in_a_row() -> None:
    tokens = Tokens(("the", "cat", "p", "p", "p", "p"), grids=(grid_from(2, 2, 2),))
    q = torch.randn(1, 2, 6, 5, generator=torch.Generator().manual_seed(1))
    site = attnscope.Trace.from_qkv(q, q, q, tokens=tokens.strings).sites[0]
    both = sums_of(site, Pairs(site, tokens, tokens), 8).finish().statistics
    assert {"distance", "patch_distance"} <= both.keys()
