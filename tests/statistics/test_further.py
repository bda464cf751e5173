"""Statistics on request against all weights at once, in fp64, written from their formulas with numpy."""

import math
import pickle
import string
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from attnscope.statistics import rows
from attnscope.statistics.further.block import HeadBlock, Run, Setting
from attnscope.statistics.further.compute import FurtherSums, further_sums
from attnscope.statistics.further.entries import FURTHER
from attnscope.statistics.pairs import Pairs
from attnscope.tracing.masks import causal_rule
from attnscope.tracing.output_projection import Projection
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from drawn_sites import sites, weights_of
from head_cases import CASES, QUERIES, given as given_weights, tokens_of

PROMISED = 1e-5
WIDTH = 6  # of the residual stream


def text(count: int) -> Tokens:
    """The usual tokens, with line breaks between."""
    usual = tokens_of(count)
    strings = ["Ċ" if i % 7 == 5 else one for i, one in enumerate(usual.strings)]
    return Tokens(tuple(strings), special=usual.special)


def with_output(site: Site) -> Site:
    size = site.heads * site.value_size
    matrix = torch.randn(WIDTH, size, generator=torch.Generator().manual_seed(5))
    return replace(site, projection=Projection(matrix))


def setting_of(site: Site) -> Setting:
    tokens = text(site.keys)
    return Setting(site, Pairs(site, tokens, tokens), tokens)


