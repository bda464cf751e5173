"""Tiles on their way to a page: several in one answer, each as `answer` makes it."""

import json

import pytest
import safetensors.torch
import torch

from attnscope.errors import InputError
from attnscope.payload import site_requests
from attnscope.payload.codec import read
from attnscope.payload.site_requests import SiteRequest
from attnscope.payload.tile_requests import MOST, TilesRequest, answer_tiles
from attnscope.tiles.answer import answer
from attnscope.tiles.request import TileRequest
from attnscope.tracing.trace import Trace


@pytest.fixture(scope="module")
def trace():
    generator = torch.Generator().manual_seed(5)
    q, k = (torch.randn(heads, 601, 8, generator=generator) for heads in (4, 2))
    return Trace.from_qkv(q, k, k, is_causal=True)


def test_an_answer_holds_the_tiles_in_their_order(trace):
    message = {"kind": "tiles", "site": 0, "head": 3, "tiles": [[2, 1, 0], [0, 0, 0], [1, 1, 0]], "coarse": True}
    request = TilesRequest.from_message(message)
    data = answer_tiles(trace, request)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["exact"] == "100"  # single weights are exact, the others of some queries
    answer(trace, TileRequest(0, 3))  # makes the pyramid
    data, tiles = answer_tiles(trace, request), {}
    tiles = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["exact"] == "111"
    for index, (zoom, row, col) in enumerate(request.places):
        assert torch.equal(tiles[str(index)], answer(trace, TileRequest(0, 3, zoom, row, col)).values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tiles": []}, f"expected 1 to {MOST} tiles in a request, got \\[\\]"),
        ({"tiles": [[0, 0, 0]] * (MOST + 1)}, f"expected 1 to {MOST} tiles"),
        ({"tiles": "0.0.0"}, "expected 1 to"),
        ({"tiles": [[0, 0]]}, "tiles as \\[zoom, row, col\\]"),
        ({"tiles": [[0, 0, 1.5]]}, "all of them whole numbers"),
        ({"tiles": [0]}, "tiles as \\[zoom, row, col\\]"),
        ({"site": "0"}, "expected a site, a head"),
        ({"head": True}, "expected a site, a head"),
        ({"tiles": [[0, 0, 0], [0, 0, 1]]}, "zoom 0 has col 0 to 0"),
        ({"head": 4}, "head 4 of a tile is out of range"),
        ({"reduce": "min"}, "reduce is 'min'"),
    ],
)
def test_what_is_no_request(trace, change, said):
    message = {"kind": "tiles", "site": 0, "head": 0, "tiles": [[0, 0, 0]]} | change
    with pytest.raises(InputError, match=said):
        answer_tiles(trace, TilesRequest.from_message(message))


def test_of_a_long_layer_one_head_is_sent(trace, monkeypatch):
    monkeypatch.setattr(site_requests, "LONG", 600 * 600)
    meta, tensors = read(site_requests.answer(trace, SiteRequest(0, 2)).data)
    assert meta["sites"][0]["held"] == {"dtype": "F32", "heads": [2]}
    assert torch.equal(tensors["s0.q"], trace.sites[0].q[2:3])
    monkeypatch.setattr(site_requests, "MAX_BYTES", 601 * 8 * 4)
    meta, tensors = read(site_requests.answer(trace, SiteRequest(0, 2)).data)
    assert meta["sites"][0]["held"] == {"dtype": "F16", "heads": [2]}
