"""Attention written by hand, in the ways in which people write it: q, k and all between them and the softmax is read back."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import attnscope
import parts
from closeness import close, through_softmax

B, H, T, D = 2, 3, 7, 5
M = H * D
CAUSAL = torch.ones(T, T, dtype=torch.bool).tril()
ADDED = torch.zeros(T, T).masked_fill(~CAUSAL, torch.finfo(torch.float32).min)
SLOPES = torch.tensor([0.5, 0.25, 0.125])
ALIBI = -SLOPES[:, None, None] * (torch.arange(T)[:, None] - torch.arange(T)).abs()
PADDED = torch.tensor([[True] * T, [True] * 4 + [False] * 3])


def _masked_in_place(q: Tensor, k: Tensor) -> Tensor:
    scores = q @ k.mT
    scores /= D**0.5
    scores += ADDED
    scores.masked_fill_(~PADDED[:, None, None], -1e30)
    return scores


def _joined(q: Tensor, k: Tensor) -> Tensor:
    bias = ALIBI.repeat(B, 1, 1)
    scores = torch.baddbmm(bias, q.flatten(0, 1), k.flatten(0, 1).mT, beta=2.0, alpha=0.3)
    scores = scores.view(B, H, T, T) + ADDED
    return torch.max(scores, torch.tensor(torch.finfo(scores.dtype).min))


def _steadied(q: Tensor, k: Tensor) -> Tensor:
    """Scores are shrunk, and the largest of each row is taken off, before they grow again."""
    shrunk = (torch.matmul(q / D**0.5, k.mT) + ALIBI) / 32
    return (shrunk - shrunk.amax(-1).unsqueeze(-1)) * 32


# Each way: scores from q and k, [B, H, T, D]; what is masked, and the bias, by hand; the scaling and soft cap to be found.
WAYS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor | None, float, float | None]] = {
    "plain": (lambda q, k: q @ k.transpose(-1, -2), torch.ones(T, T), None, 1.0, None),
    "mask added from the left": (lambda q, k: ADDED + D**-0.5 * (q @ k.mT), CAUSAL, None, D**-0.5, None),
    "in place": (_masked_in_place, CAUSAL & PADDED[1], None, D**-0.5, None),
    "where": (lambda q, k: torch.where(CAUSAL, q @ k.mT * 0.3, -1e9), CAUSAL, None, 0.3, None),
    "where as a method": (lambda q, k: (q @ k.mT).where(CAUSAL, torch.tensor(-1e9)), CAUSAL, None, 1.0, None),
    "where the other way": (lambda q, k: torch.where(~CAUSAL, -torch.inf, q @ k.mT), CAUSAL, None, 1.0, None),
    "a large number subtracted": (
        lambda q, k: torch.einsum("bhqd,bhkd->bhqk", q, k) - 65500 * (~CAUSAL).float(),
        *(CAUSAL, None, 1.0, None),
    ),
    "other letters and axes": (
        lambda q, k: torch.einsum("jbnd, ibnd -> bnij", k.permute(2, 0, 1, 3), q.permute(2, 0, 1, 3)) / 2.0,
        *(torch.ones(T, T), None, 0.5, None),
    ),
    "a bias scaled with the product": (lambda q, k: (q @ k.mT + ALIBI) * 0.5, torch.ones(T, T), ALIBI / 2, 0.5, None),
    "batch and heads joined": (_joined, CAUSAL, 2 * ALIBI, 0.3, None),
    "a soft cap": (lambda q, k: 3 * torch.tanh(q @ k.mT * 0.4 / 3) + ADDED, CAUSAL, None, 0.4, 3.0),
    "steadied": (_steadied, torch.ones(T, T), ALIBI, 1.0, None),
    "in another dtype": (
        lambda q, k: (q @ k.mT).double().mul(0.5).masked_fill(~CAUSAL, -1e30),
        CAUSAL,
        None,
        0.5,
        None,
    ),
}


class ByHand(nn.Module):
    def __init__(self, scores: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.qkv, self.o, self.scores = nn.Linear(M, 3 * M), nn.Linear(M, M), scores
        self.num_heads = H

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(2 * part.unflatten(-1, (H, D)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        weights = torch.softmax(self.scores(q, k), dim=-1).to(v.dtype)
        return self.o((weights @ v).transpose(1, 2).flatten(2))


def traced(scores: Callable[[Tensor, Tensor], Tensor]) -> tuple[attnscope.Trace, ByHand, Tensor]:
    model = ByHand(scores)
    x = torch.randn(B, T, M, generator=torch.Generator().manual_seed(3))
    with torch.no_grad(), attnscope.capture(model) as recorder:
        out = model(x)
    assert torch.equal(out, model(x))
    return recorder.trace(index=1), model, x


@pytest.mark.parametrize("way", WAYS)
def test_all_between_the_product_and_the_softmax_is_read(way: str) -> None:
    scores, allowed, bias, scaling, softcap = WAYS[way]
    trace, model, x = traced(scores)
    (site,) = trace.sites
    q, k, v = model.split(x)
    assert site.verify().status == "exact"
    assert (site.scaling, site.softcap) == (pytest.approx(scaling), softcap)
    expected = scores(q, k).float().softmax(-1)[1]
    assert close(site.weights(), expected, magnitude=through_softmax(site.scores()))
    assert torch.equal(site.v, v[1])
    assert torch.equal(site.mask.allowed(torch.arange(T), T).expand(H, T, T), allowed.bool().expand(H, T, T))
    assert (site.position_bias is None) == (bias is None)
    if bias is not None:
        seen = allowed.bool().float()  # what is added to a masked score is read as no bias
        assert close(site.position_bias.values(torch.arange(T), T, T) * seen, bias * seen)


def _changed_unseen(q: Tensor, k: Tensor) -> Tensor:
    scores = q @ k.mT
    scores.data.index_fill_(-1, torch.tensor([2]), 0.5)
    return scores


UNSEEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "numbers changed where nobody looks": _changed_unseen,
    "keys in another order": lambda q, k: (q @ k.mT).flip(-1),
    "a power": lambda q, k: (q @ k.mT) ** 2,
    "two products": lambda q, k: (q @ k.mT).relu() + q @ q.mT,
    "a mask that is not one": lambda q, k: (q @ k.mT).masked_fill(~CAUSAL, 0.0),
}


@pytest.mark.parametrize("way", UNSEEN)
def test_what_is_not_understood_gives_weights_only(way: str) -> None:
    trace, model, x = traced(UNSEEN[way])
    (site,) = trace.sites
    q, k, _ = model.split(x)
    expected = UNSEEN[way](q, k).softmax(-1)[1]
    assert close(site.weights(), expected)
    if way == "two products":  # q · q, with what is added to it as a bias: that is how this module made its weights
        assert site.verify().status == "exact"
    else:
        assert site.weights_only


class OneKeyHead(ByHand):
    """One head of keys and values for all heads of queries, by broadcasting."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        weights = torch.softmax(q @ k[:, :1].mT / 4, dim=-1)
        return self.o((weights @ v[:, :1]).transpose(1, 2).flatten(2))


