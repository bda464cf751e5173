"""The compiled pass: the numbers of all weights at once, in fp64, and those of plain torch; and what happens without it."""

import builtins
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings, strategies as st

from attnscope.statistics.compute import Sums, sums_of
from attnscope.statistics.kernel import run, store, use
from attnscope.statistics.kernel.block_pass import BlockPass
from attnscope.statistics.pairs import BESIDE, Pairs
from closeness import close
from drawn_sites import sites, weights_of
from head_cases import CASES, QUERIES, assert_numbers, made, numbers_of, tokens_of
from reduced_blocks import blocks_of

OTHERS = {
    "a mask of bits",
    "a mask for each head",
    "bias by parts",
    "huge, and rows that spread",
    "NaN and infinities",
    "weights alone",
}
PROMISED = 1e-5  # of the largest value


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiled once for these tests, into a folder of theirs; no other test sees it."""
    pytest.importorskip("numba")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("LOCALAPPDATA", str(tmp_path_factory.mktemp("cache")))
        patch.setenv(use.SWITCH, "1")
        patch.setattr(use, "_state", use._State())
        assert use.may_run(made(), QUERIES)
        assert store.is_ready()
        yield


@pytest.fixture
def parts(monkeypatch):
    """How many parts the compiled pass was asked for."""
    made_parts = []
    inner = run._part
    monkeypatch.setattr(run, "_part", lambda *given: made_parts.append(given) or inner(*given))
    return made_parts


@pytest.mark.exactness
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_every_number_is_that_of_all_weights_at_once(case, threads, compiled, parts, monkeypatch):
    """With two threads and three heads, the queries are cut in two as well. What it cannot take goes to plain torch."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    site = CASES[case]()
    assert_numbers(site, numbers_of(site))
    assert len(parts) == (0 if case in OTHERS else 1 if site.heads % threads == 0 else threads)


def near(mine: torch.Tensor, exact: torch.Tensor) -> bool:
    return bool((mine.double() - exact).abs().max() <= PROMISED * exact.abs().max())


