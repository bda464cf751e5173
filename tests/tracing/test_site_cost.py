"""What is read of a site is computed, and nothing else; the numbers are those of the plain way."""

import pytest
import torch

from attnscope.attention import attention_steps, repeat_heads
from attnscope.tracing.masks import causal_rule
from attnscope.tracing.output_projection import Projection
from attnscope.tracing.site import Site
from closeness import close

HEADS, GROUPS, TOKENS, SIZE, VALUE, WIDTH = 6, 2, 23, 5, 3, 31


def site(keys: int = TOKENS, dtype: torch.dtype = torch.float32, rank: int = VALUE) -> Site:
    generator = torch.Generator().manual_seed(4)
    q, k, v = (
        torch.randn(*shape, generator=generator).to(dtype)
        for shape in ((HEADS, keys, SIZE), (GROUPS, keys, SIZE), (GROUPS, keys, VALUE))
    )
    weight = torch.randn(WIDTH, HEADS * VALUE, generator=generator)
    weight.view(WIDTH, HEADS, VALUE)[..., rank:] = 0
    return Site(q, k, v, 0.4, mask=causal_rule(keys, keys), projection=Projection(weight))


@pytest.mark.parametrize("read", ["dot", "masked", "weights"])
def test_nobody_pays_for_what_is_not_read(read):
    chain = site().chain(None, [3, 17])
    getattr(chain, read)
    assert {"key", "value", "output"}.isdisjoint(vars(chain))
    assert chain.output.shape == (HEADS, 2, VALUE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_shared_keys_and_values_give_the_same_steps(dtype):
    own = site(dtype=dtype)
    chain = own.chain(None, slice(2, 19))
    key, value = (repeat_heads(x.float(), HEADS) for x in (own.k, own.v))
    allowed = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()[2:19]
    plain = attention_steps(own.q[:, 2:19].float(), key, value, scaling=0.4, allowed=allowed)
    for name in ("query", "key", "value", "dot", "scaled", "capped", "biased", "masked", "weights", "output"):
        assert close(getattr(chain, name), getattr(plain, name)), name
        assert getattr(chain, name).dtype == torch.float32
    one = own.chain(4, slice(2, 19))
    assert close(one.output, plain.output[4])
    assert torch.equal(one.key, key[4])


@pytest.mark.parametrize("keys", [5, TOKENS])
@pytest.mark.parametrize("rank", [0, 2, VALUE])
def test_norms_are_the_lengths_of_what_each_key_writes(keys, rank):
    own = site(keys, rank=rank)
    written = torch.einsum("hkd,hdm->hkm", repeat_heads(own.v, HEADS).double(), own.output_projection().double())
    kind, norms = own.norms()
    assert kind == "output"
    assert close(norms, written.norm(dim=-1), torch.float32)
    assert close(own.norms(4)[1], norms[4])
    row = own.weights(None, 3)[:, 0] * norms
    if rank:
        assert close(own.share(None, 3), row / row.sum(-1, keepdim=True))
        assert close(own.share(4, 3), row[4] / row[4].sum())


def test_norms_follow_the_model_when_it_is_trained_on():
    own = site()
    before = own.norms()[1]
    assert own.norms()[1] is before
    assert own.projection is not None
    own.projection.parameter.mul_(2)
    assert close(own.norms()[1], 2 * before)