def test_keys_that_all_heads_share() -> None:
    model = OneKeyHead(lambda q, k: q)
    x = torch.randn(B, T, M, generator=torch.Generator().manual_seed(3))
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(x)
    (site,) = recorder.trace(index=1).sites
    assert site.verify().status == "exact"
    q, k, _ = model.split(x)
    assert close(site.weights(), (q @ k[:, :1].mT / 4).softmax(-1)[1])


def test_nothing_is_held_after_the_pass() -> None:
    model = parts.Layers(*(ByHand(WAYS["plain"][0]) for _ in range(2)))
    x = torch.randn(B, T, M)
    with torch.no_grad(), attnscope.capture(model):
        model(x)
        from attnscope.capturing.listen import function_mode

        assert not function_mode._local.mode._trail._known
        assert not function_mode._local.mode._waiting


@pytest.mark.parametrize(
    "scores",
    [
        lambda q, k: q @ k.mT * SLOPES[:, None, None],  # a scale for each head
        lambda q, k: (q @ k.mT) / (1 + SLOPES)[:, None, None] + ALIBI,
        lambda q, k: (q @ k.mT * 0.4) * CAUSAL.float() - 1e4 * (1 - CAUSAL.float()),  # as GPT masks
        lambda q, k: torch.clamp(k @ q.mT - (k @ q.mT).max(), min=-50000, max=50000).transpose(-1, -2),
    ],
)
def test_more_ways_of_writing_scores(scores: Callable[[Tensor, Tensor], Tensor]) -> None:
    trace, model, x = traced(scores)
    (site,) = trace.sites
    q, k, _ = model.split(x)
    assert site.verify().status == "exact"
    assert close(site.weights(), scores(q, k).softmax(-1)[1], magnitude=through_softmax(site.scores()))


