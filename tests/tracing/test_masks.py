"""Rules reproduce the masks and biases they were made of, bit for bit, and stay small."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from attnscope.tracing.biases import BiasRule, bias_rule_of
from attnscope.tracing.masks import NO_MASK, MaskRule, causal_rule, rule_of, split_additive

pytestmark = pytest.mark.properties

SIZES = st.integers(1, 19)


def read(rule: MaskRule, heads: int, queries: int, keys: int) -> Tensor:
    """The whole mask that the rule stands for: [heads, Q, K]."""
    return rule.allowed(torch.arange(queries), keys).expand(heads, queries, keys)


@st.composite
def structured(draw: st.DrawFn) -> Tensor:
    """Products of a causal band, a window, padding of keys and of queries: [1, Q, K]."""
    queries, keys = draw(SIZES), draw(SIZES)
    offset = torch.arange(keys) - torch.arange(queries)[:, None]
    allowed = torch.ones(queries, keys, dtype=torch.bool)
    if draw(st.booleans()):
        allowed &= offset <= draw(st.integers(-3, 12))
    if draw(st.booleans()):
        allowed &= offset >= draw(st.integers(-12, 3))
    if draw(st.booleans()):
        allowed &= torch.tensor(draw(st.lists(st.booleans(), min_size=keys, max_size=keys)))
    if draw(st.booleans()):
        allowed &= torch.tensor(draw(st.lists(st.booleans(), min_size=queries, max_size=queries)))[:, None]
    return allowed[None]


@st.composite
def arbitrary(draw: st.DrawFn) -> Tensor:
    """Any mask, of one head or several: [H, Q, K]."""
    heads, queries, keys = draw(st.sampled_from([1, 2, 3])), draw(SIZES), draw(SIZES)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return torch.rand(heads, queries, keys, generator=generator) < draw(st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]))


@given(mask=st.one_of(structured(), arbitrary()))
def test_a_rule_reproduces_its_mask(mask: Tensor) -> None:
    rule = rule_of(mask)
    assert torch.equal(read(rule, *mask.shape), mask)
    for head in range(len(mask)):
        assert torch.equal(rule.allowed(torch.arange(mask.shape[1]), mask.shape[2], head), mask[head])
    rows = torch.arange(mask.shape[1]).flip(0)[::2]
    assert torch.equal(rule.allowed(rows, mask.shape[2], 0), mask[0, rows])


@given(mask=structured())
def test_products_need_no_bits(mask: Tensor) -> None:
    """A band alone, and a band with padding that it does not depend on, is a rule; vectors are all it keeps."""
    rule = rule_of(mask)
    if rule.packed is None:
        assert rule.nbytes <= mask.shape[1] + mask.shape[2]


@given(
    queries=SIZES,
    extra=st.integers(0, 7),
    window=st.one_of(st.none(), st.integers(1, 9)),
    hidden=st.integers(0, 5),
    left=st.booleans(),
)
def test_what_models_use_is_a_rule(queries: int, extra: int, window: int | None, hidden: int, left: bool) -> None:
    """Causal with offset, with a window, with padding on either side: never packed."""
    keys = queries + extra
    offset = torch.arange(keys) - torch.arange(queries)[:, None]
    mask = offset <= extra
    if window is not None:
        mask &= offset > extra - window
    hidden = min(hidden, keys - 1)
    seen = torch.ones(keys, dtype=torch.bool)
    seen[slice(0, hidden) if left else slice(keys - hidden, keys)] = False
    mask = mask & seen
    rule = rule_of(mask[None])
    assert rule.packed is None
    assert torch.equal(read(rule, 1, queries, keys)[0], mask)


@given(queries=SIZES, keys=SIZES, offset=st.integers(0, 9), window=st.one_of(st.none(), st.integers(1, 12)))
def test_causal_rule(queries: int, keys: int, offset: int, window: int | None) -> None:
    distance = torch.arange(keys) - torch.arange(queries)[:, None] - offset
    mask = distance <= 0
    if window is not None:
        mask &= distance > -window
    assert torch.equal(read(causal_rule(queries, keys, offset, window), 1, queries, keys)[0], mask)


@given(mask=st.one_of(structured(), arbitrary()), data=st.data())
def test_cut_behind_and_seen(mask: Tensor, data: st.DataObject) -> None:
    heads, queries, keys = mask.shape
    rule = rule_of(mask)
    any_query = mask.any(0).any(0).nonzero()
    assert rule.seen(queries, keys) == (int(any_query.max()) + 1 if len(any_query) else 0)
    fewer = data.draw(st.integers(1, keys))
    assert torch.equal(read(rule.cut(fewer), heads, queries, fewer), mask[..., :fewer])
    front = data.draw(st.integers(1, 5))
    padded = torch.nn.functional.pad(mask, (front, 0))
    assert torch.equal(read(rule.behind(front, queries, keys), heads, queries, keys + front), padded)


@pytest.mark.parametrize("kind", ["causal", "window", "padded"])
def test_memory_at_4096_tokens(kind: str) -> None:
    offset = torch.arange(4096) - torch.arange(4096)[:, None]
    mask = offset <= 0
    if kind == "window":
        mask &= offset > -512
    if kind == "padded":
        mask[:, :100] = False
    rule = rule_of(mask[None])
    assert rule.nbytes <= 2 * 4096
    assert torch.equal(rule.allowed(torch.arange(4000, 4096), 4096), mask[4000:])


def test_arbitrary_masks_take_a_bit_per_cell() -> None:
    mask = torch.rand(1, 61, 67, generator=torch.Generator().manual_seed(0)) < 0.5
    assert rule_of(mask).nbytes == 61 * 9


def test_nothing_masked_is_no_rule() -> None:
    assert rule_of(torch.ones(3, 5, 7, dtype=torch.bool)) is NO_MASK


@given(heads=st.integers(1, 3), queries=SIZES, keys=SIZES, diagonal=st.booleans(), seed=st.integers(0, 999))
def test_a_bias_rule_reproduces_its_bias(heads: int, queries: int, keys: int, diagonal: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    if diagonal:
        values = torch.randn(heads, queries + keys - 1, generator=generator)
        bias = values[:, torch.arange(keys) - torch.arange(queries)[:, None] + queries - 1]
    else:
        bias = torch.randn(heads, queries, keys, generator=generator)
    rule = bias_rule_of(bias)
    assert torch.equal(rule.values(torch.arange(queries), queries, keys), bias)
    assert torch.equal(rule.values(torch.tensor([queries - 1]), queries, keys, heads - 1), bias[-1, -1:])
    assert torch.equal(rule.cut(queries, 1).values(torch.arange(queries), queries, 1), bias[..., :1])
    padded = torch.nn.functional.pad(bias, (3, 0))
    behind = rule.behind(3).values(torch.arange(queries), queries, keys + 3)
    assert torch.equal(behind[..., 3:], bias)
    assert torch.equal(behind, padded) or rule.cells is None
    if diagonal:
        assert rule.cells is None
        assert rule.nbytes == 4 * heads * (queries + keys - 1)


@given(heads=st.integers(1, 3), parts=st.integers(1, 5), queries=SIZES, keys=SIZES, seed=st.integers(0, 999))
def test_a_bias_of_parts_is_that_of_its_cells(heads: int, parts: int, queries: int, keys: int, seed: int) -> None:
    blocks = torch.randn(heads, parts, queries, keys, generator=torch.Generator().manual_seed(seed))
    rule, wide, long = BiasRule(blocks=blocks), parts * keys, parts * queries
    cells = torch.stack([torch.block_diag(*head) for head in blocks])
    every = torch.arange(long)
    assert torch.equal(rule.values(every, long, wide), cells)
    assert torch.equal(rule.values(every[::3], long, wide, heads - 1), cells[-1, ::3])
    rows, columns = slice(long // 3, min(long, long // 3 + 2)), slice(wide // 2, wide)
    assert torch.equal(rule.block(rows, long, wide, columns), cells[:, rows, columns])
    assert torch.equal(rule.cut(long, 1).values(every, long, 1), cells[..., :1])
    behind = rule.behind(3).values(every, long, wide + 3)
    assert torch.equal(behind, torch.nn.functional.pad(cells, (3, 0)))
    assert rule.nbytes == 4 * heads * parts * queries * keys


def test_a_bias_of_one_cell_off_is_kept_whole() -> None:
    bias = torch.zeros(1, 5, 7)
    bias[0, 4, 6] = 1e-6
    assert isinstance(bias_rule_of(bias), BiasRule)
    assert bias_rule_of(bias).diagonals is None
    assert torch.equal(bias_rule_of(bias).values(torch.arange(5), 5, 7), bias)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", ["finfo.min", "-inf"])
def test_additive_masks(dtype: torch.dtype, form: str) -> None:
    """An additive mask is a mask, and a bias where it says more; an empty row is zero under -inf, uniform under finfo.min."""
    allowed = torch.rand(1, 7, 11, generator=torch.Generator().manual_seed(1)) < 0.6
    allowed[0, 3] = False
    hidden = torch.finfo(dtype).min if form == "finfo.min" else -math.inf
    mask = torch.where(allowed, torch.zeros((), dtype=dtype), torch.tensor(hidden, dtype=dtype))
    found, bias, uniform = split_additive(mask)
    assert torch.equal(found, allowed)
    assert bias is None
    assert uniform == (form == "finfo.min")
    slopes = torch.randn(1, 7, 11, generator=torch.Generator().manual_seed(2)).to(dtype)
    found, bias, _ = split_additive(torch.where(allowed, slopes, mask))
    assert torch.equal(found, allowed)
    assert bias is not None
    assert torch.equal(bias[allowed], slopes[allowed])


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (NO_MASK, "no mask"),
        (causal_rule(7, 7), "causal"),
        (causal_rule(3, 9, offset=4), "causal, offset 4"),
        (causal_rule(11, 11, window=4), "causal, window of 4 tokens"),
        (MaskRule(lower=-3, upper=3), "window of 3 tokens to each side"),
        (MaskRule(keys=torch.tensor([True, False, False])), "2 of 3 keys hidden (padding)"),
    ],
)
def test_rules_in_words(rule: MaskRule, words: str) -> None:
    assert rule.describe() == words