@pytest.mark.properties
@settings(max_examples=40)
@given(site_of=sites())
def test_any_attention(compiled, site_of):
    site = site_of()
    tokens = tokens_of(site.keys)
    pairs = Pairs(site, tokens, tokens)
    assert use.may_run(site, site.queries)
    mine = sums_of(site, pairs, 11)
    weights, sinks = weights_of(site)
    counted = site.mask.allowed(torch.arange(site.queries), site.keys).any(-1)
    weights, sinks = weights * counted[:, None], torch.where(counted, sinks, 0.0)
    distance = (torch.arange(site.keys) - torch.arange(site.queries)[:, None] - site.query_offset).abs()
    values = mine.totals.values
    assert near(mine.received, weights.sum(1))
    assert near(values["entropy"], torch.special.entr(weights).sum((1, 2)) + torch.special.entr(sinks).sum(1))
    assert near(values["confidence"], weights.amax(-1).sum(1))
    assert near(values["distance"], (weights * distance).sum((1, 2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(use.SWITCH, "0")
        plain = sums_of(site, pairs, 11)
    assert_same(mine, plain)


@pytest.mark.properties
@settings(max_examples=25)
@given(site_of=sites(), side=st.sampled_from([1, 4, 32]), add=st.booleans())
def test_blocks_of_any_attention(compiled, site_of, side, add):
    """The largest or the sum of each block of weights, and -1 where all is masked; from two runs of rows."""
    site = site_of()
    head, allowed = site.heads - 1, site.mask.allowed(torch.arange(site.queries), site.keys)
    blocks = BlockPass(site, head, side, add)
    middle = site.queries // 2 // side * side
    for rows in (slice(0, middle), slice(middle, site.queries)):
        if rows.stop > rows.start:
            blocks.run(rows)
    expected = blocks_of(weights_of(site)[0][head], ~allowed, side, "sum" if add else "max")
    mine = torch.from_numpy(blocks.cells)
    assert torch.equal(mine < 0, expected < 0)
    assert near(mine, expected)


def assert_same(mine: Sums, plain: Sums) -> None:
    assert torch.equal(mine.counts[mine.names.index("confidence")], plain.counts[plain.names.index("confidence")])
    assert close(mine.counts, plain.counts, torch.float32)
    assert close(mine.values, plain.values, torch.float32)
    assert torch.equal(mine.seen, plain.seen)
    assert torch.equal(mine.patches.visible, plain.patches.visible)
    for name in ("own", "peak", "link"):
        assert close(getattr(mine, name), getattr(plain, name), torch.float32), name
    assert close(mine.patches.pooled, plain.patches.pooled, torch.float32)


def test_the_queries_of_other_processes_merge_to_the_whole(compiled):
    site = CASES["grouped, with sinks"]()
    pairs = Pairs(site, tokens_of(QUERIES), tokens_of(QUERIES))
    whole, merged = sums_of(site, pairs, 17), sums_of(site, pairs, 17, slice(41, 61))
    for rows in (slice(0, 13), slice(13, 41)):
        merged.merge(sums_of(site, pairs, 17, rows))
    assert_same(merged, whole)
    assert torch.equal(merged.link_place, whole.link_place)
    at_once = sums_of(site, pairs, 17, [slice(0, 13), slice(13, 41), slice(41, 61)])
    assert_same(at_once, whole)
    assert torch.equal(at_once.link_place, whole.link_place)


def test_a_statistic_that_it_does_not_know_is_left_to_plain_torch(compiled, parts, monkeypatch):
    monkeypatch.setitem(BESIDE, "second_before", -2)
    site = made()
    found = sums_of(site, Pairs(site, tokens_of(QUERIES), tokens_of(QUERIES)), 17)
    assert close(found.totals.values["second_before"], site.weights().diagonal(-2, 1, 2).sum(-1))
    assert not parts


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has not looked for numba yet."""
    monkeypatch.setattr(use, "_state", use._State())
    return monkeypatch


def test_without_numba_plain_torch_computes(fresh):
    found = builtins.__import__

    def missing(name, *rest, **more):
        if name.partition(".")[0] in ("numba", "llvmlite"):
            raise ImportError(name)
        return found(name, *rest, **more)

    fresh.setenv(use.SWITCH, "1")
    fresh.setattr(use, "find_spec", lambda name: None)
    fresh.setattr(builtins, "__import__", missing)
    site = made()
    assert_numbers(site, numbers_of(site))
    assert use._state.refused


@pytest.mark.parametrize("at", ["when it is loaded", "later"])
def test_one_that_fails_is_said_once_and_gives_the_same_numbers(at, fresh):
    def fails(*given):
        raise OSError("the disk is full")

    fresh.setenv(use.SWITCH, "1")
    fresh.setattr(use, "find_spec", lambda name: True)
    fresh.setattr(use, "_load", (lambda: use.refuse(OSError())) if at == "when it is loaded" else lambda: None)
    use._state.ready = at == "later"
    fresh.setattr("attnscope.statistics.compute.parts_of", fails)
    site = made()
    with pytest.warns(UserWarning, match=r"plain torch computes the same numbers"):
        found = numbers_of(site)
    assert_numbers(site, found)
    assert_numbers(site, numbers_of(site))  # and no second warning: pytest makes one an error


def test_nobody_waits_for_a_compiler_that_does_not_pay_off(fresh):
    """Compiled from so many weights on; loaded earlier, where it is kept."""
    fresh.setenv(use.SWITCH, "")
    fresh.setattr(use, "find_spec", lambda name: True)
    loaded = []
    fresh.setattr(use, "_load", lambda: loaded.append(use._state.weights))
    fresh.setattr(store, "any_ready", lambda: False)
    site, rows = made(1, 1, 1 << 14, 5), 1 << 14
    for _ in range(7):
        use.may_run(site, rows)
    assert not loaded
    use.may_run(site, rows)
    assert loaded == [use.WEIGHTS_OF_COMPILING]
    use._state.weights = 0
    fresh.setattr(store, "any_ready", lambda: True)
    fresh.setattr(store, "is_ready", lambda: True)
    use.may_run(site, rows)
    assert loaded[1:] == [use.WEIGHTS_OF_LOADING]


def test_a_folder_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    pytest.importorskip("numba")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(store, "base", lambda: tmp_path / "file" / "attnscope")
    store.folder.cache_clear()
    try:
        assert store.folder() is None
        assert not store.is_ready()
        store.mark_ready()
    finally:
        store.folder.cache_clear()


def test_a_part_has_the_fields_of_sums():
    site = made()
    sums = Sums.start(site, Pairs(site, tokens_of(QUERIES), tokens_of(QUERIES)), 17)
    known = {*vars(sums), "pooled", "visible"}
    assert {field.name for field in fields(run.Part)} <= known