def test_both_sides_of_one_product_attend() -> None:
    """Two softmaxes before either meets its values, the second of the turned scores (as between a picture and a text)."""

    class Both(ByHand):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.split(x)
            k, w = k[:, :, :5], v[:, :, :5]
            scores = q @ k.mT
            turned = scores.transpose(-1, -2)
            back, there = torch.softmax(turned, -1), torch.softmax(scores, -1)
            z, y = there @ w, back @ v
            return self.o((z + y.sum(-2, keepdim=True)).transpose(1, 2).flatten(2))

    model, x = Both(WAYS["plain"][0]), torch.randn(B, T, M)
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(x)
    there, back = recorder.trace(index=1).sites
    q, k, _ = model.split(x)
    assert (there.verify().status, back.verify().status) == ("exact", "exact")
    expected = q[1] @ k[1, :, :5].mT
    assert close(there.weights(), expected.softmax(-1), magnitude=through_softmax(expected))
    assert close(back.weights(), expected.mT.softmax(-1), magnitude=through_softmax(expected.mT))


def test_what_a_module_adds_to_its_output_is_told() -> None:
    class Adds(ByHand):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.split(x)
            z = torch.softmax(self.scores(q, k), -1) @ v
            z += v.roll(1, -2)
            return self.o(z.transpose(1, 2).flatten(2))

    model = Adds(WAYS["plain"][0])
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(torch.randn(B, T, M))
    (site,) = recorder.trace().sites
    assert site.verify().status == "exact"
    assert site.projection is None
    assert "adds something more to its output" in site.note


@pytest.mark.parametrize("ngram", [1, 3])
def test_streams_that_predict_stand_beside_the_main_one(ngram: int) -> None:
    from transformers import ProphetNetConfig, ProphetNetDecoder

    length, heads = 7, 3
    config = ProphetNetConfig(
        vocab_size=79, hidden_size=15, decoder_ffn_dim=11, num_decoder_layers=2, num_decoder_attention_heads=heads,
        max_position_embeddings=31, ngram=ngram, add_cross_attention=False, is_encoder_decoder=False, num_buckets=5,
        relative_max_distance=13,
    )  # fmt: skip
    torch.manual_seed(5)
    model = ProphetNetDecoder(config).eval()
    for one in model.parameters():
        if one.ndim == 2:
            one.data.normal_(0, 0.4)
    ids = torch.randint(3, 79, (1, length))
    with torch.no_grad():
        own = model(ids, output_attentions=True)
        with attnscope.capture(model) as recorder:
            out = model(ids)
    assert torch.equal(out.last_hidden_state, own.last_hidden_state)
    trace = recorder.trace(input_ids=ids)
    assert list(trace.stacks) == ["main", *(f"stream {number + 1}" for number in range(ngram))]
    assert not any("More attention" in note for note in trace.notes)
    for layer in range(2):
        for number in range(ngram):
            site = trace.site(layer, f"stream {number + 1}")
            assert close(site.weights(), own.ngram_attentions[layer][0, number], magnitude=1)
            assert (site.queries, site.keys, site.query_offset) == (length, 2 * length, 0)
            assert site.verify().status == "exact"
            assert trace.key_tokens(site).strings[length - 1 :: length][0] == f"#{int(ids[0, -1])}"
        assert close(trace.site(layer, "main").weights(), own.attentions[layer][0], magnitude=1)
