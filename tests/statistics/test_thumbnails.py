"""Thumbnails and statistics against numpy, written cell by cell, on transformers' own eager attentions."""

import json
import math

import numpy as np
import pytest
import torch

import attnscope
from attnscope.payload import codec as payload
from attnscope.statistics import thumbnails
from attnscope.statistics.compute import sums_of
from attnscope.statistics.sink_tokens import received
from attnscope.statistics.thumbnails import BROKEN, MASKED, STEPS, thumbnails_of
from attnscope.tracing.masks import MaskRule, causal_rule
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace
from closeness import close, through_softmax
from made_traces import made_trace, with_everything

TEXT = "As the aircraft becomes lighter, it flies higher in the air, as the aircraft of lower density flies higher."


def pooled(weights: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """[H, Q, K] -> bytes of the largest weight in each patch, cell by cell."""
    heads, queries, keys = weights.shape
    rows, columns = min(48, queries), min(48, keys)
    out = np.empty((heads, rows, columns), dtype=np.uint8)
    for h in range(heads):
        for r in range(rows):
            for c in range(columns):
                patch = np.s_[
                    r * queries // rows : (r + 1) * queries // rows, c * keys // columns : (c + 1) * keys // columns
                ]
                cells = weights[h][patch]
                if np.isnan(cells).any():
                    out[h, r, c] = BROKEN
                elif not allowed[patch].any() and not cells.any():
                    out[h, r, c] = MASKED
                else:
                    out[h, r, c] = round(float(cells.max()) * STEPS)
    return out


def averaged(weights: np.ndarray, allowed: np.ndarray, wanted) -> float | None:
    """The weight on the wanted pairs, over the queries that may see one: weights [Q, K], wanted(query, key)."""
    values = []
    for i, row in enumerate(weights):
        pairs = [j for j in range(len(row)) if allowed[i, j] and wanted(i, j)]
        if pairs:
            values.append(sum(row[j] for j in range(len(row)) if wanted(i, j)))
    return float(np.mean(values)) if values else None


def entropy(weights: np.ndarray) -> float:
    return float(np.mean([-sum(w * math.log(w) for w in row if w > 0) for row in weights]))


@pytest.fixture(scope="module")
def eager(demo):
    """The trace, and what transformers' eager attention itself returned: [L, H, T, T]."""
    model, tokenizer = demo
    trace = attnscope.trace(model, tokenizer, TEXT)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            attentions = model(**tokenizer(TEXT, return_tensors="pt"), output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    return trace, torch.cat(attentions).double().numpy()


def test_pixels_are_the_eager_weights(eager):
    trace, attentions = eager
    everything = np.ones(attentions.shape[2:], dtype=bool)
    for mine, theirs in zip(thumbnails_of(trace), attentions, strict=True):
        difference = mine.pixels.numpy().astype(int) - pooled(theirs, everything).astype(int)
        assert np.abs(difference).max() <= 1, "rounding at a half may go either way"
        assert (difference != 0).mean() < 1e-2


def test_statistics_of_the_eager_weights(eager):
    trace, attentions = eager
    special, ids = np.array(trace.tokens.special), trace.tokens.ids
    size = len(ids)
    allowed = np.ones((size, size), dtype=bool)
    wanted = {
        "itself": lambda i, j: j == i,
        "previous": lambda i, j: j == i - 1,
        "next": lambda i, j: j == i + 1,
        "first": lambda i, j: j == 0,
        "special": lambda i, j: special[j],
        "same": lambda i, j: j < i and ids[j] == ids[i] and not special[i],
        "induction": lambda i, j: 1 <= j <= i and ids[j - 1] == ids[i] and not special[i],
    }
    for mine, site, own in zip(thumbnails_of(trace), attentions, trace.sites, strict=True):
        size_of = through_softmax(own.scores())
        for head, weights in enumerate(site):
            expected = {name: averaged(weights, allowed, test) for name, test in wanted.items()}
            distance = sum(weights[i, j] * abs(i - j) for i in range(size) for j in range(size)) / weights.sum()
            expected |= {"entropy": entropy(weights), "confidence": weights.max(1).mean(), "distance": distance}
            links = {
                (i, j): weights[i, j]
                for i in range(size)
                for j in range(size)
                if i != j and not special[i] and not special[j]
            }
            expected["link"] = max(links.values())
            found = {name: values[head] for name, values in mine.statistics.items()}
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                assert close(found[name], value, magnitude=size_of * max(1, value)), name
            query, key, weight = mine.links[head]
            assert close([links[query, key], weight], [expected["link"]] * 2, magnitude=size_of)


def test_patches_of_a_long_text_keep_the_largest_weight():
    """101 and 101 fall into patches of 2 and 3; causal, so some patches are masked through and through."""
    trace = made_trace(queries=101, layers=1, spread=3.0, mask=causal_rule(101, 101))
    site = trace.sites[0]
    allowed = np.tril(np.ones((101, 101), dtype=bool))
    (mine,) = thumbnails_of(trace)
    expected = pooled(site.weights().numpy(), allowed)
    assert mine.pixels.shape == (3, 48, 48)
    assert np.abs(mine.pixels.numpy().astype(int) - expected.astype(int)).max() <= 1
    assert (mine.pixels.numpy() == MASKED).sum() == (expected == MASKED).sum() > 1000


def test_what_a_causal_query_cannot_see_is_not_counted_against_it():
    trace = made_trace(queries=13, layers=1, spread=2.0, mask=causal_rule(13, 13))
    (mine,) = thumbnails_of(trace)
    assert "next" not in mine.statistics, "no query may see the next token"
    weights = trace.sites[0].weights().double().numpy()
    allowed = np.tril(np.ones((13, 13), dtype=bool))
    for head in range(3):
        previous = averaged(weights[head], allowed, lambda i, j: j == i - 1)
        assert close(mine.statistics["previous"][head], previous)
        assert previous == pytest.approx(np.mean([weights[head, i, i - 1] for i in range(1, 13)]))


@pytest.mark.parametrize("uniform", [False, True])
def test_rows_without_a_key_are_left_out(uniform):
    rows = torch.ones(11, dtype=torch.bool)
    rows[[2, 7]] = False
    keys = torch.ones(11, dtype=torch.bool)
    keys[0] = False
    trace = made_trace(queries=11, layers=1, mask=MaskRule(rows=rows, keys=keys, uniform_empty_rows=uniform))
    (mine,) = thumbnails_of(trace)
    weights = trace.sites[0].weights().double().numpy()
    kept = rows.numpy()
    for head in range(3):
        assert close(mine.statistics["entropy"][head], entropy(weights[head][kept]))
        assert close(mine.statistics["confidence"][head], weights[head][kept].max(1).mean())
    assert "first" not in mine.statistics, "nobody may see key 0"
    empty = mine.pixels[:, 2].numpy()
    assert (empty == (round(STEPS / 11) if uniform else MASKED)).all()


def test_nan_is_marked_and_not_counted():
    weights = torch.rand(2, 7, 5).softmax(-1)
    weights[1, 3, 4] = math.nan
    trace = Trace.from_attentions(weights, [f"t{i}" for i in range(7)], [f"s{i}" for i in range(5)])
    (mine,) = thumbnails_of(trace)
    assert mine.pixels.shape == (2, 7, 5)
    assert (mine.pixels == BROKEN).nonzero().tolist() == [[1, 3, 4]]
    left = torch.cat([weights[1, :3], weights[1, 4:]]).double().numpy()
    assert close(mine.statistics["entropy"][1], entropy(left))
    assert not {"previous", "distance"} & mine.statistics.keys(), "two texts have no distance"
    assert close(mine.links[1][2], left.max())
    assert torch.isnan(mine.weights[1, 3, 4])


def test_a_head_of_nan_has_no_statistics():
    weights = torch.rand(2, 5, 5).softmax(-1)
    weights[0] = math.nan
    (mine,) = thumbnails_of(Trace.from_attentions(weights, list("abcde")))
    assert all(values[0] is None and values[1] is not None for values in mine.statistics.values())
    assert mine.links[0] is None


def test_sinks_count_as_one_more_key():
    site = with_everything().sites[0]
    (mine, _) = thumbnails_of(with_everything())
    weights = site.weights().double().numpy()
    rest = 1 - weights.sum(-1)
    assert rest.max() > 0.1
    for head in range(6):
        whole = np.concatenate([weights[head], rest[head][:, None]], axis=1)
        assert close(mine.statistics["sink"][head], rest[head].mean(), magnitude=1)
        assert close(mine.statistics["entropy"][head], entropy(whole))


def test_a_mask_of_its_own_for_each_head():
    generator = torch.Generator().manual_seed(3)
    allowed = torch.rand(3, 11, 11, generator=generator) < 0.5
    allowed[:, :, 4] = True
    packed = torch.from_numpy(np.packbits(allowed.numpy(), axis=-1))
    trace = made_trace(queries=11, layers=1, mask=MaskRule(packed=packed))
    (mine,) = thumbnails_of(trace)
    weights = trace.sites[0].weights().double().numpy()
    for head in range(3):
        for name, offset in (("previous", -1), ("next", 1), ("itself", 0)):
            expected = averaged(weights[head], allowed[head].numpy(), lambda i, j, by=offset: j == i + by)
            assert close(mine.statistics[name][head], expected)


def test_a_cached_step_counts_positions_among_the_keys():
    weights = torch.eye(9)[None, 6:].repeat(2, 1, 1)  # queries 6, 7, 8 look at themselves
    trace = Trace.from_attentions(weights, [f"t{i}" for i in range(9)])
    if trace.sites[0].query_offset != 6:
        pytest.skip("handed-in weights of fewer queries are read as cross attention")
    (mine,) = thumbnails_of(trace)
    assert mine.statistics["itself"] == (1.0, 1.0)


def test_the_first_block_describes_every_site_and_the_others_none(demo_trace):
    view = demo_trace.show(layer=3, max_mb=0.3)
    first, *rest = [payload.read(block.data) for block in view.blocks]
    meta, tensors = first
    held = [site["index"] for site in meta["sites"] if site["held"]]
    assert held == [3]
    expected = thumbnails_of(demo_trace)
    for site, mine in zip(meta["sites"], expected, strict=True):
        assert torch.equal(tensors[site["thumb"]["tensor"]], mine.pixels)
        assert site["stats"].keys() == mine.statistics.keys() == meta["stat_words"].keys()
        for name, values in site["stats"].items():
            assert values == pytest.approx(mine.statistics[name], rel=1e-5), "six digits"
        assert [link[:2] for link in site["links"]] == [list(link[:2]) for link in mine.links]
    assert meta["stat_words"].keys() == meta["stat_titles"].keys() == meta["stat_units"].keys()
    for other, tensors in rest:
        assert "stat_words" not in other
        assert not any("thumb" in site for site in other["sites"])
        assert not any(name.startswith("t") for name in tensors)


def test_a_file_holds_no_thumbnails(tmp_path):
    path = tmp_path / "trace.safetensors"
    made_trace().save(path)
    meta, tensors = payload.read(path.read_bytes())
    assert not any("thumb" in site for site in meta["sites"])
    assert not any(name.startswith("t") for name in tensors)


def test_many_heads_are_coarser():
    trace = made_trace(heads=64, kv_heads=1, queries=53, head_size=2, layers=16)
    every = thumbnails_of(trace)
    assert {one.pixels.shape for one in every} == {(64, 32, 32)}
    expected = trace.sites[7].weights(5)[2 * 53 // 32 : 3 * 53 // 32, 9 * 53 // 32 : 10 * 53 // 32].max()
    assert every[7].pixels[5, 2, 9] == round(float(expected) * STEPS)


def test_numbers_that_json_cannot_hold_do_not_occur(demo_trace):
    for index, one in enumerate(thumbnails_of(demo_trace)):
        json.dumps(thumbnails.describe(one, f"t{index}"), allow_nan=False)


def test_special_tokens_without_a_text(demo):
    tokens = Tokens(("[CLS]", "[SEP]"), special=(True, True))
    (mine, _) = thumbnails_of(made_trace(queries=2, tokens=tokens))
    assert mine.links == (None, None, None)
    assert "link" not in mine.statistics
    assert close(mine.statistics["special"], (1.0, 1.0, 1.0))


def test_of_a_very_long_trace_some_queries_are_looked_at_and_it_says_so(monkeypatch):
    """A run in each row of patches; `Trace.statistics` stays exact."""
    generator = torch.Generator().manual_seed(11)
    q, k = (torch.randn(3, 211, 5, generator=generator) for _ in range(2))
    monkeypatch.setattr(thumbnails, "MOST_WEIGHTS", 3 * 211 * 211 // 2)
    trace = Trace.from_qkv(q, k, k, tokens=[f"w{n}" for n in range(211)], is_causal=True)
    runs = thumbnails.runs_at(trace, 0)
    assert runs is not None
    chosen = torch.cat([torch.arange(run.start, run.stop) for run in runs])
    assert len(runs) == 4 * 48
    assert len(chosen) == 192
    asked = []
    monkeypatch.setattr(thumbnails, "sums_of", lambda *given: asked.append(given) or sums_of(*given))
    mine = thumbnails.thumbnails_at(trace, 0)
    assert len(asked) == 1, "what a pass needs is made once for all runs"
    weights = trace.sites[0].weights(None, chosen)
    assert mine.sampled == 192
    assert close(mine.statistics["confidence"], weights.amax(-1).mean(-1))
    assert thumbnails.describe(mine, "t")["thumb"]["queries_sampled"] == 192
    assert bool((mine.weights.isnan() | (mine.weights >= 0)).all())
    assert not mine.weights[:, 10, 2].isnan().any()  # every row of patches has a query
    exact = trace.sites[0].weights().amax(-1).mean(-1)
    assert close([row["confidence"] for row in trace.statistics().rows], exact)
    view = trace.show()
    assert "looked at from 192 queries spread evenly" in view.state.why
    assert received(trace, trace.sites[0]).weight.shape == (3, 211)