def expected(site: Site, weights: np.ndarray, sinks: np.ndarray) -> dict[str, np.ndarray]:
    """By name and head, NaN where no query counts; `weights`: [H, Q, K] with zeros in rows that do not."""
    heads, queries, keys = weights.shape
    tokens = text(keys)
    allowed = np.broadcast_to(site.mask.allowed(torch.arange(queries), keys).numpy(), weights.shape)
    counted = allowed.any(-1)
    at = np.arange(queries)[:, None] + site.query_offset
    column = np.arange(keys)[None]
    names = np.array(tokens.strings)
    found: dict[str, np.ndarray] = {}

    def mean(values: np.ndarray, which: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.where(which, values, 0).sum(-1) / which.sum(-1)

    def entropy(p: np.ndarray) -> np.ndarray:
        return -p * np.log(np.where(p > 0, p, 1))

    choices = allowed.sum(-1) + (site.sinks is not None)
    rest = entropy(sinks) if site.sinks is not None else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        even = (entropy(weights).sum(-1) + rest) / np.log(choices)
    found["entropy_normalised"] = mean(np.nan_to_num(even), counted & (choices > 1))
    far = np.abs(at - column)
    total = weights.sum((1, 2))
    with np.errstate(invalid="ignore"):
        middle = (weights * far).sum((1, 2)) / total
        found["distance_variance"] = (weights * (far - middle[:, None, None]) ** 2).sum((1, 2)) / total
    special = np.array(tokens.special)
    marks = np.array([all(c in string.punctuation for c in s) for s in tokens.strings]) & ~special
    for name, which in (("punctuation", marks), ("newline", (names == "Ċ") & ~special)):
        found[name] = mean((weights * which).sum(-1), counted & (allowed & which).any(-1))
    found["first_often"] = mean(weights[..., 0] > 0.3, counted & allowed[..., 0])
    same = (names[None] == names[at]) & (column < at)
    after = np.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    if site.query_offset == 0 and queries == keys:
        for name, pattern in (("previous", column == at - 1), ("same", same), ("induction", after)):
            with np.errstate(invalid="ignore"):
                found[f"{name}_mul"] = (weights * pattern).sum((1, 2)) / total
            found[f"{name}_abs"] = mean(1 - np.abs(weights - pattern).sum(-1), counted)
    seen = (allowed & counted[..., None]).sum(1)
    found["received_most"] = np.where(seen.any(-1), (weights.sum(1) / seen.clip(1)).max(-1), np.nan)
    if site.projection is not None:
        group = site.heads // site.kv_heads
        blocks = site.projection.heads(site.heads).double().numpy()
        sizes = np.stack(
            [np.linalg.norm(site.v[h // group].double().numpy() @ blocks[h], axis=-1) for h in range(heads)]
        )
        parts = weights * sizes[:, None]
        shares = parts / np.where(parts.sum(-1, keepdims=True) > 0, parts.sum(-1, keepdims=True), 1)
        found["share_first"] = mean(shares[..., 0], counted & allowed[..., 0])
        found["share_special"] = mean((shares * special).sum(-1), counted & (allowed & special).any(-1))
        own = np.broadcast_to(column == at, weights.shape)
        found["share_itself"] = mean((shares * own).sum(-1), counted & (allowed & own).any(-1))
        found["share_most"] = np.where(seen.any(-1), (shares.sum(1) / seen.clip(1)).max(-1), np.nan)
    return found


def assert_near(mine: dict, theirs: dict[str, np.ndarray]) -> None:
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        got = np.array([math.nan if value is None else value for value in values])
        assert (np.isnan(got) == np.isnan(theirs[name])).all(), name
        least = 1.0 if name.endswith("_abs") else 0.1  # 1 less a sum: ones are on the way
        size = max(least, np.nanmax(np.abs(theirs[name]), initial=0.0))
        assert np.nanmax(np.abs(got - theirs[name]), initial=0.0) <= PROMISED * size, name


def exact(site: Site) -> tuple[np.ndarray, np.ndarray]:
    weights, sinks = weights_of(site)
    counted = site.mask.allowed(torch.arange(site.queries), site.keys).any(-1)
    return (weights * counted[..., None]).numpy(), torch.where(counted, sinks, 0.0).numpy()


@pytest.mark.properties
@settings(max_examples=60)
@given(
    site_of=sites(),
    cells=st.integers(3, 4000),
    fewest=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 103)),
    data=st.data(),
)
def test_any_attention_in_any_blocks_and_order(site_of, cells, fewest, cuts, data):
    """Masks, sinks, soft caps, biases, grouped heads, cached steps; sums that were made apart, after a journey as bytes."""
    site = with_output(site_of())
    setting = setting_of(site)
    edges = sorted({0, *(min(cut, site.queries) for cut in cuts), site.queries})
    runs = data.draw(st.permutations([slice(*pair) for pair in pairwise(edges)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CELLS", cells)
        patch.setattr(rows, "FEWEST_ROWS", fewest)
        merged = FurtherSums.start(setting, list(FURTHER))
        for run in runs:
            merged.merge(pickle.loads(pickle.dumps(further_sums(setting, list(FURTHER), run))))
    theirs = expected(site, *exact(site))
    mine = merged.finish()
    assert_near(mine, theirs)
    assert {"share_first", "entropy_normalised"} <= mine.keys()


@pytest.mark.exactness
@pytest.mark.parametrize("case", ["a mask of bits", "a mask for each head", "window to both sides", "softcap"])
def test_masks_of_other_kinds(case):
    site = with_output(CASES[case]())
    setting = setting_of(site)
    assert_near(further_sums(setting, list(FURTHER)).finish(), expected(site, *exact_of_masks(site)))


def exact_of_masks(site: Site) -> tuple[np.ndarray, np.ndarray]:
    weights = site.weights().double().nan_to_num(0.0)
    return weights.numpy(), np.zeros(weights.shape[:2])


def test_a_variance_does_not_cancel_at_32k():
    """A head that looks 30,000 tokens back, one or the other of two keys: the mean's square is 10⁹ times the variance."""
    length, queries = 32_768, 16
    site = Site(torch.zeros(1, queries, 2), torch.zeros(1, length, 2), torch.zeros(1, length, 2), 1.0)
    tokens = Tokens(tuple("ab" * (length // 2)))
    setting = Setting(site, Pairs(site, tokens, tokens), tokens)
    sums, total = FurtherSums.start(setting, ["distance_variance"]), []
    from attnscope.statistics.rows import Block
    from attnscope.statistics.sight import Sight

    for first in range(0, queries, 3):
        rows_here = slice(first, min(first + 3, queries))
        count = rows_here.stop - rows_here.start
        weights = torch.zeros(1, count, length)
        for row in range(count):
            place = first + row + site.query_offset - 30_000
            weights[0, row, place], weights[0, row, place + 1] = 0.75, 0.25
            total += [(30_000, 0.75), (29_999, 0.25)]
        plain = torch.ones(1, count, dtype=torch.bool)
        block = Block(slice(0, 1), weights, plain, torch.zeros(1), weights.amax(-1), torch.zeros(0))
        sums.update(HeadBlock.of(Run(setting, rows_here, Sight(0, length)), block))
    far, weight = np.array(total).T
    mean = (far * weight).sum() / weight.sum()
    variance = float((weight * (far - mean) ** 2).sum() / weight.sum())
    assert variance == pytest.approx(0.1875)
    assert sums.finish()["distance_variance"][0] == pytest.approx(variance, rel=1e-9)


def test_of_weights_alone_the_mask_is_seen_in_its_zeros():
    site = given_weights()
    tokens = tokens_of(QUERIES)
    found = further_sums(Setting(site, Pairs(site, tokens, tokens), tokens), list(FURTHER)).finish()
    assert not {"share_first", "share_special", "share_itself", "share_most"} & found.keys()
    weights = site.weights().double()
    entropy = torch.special.entr(weights).sum(-1) / math.log(QUERIES)
    keep = entropy.isfinite()
    assert found["entropy_normalised"][1] == pytest.approx(float(entropy[1][keep[1]].mean()), abs=1e-5)
    assert all(0 <= value <= 1 + 1e-6 for value in found["entropy_normalised"])


def test_transformer_lens_scores_as_their_code_has_them():
    """compute_head_attention_similarity_score and its patterns, on a text whose first token is special."""
    tokens = Tokens(("<s>", *"a b c a b d a b c".split()), special=(True, *[False] * 9))
    q, k, v = (torch.randn(2, 10, 4, generator=torch.Generator().manual_seed(n)) for n in range(3))
    site = Site(q, k, v, 0.5, mask=causal_rule(10, 10))
    found = further_sums(Setting(site, Pairs(site, tokens, tokens), tokens), list(FURTHER)).finish()
    ids = torch.tensor([{s: n for n, s in enumerate(dict.fromkeys(tokens.strings))}[s] for s in tokens.strings])
    duplicate = torch.tril((ids[:, None] == ids).float(), -1)
    induction = torch.tril(torch.cat([torch.zeros(10, 1), torch.roll(duplicate, 1, 1)[:, 1:]], 1))
    previous = torch.diag(torch.ones(9), -1)
    for head in range(2):
        weights = site.weights(head)
        for name, pattern in (("previous", previous), ("same", duplicate), ("induction", induction)):
            mul = float((weights * pattern).sum() / weights.sum())
            absolute = 1 - float((weights - pattern).abs().mean() * 10)
            assert found[f"{name}_mul"][head] == pytest.approx(mul, abs=1e-6)
            assert found[f"{name}_abs"][head] == pytest.approx(absolute, abs=1e-5)
