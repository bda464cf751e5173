"""Heads that a page leaves out have coarse pictures: the largest weight of each block, as many cells as fit."""

import re

import pytest
import torch

from attnscope.payload.codec import read
from attnscope.statistics import thumbnails
from attnscope.tracing.masks import MaskRule
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

LAYERS, H, T = 3, 5, 211


def made(size: int) -> Trace:
    generator = torch.Generator().manual_seed(13)
    sites = []
    for layer in range(LAYERS):
        q, k, v = (torch.randn(H, T, size, generator=generator) * 1.7 for _ in range(3))
        q[1, 17, 1] = torch.nan
        sites.append(Site(q, k, v, size**-0.5, mask=MaskRule(upper=0), layer=layer))
    return Trace(tuple(sites), Tokens(tuple(f"w{n}" for n in range(T))))


@pytest.fixture(scope="module")
def trace() -> Trace:
    return made(61)


def blocks_of(weights: torch.Tensor, side: int) -> list[list[float]]:
    """By definition: the largest weight of each patch, −1 where causality hides all of it, NaN where one is NaN, which takes its whole row."""
    edges, rows, found = [n * T // side for n in range(side + 1)], weights.tolist(), []
    for row in range(side):
        found.append([])
        for column in range(side):
            pairs = [(i, j) for i in range(*edges[row : row + 2]) for j in range(*edges[column : column + 2])]
            seen = [rows[i][j] for i, j in pairs if j <= i]
            broken = any(rows[i][j] != rows[i][j] for i, j in pairs)
            found[-1].append(float("nan") if broken else max(seen, default=-1.0))
    return found


def pictures_in(view) -> dict[tuple[int, int], tuple[dict, torch.Tensor]]:
    meta, tensors = read(view.pictures.data)
    return {
        (index, head): (site["picture"], tensors[site["picture"]["tensor"]][at])
        for index, site in enumerate(meta["sites"])
        if "picture" in site
        for at, head in enumerate(site["picture"]["heads"])
    }


def test_every_head_that_is_left_out_has_its_largest_weights(trace):
    view = trace.show("matrix", layer=1, head=2, query=5, max_mb=0.8)
    here = {(index, head) for block in view.blocks for index in block.sites for head in block.heads or range(H)}
    found = pictures_in(view)
    assert len(here) == 6
    assert set(found) == {(layer, head) for layer in range(LAYERS) for head in range(H)} - here
    (index, head), (words, cells) = next((place, one) for place, one in found.items() if place[1] == 1)
    side = words["rows"]
    assert side == words["columns"] == 4 * thumbnails.SIDE
    assert words["method"] == "max"
    byte = {number: number for number in range(254)} | {-1: words["masked"]}
    for row, expected in zip(cells.tolist(), blocks_of(trace.sites[index].weights(head), side), strict=True):
        assert row == [255 if one != one else byte[-1 if one < 0 else round(one * 253)] for one in expected]
    assert any("coarse picture, up to 192 × 192 cells" in note for note in view.notes)
    says = re.findall(r'data-attnscope data-sites="[^"]*" data-pictures="([^"]*)"', view.html)[0]
    promised = [part.split(":") for part in says.split()]
    assert {(int(index), int(head)) for index, heads in promised for head in heads.split(",")} == set(found)


def test_less_room_makes_them_coarser_and_none_is_said(trace):
    views = [trace.show("matrix", layer=1, head=2, query=5, max_mb=max_mb) for max_mb in (0.6, 0.3, 0.2)]
    assert [view._plan.pictures.side for view in views] == [192, 96, 0]
    assert views[2].pictures is None
    assert any("thumbnails alone" in note for note in views[2].notes)


def test_what_the_query_does_in_all_heads_is_left_out_where_it_takes_much():
    roomy, tight = (made(2).show("matrix", layer=1, head=2, query=5, max_mb=max_mb) for max_mb in (0.04, 0.028))
    for view, held in ((roomy, True), (tight, False)):
        meta, _ = read(view.blocks[0].data)
        assert all(("row" in site) == held for site in meta["sites"])
        assert any("left out too" in note for note in view.notes) != held


def test_a_thumbnail_is_its_picture_in_coarser_patches(trace):
    small = thumbnails.thumbnails_at(trace, 0)
    expected = blocks_of(trace.sites[0].weights(1), thumbnails.SIDE)
    for row, cells in zip(small.pixels[1].tolist(), expected, strict=True):
        assert row == [255 if one != one else 254 if one < 0 else round(one * 253) for one in cells]


def test_nothing_is_left_out_of_a_page_that_has_room(trace):
    assert trace.show("matrix", layer=1, head=2, max_mb=20).pictures is None
