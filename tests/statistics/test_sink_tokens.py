"""Which tokens are sink tokens, against a count cell by cell; what a view leaves out with them."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

import attnscope
import tiny_models as tiny
from attnscope import Trace
from attnscope.statistics.sink_tokens import BEYOND, TAKES, _due, leading_key, received, set_aside, sink_tokens
from drawn_sites import sites


def causal(taken: list[float], keys: int = 11) -> torch.Tensor:
    """Causal weights [H, K, K]: each head gives so much to the first token, and the rest evenly to the others."""
    weights = torch.zeros(len(taken), keys, keys)
    for head, part in enumerate(taken):
        for query in range(keys):
            weights[head, query, 0] = part if query else 1.0
            weights[head, query, 1 : query + 1] = (1 - part) / max(1, query)
    return weights


@pytest.mark.parametrize(
    ("taken", "found"), [([0.9, 0.8, 0.7], (0,)), ([0.9, 0.8, 0.1], (0,)), ([0.9, 0.1, 0.1], ()), ([0.29] * 3, ())]
)
def test_most_heads_decide(taken: list[float], found: tuple[int, ...]) -> None:
    assert sink_tokens(Trace.from_attentions([causal(taken)], list("abcdefghijk"))) == (found,)


def test_what_a_causal_mask_forces_is_no_sink() -> None:
    even = torch.ones(5, 5).tril() / torch.arange(1, 6)[:, None]
    for made in (
        Trace.from_attentions([even.expand(3, 5, 5)], list("abcde")),
        Trace.from_qkv(*[torch.zeros(3, 5, 7)] * 3, tokens=list("abcde"), is_causal=True),
        attnscope.trace(tiny.model("llama"), tiny.tokenizer(), "the cat sat"),
    ):
        assert not any(sink_tokens(made))


def test_received_cell_by_cell() -> None:
    trace = attnscope.trace(tiny.model("llama"), tiny.tokenizer(), "The cats sat on the mat, the dog ran.")
    site = trace.sites[1]
    weights = site.weights()
    found = received(trace, site)
    count = site.queries - 1  # the first query sees itself alone
    for key in range(site.keys):
        for head in range(site.heads):
            weight = sum(float(weights[head, q, key]) for q in range(1, site.queries) if q != key) / count
            assert float(found.weight[head, key]) == pytest.approx(weight, abs=1e-6)
        even = sum(1 / (q + 1) for q in range(max(1, key), site.queries) if q != key) / count
        assert float(found.even[0, key]) == pytest.approx(even, abs=1e-6)
    assert torch.equal(found.much, (found.weight > TAKES) & (found.weight > BEYOND * found.even))


def test_stacks_have_their_own() -> None:
    weights = causal([0.9, 0.9], 7)
    flat = torch.full((2, 5, 5), 0.2)
    trace = Trace.from_attentions(
        {"encoder": [flat], "decoder": [weights]}, {"encoder": list("vwxyz"), "decoder": list("abcdefg")}
    )
    assert dict(zip([site.stack for site in trace.sites], sink_tokens(trace), strict=True)) == {
        "encoder": (),
        "decoder": (0,),
    }


def test_the_leading_key() -> None:
    aside = torch.tensor([True, False, False, True])
    assert leading_key(torch.tensor([0.6, 0.1, 0.2, 0.1]), aside) == 2
    assert leading_key(torch.tensor([0.6, 0.0, 0.0, 0.4]), aside) == 0
    assert leading_key(torch.tensor([0.6, 0.3, torch.nan, 0.1]), aside) == 1


def test_special_tokens_are_set_aside_too(demo_trace: Trace) -> None:
    aside = set_aside(demo_trace, demo_trace.sites[3]).tolist()
    assert aside == list(demo_trace.tokens.special)


@pytest.mark.properties
@settings(max_examples=30, deadline=None)
@given(site_of=sites(), part=st.booleans())
def test_what_is_due_to_a_key_follows_from_the_mask(site_of, part):
    """An even spread of each query over the keys that it may see, itself left out, by the definition over all pairs."""
    site = site_of()
    runs = (slice(0, site.queries // 3), slice(site.queries // 2, site.queries)) if part else None
    rows = torch.cat([torch.arange(site.queries)[run] for run in runs or (slice(None),)])
    even, asking = _due(site, runs)
    allowed = site.mask.allowed(rows, site.keys)
    other = torch.arange(site.keys) != (rows + site.query_offset)[:, None]
    spread = allowed.double() / allowed.sum(-1, keepdim=True).clamp_min(1) * other
    count = int((allowed & other).any(-1).sum())
    assert asking == count
    torch.testing.assert_close(even[0], (spread.sum(0) / max(1, count)).float(), rtol=1e-5, atol=1e-7)
