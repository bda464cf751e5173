"""Tiles are the full matrix, reduced: at every zoom, of any attention, compiled and in plain torch."""

import gc
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st

from attnscope.errors import AttnscopeError, InputError, NotCaptured
from attnscope.statistics.kernel import use
from attnscope.tiles import answer as answering, request, shelf
from attnscope.tiles.answer import answer
from attnscope.tiles.pyramid import Cancelled, finest_side, pyramid_of
from attnscope.tiles.request import TileRequest, coarsest
from attnscope.tracing.masks import MaskRule, causal_rule
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace
from closeness import close
from drawn_sites import sites
from head_cases import CASES
from reduced_blocks import blocks_of, shown_weights_of

SMALL = 13  # cells of a tile here


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Tiles so small that short texts have several zooms, and none of an earlier test."""
    monkeypatch.setattr(request, "SIDE", SMALL)
    monkeypatch.setattr(answering, "SIDE", SMALL)
    monkeypatch.setenv(use.SWITCH, "0")
    shelf.forget()


def trace_of(site: Site) -> Trace:
    tokens = [Tokens(tuple(f"t{n}" for n in range(count))) for count in (site.queries, site.keys)]
    named = (tokens[0], tokens[1])
    return Trace((replace(site, named=named),), tokens[1])


def every_tile(trace: Trace, head: int, zoom: int, how: str) -> torch.Tensor:
    """All tiles of a zoom, put together."""
    site = trace.sites[0]
    cells = SMALL * (coarsest(site) >> zoom)
    rows, columns = (range(-(-count // cells)) for count in (site.queries, site.keys))
    tiles = [[answer(trace, TileRequest(0, head, zoom, row, col, how)) for col in columns] for row in rows]
    assert all(tile.exact for line in tiles for tile in line)
    return torch.cat([torch.cat([tile.values for tile in line], 1) for line in tiles])


def assert_tiles(site: Site, weights: torch.Tensor, head: int, how: str) -> None:
    trace, allowed = trace_of(site), site.mask.allowed(torch.arange(site.queries), site.keys, head)
    masked = ~allowed & ~(weights[head] > 0) & ~weights[head].isnan()
    shelf.forget()
    order = range(coarsest(site).bit_length())
    for zoom in (*reversed(order), *order):  # finer ones before the pyramid is there, and after
        side = coarsest(site) >> zoom
        mine = every_tile(trace, head, zoom, how)
        assert close(mine, blocks_of(weights[head], masked, side, how), torch.float32, side**2 if how == "sum" else 1)


@pytest.mark.properties
@settings(max_examples=20, deadline=None)
@given(site_of=sites(), how=st.sampled_from(request.REDUCTIONS))
def test_tiles_of_any_attention_are_the_full_matrix_reduced(site_of, how):
    site = site_of()
    assert_tiles(site, shown_weights_of(site), site.heads - 1, how)


@pytest.mark.exactness
@pytest.mark.parametrize("how", ["max", "sum"])
@pytest.mark.parametrize("case", CASES)
def test_tiles_of_every_case_are_the_site_s_own_weights_reduced(case, how):
    """Masks of bits, of each head, NaN and infinities, weights alone."""
    site = CASES[case]()
    assert_tiles(site, site.weights(), site.heads - 1, how)


def test_the_first_zoom_is_one_tile_and_the_last_single_weights():
    site = made()
    assert coarsest(site) == 8  # 13 · 8 ≥ 101 > 13 · 4
    trace, last = trace_of(site), TileRequest(0, 1, 3, 7, 2)
    assert answer(trace, TileRequest(0, 1)).values.shape == (13, 13)
    assert close(answer(trace, last).values, site.weights(1)[91:101, 26:39])


def made(tokens: int = 101, size: int = 5, mask: MaskRule | None = None) -> Site:
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(heads, tokens, size, generator=generator) for heads in (2, 1, 1))
    return Site(q, k, v, size**-0.5, mask=causal_rule(tokens, tokens) if mask is None else mask)


def test_a_coarse_tile_comes_at_once_and_says_so():
    """Each of its rows is that of the query in the middle of the block; then the exact one is at hand, and comes."""
    site = made()
    trace, coarse = trace_of(site), TileRequest(0, 0, coarse=True)
    tile = answer(trace, coarse)
    assert not tile.exact
    middle = torch.arange(4, 101, 8).clamp_max(100)
    hidden = ~site.mask.allowed(middle, 101)
    expected = blocks_of(site.weights(0, middle), hidden, (1, 8), "max")
    assert close(tile.values, expected)
    assert answer(trace, TileRequest(0, 0)).exact
    assert answer(trace, coarse).exact
    assert answer(trace, TileRequest(0, 0, 3, coarse=True)).exact  # single weights are never sampled


def test_the_finest_blocks_are_no_more_numbers_than_q_and_k():
    k = torch.zeros(1, 1, 64).expand(1, 32_768, 64)
    assert finest_side(Site(k, k, k, 1.0)) == 16
    assert min(pyramid_of(made(size=1), 0, add=False).levels) == 8  # (101 / 8)² ≤ 202 < (101 / 4)²


def test_the_bound_holds_and_a_trace_that_goes_takes_its_pyramids_along(monkeypatch):
    trace = trace_of(made())
    one = pyramid_of(trace.sites[0], 0, add=False).nbytes
    monkeypatch.setattr(shelf, "ROOM", int(2.5 * one))
    for head, how in ((0, "max"), (1, "max"), (0, "sum"), (0, "mean")):
        answer(trace, TileRequest(0, head, reduce=how))
    assert [(place.head, place.add) for place in shelf._kept] == [(1, False), (0, True)]  # a mean needs the sums
    del trace
    gc.collect()
    assert not shelf._kept


def test_a_pass_reports_how_far_it_is_and_can_be_stopped():
    trace, parts = trace_of(made(1500)), []

    def stop(part):
        parts.append(part)
        if part > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        answer(trace, TileRequest(0, 0), stop)
    assert parts == sorted(parts)
    assert 0.3 < parts[-1] < 0.9
    assert not shelf._kept
    assert answer(trace, TileRequest(0, 0)).exact


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"site": 1}, "site 1 of a tile is out of range: the trace has site 0 to 0"),
        ({"head": 2}, "head 2 of a tile is out of range: layer 0 has head 0 to 1"),
        ({"zoom": 4}, "layer 0 has zoom 0 to 3"),
        ({"zoom": -1}, "zoom -1 of a tile is out of range"),
        ({"zoom": 1, "row": 2}, "zoom 1 has row 0 to 1"),
        ({"col": 1}, "zoom 0 has col 0 to 0"),
        ({"reduce": "median"}, "reduce is 'median'; it is one of 'max', 'mean', 'sum'"),
    ],
)
def test_a_tile_that_is_not_there(changed, said):
    with pytest.raises(InputError, match=said):
        answer(trace_of(made()), replace(TileRequest(0, 0), **changed))


@pytest.mark.parametrize(
    "use",
    [
        lambda trace, _: answer(trace, TileRequest(0, 0)),
        lambda trace, _: trace.sites[0].weights(0, -1),
        lambda trace, _: trace.sites[0].output(0, -1),
        lambda trace, _: trace.statistics(),
        lambda trace, _: trace.show("matrix"),
        lambda trace, folder: trace.save(folder / "t.safetensors"),
    ],
    ids=["tile", "weights", "output", "statistics", "show", "save"],
)
def test_tensors_that_were_freed_are_named_whatever_asks_for_them(use, tmp_path):
    freed = made()
    freed.k.untyped_storage().resize_(0)
    with pytest.raises(NotCaptured, match=r"k of layer 0 was freed"):
        use(trace_of(freed), tmp_path)
    assert not list(tmp_path.iterdir())


def test_tensors_that_were_moved_apart():
    apart = replace(made(), v=torch.empty(1, 101, 5, device="meta"))
    with pytest.raises(NotCaptured, match=r"v of layer 0 was freed"):
        answer(trace_of(apart), TileRequest(0, 0))


def test_memory_that_runs_out_frees_what_was_kept(monkeypatch):
    trace = trace_of(made())
    answer(trace, TileRequest(0, 0))

    def fails(*given):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(shelf, "pyramid_of", fails)
    with pytest.raises(AttnscopeError, match="too little memory for the tiles of layer 0, head 1"):
        answer(trace, TileRequest(0, 1))
    assert not shelf._kept
    monkeypatch.undo()
    assert answer(trace, TileRequest(0, 1)).exact


def test_a_trace_that_goes_away_while_its_tiles_are_put_away():
    """The collector may run at any moment, and in this thread: what it forgets then is no reason to wait for oneself."""
    trace = trace_of(CASES["causal"]())
    shelf.made(trace, 0, 0, False, lambda part: None)
    name, others = id(trace), len(shelf._kept)
    with shelf._lock:
        del trace
        gc.collect()
    assert name not in {place.trace for place in shelf._kept}
    assert len(shelf._kept) == others - 1


def test_a_pass_that_ends_early_leaves_no_lock(monkeypatch):
    def cancel(part):
        raise Cancelled

    trace = trace_of(CASES["causal"]())
    with pytest.raises(Cancelled):
        shelf.made(trace, 0, 0, False, cancel)
    assert not shelf._making
