"""Modules whose attention is in pieces, or that nothing sees, are asked for their weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attnscope
import parts
from attnscope.errors import CaptureError
from closeness import close

B, H, D, T = 2, 3, 5, 13
M = H * D


class BandAttention(nn.Module):
    """Each block of 4 queries sees itself and the block before it: softmaxes of two sizes. `slope`: a bias by distance."""

    def __init__(self, slope: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.q, self.k, self.v, self.o = (nn.Linear(M, M) for _ in range(4))
        self.num_heads, self.slope = H, slope

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(2 * layer(x).unflatten(-1, (H, D)).transpose(1, 2) for layer in (self.q, self.k, self.v))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part / 2 for part in self.split(x))
        made = []
        for first in range(0, x.shape[1], 4):
            keys = slice(max(0, first - 4), first + 4)
            scores = (q[:, :, first : first + 4] / D**0.5) @ k[:, :, keys].mT
            places = torch.arange(x.shape[1])
            scores = scores - self.slope * (places[first : first + 4, None] - places[keys]).abs()
            made.append(scores.softmax(-1) @ v[:, :, keys])
        return self.o(torch.cat(made, 2).transpose(1, 2).flatten(2))


def dense(model: BandAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """The weights of the whole plane by hand, [B, H, T, T], and which pairs are seen."""
    q, k, _ = (part / 2 for part in model.split(x))
    block = torch.arange(T) // 4
    seen = (block[:, None] - block).abs().lt(2) & (block[:, None] >= block)
    far = (torch.arange(T)[:, None] - torch.arange(T)).abs()
    return (q @ k.mT / D**0.5 - model.slope * far).masked_fill(~seen, -torch.inf).softmax(-1), seen


def traced(layer: nn.Module, index: int = 1) -> tuple[attnscope.Trace, Tensor]:
    model = parts.Layers(layer).eval()
    x = torch.randn(B, T, M, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        plain = model(x)
        with attnscope.capture(model) as recorder:
            out = model(x)
    assert torch.equal(out, plain)
    return recorder.trace(index=index), x


def test_pieces_stand_at_their_true_places_with_q_and_k() -> None:
    layer = BandAttention()
    trace, x = traced(layer)
    (site,) = trace.sites
    weights, seen = dense(layer, x)
    assert trace.unrecorded == ()
    assert site.verify().status == "exact"
    assert close(site.weights(), weights[1], magnitude=1)
    assert torch.equal(site.mask.allowed(torch.arange(T), T).expand(H, T, T), seen.expand(H, T, T))
    assert close(site.q, layer.split(x)[0][1] / 2)


def test_with_a_bias_that_nobody_saw_only_the_weights_are_shown() -> None:
    layer = BandAttention(slope=0.3)
    trace, x = traced(layer)
    (site,) = trace.sites
    assert site.weights_only
    assert close(site.weights(), dense(layer, x)[0][1], magnitude=1)


def test_hooks_of_others_run_once_and_random_numbers_go_on() -> None:
    layer, calls = BandAttention(), []
    layer.v.register_forward_hook(lambda *_: calls.append(1))
    torch.manual_seed(5)
    traced(layer)
    after = torch.rand(3)
    torch.manual_seed(5)
    model = parts.Layers(layer).eval()
    model(torch.randn(B, T, M, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(after, torch.rand(3))
    assert len(calls) == 3  # plain, captured, and once more here


class GatedBandAttention(BandAttention):
    """What comes out is no share of the values."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.sigmoid(x)


class ReluAttention(BandAttention):
    """Weights that are no shares: they do not add up to 1."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.o((F.relu(q @ k.mT) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("kind", [ReluAttention, parts.MyAttention])
def test_what_is_no_attention_is_named(kind: Any) -> None:
    layer = kind()
    with pytest.raises(CaptureError, match=rf"other means than attention with keys.*{kind.__name__} \(no softmax"):
        traced(layer)


def test_a_gate_behind_the_output_changes_nothing() -> None:
    trace, x = traced(GatedBandAttention())
    assert close(trace.sites[0].weights(), dense(GatedBandAttention(), x)[0][1], magnitude=1)


def test_longformer_with_and_without_global_attention() -> None:
    from transformers import LongformerConfig, LongformerModel

    config = LongformerConfig(
        hidden_size=M, num_attention_heads=H, num_hidden_layers=1, intermediate_size=7, vocab_size=41,
        attention_window=[4], max_position_embeddings=29, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(2)
    model = LongformerModel(config).eval()
    for layer in (module for module in model.modules() if isinstance(module, nn.Linear)):
        nn.init.normal_(layer.weight, 0, 0.5)
    ids = torch.randint(3, 41, (1, 12))
    looks_at: Any = model.encoder.layer[0].attention.self
    taken: dict[str, Tensor] = {}
    looks_at.register_forward_hook(lambda _, args, out: taken.update(x=args[0], z=out[0]))
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(ids)
    (site,) = recorder.trace().sites
    far = (torch.arange(12)[:, None] - torch.arange(12)).abs()
    assert site.verify().status == "exact"
    assert torch.equal(site.mask.allowed(torch.arange(12), 12).expand(H, 12, 12)[0], far <= 2)
    everywhere = torch.zeros(1, 12, dtype=torch.long)
    everywhere[0, 5] = 1
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(ids, global_attention_mask=everywhere)
    (site,) = recorder.trace().sites
    assert site.weights_only
    weights = site.weights()
    assert torch.equal((weights > 0)[0], (far <= 2) | (torch.arange(12) == 5) | (torch.arange(12)[:, None] == 5))
    with torch.no_grad():
        heads = lambda layer: layer(taken["x"])[0].unflatten(-1, (H, D)).transpose(0, 1)  # noqa: E731
        q, k = heads(looks_at.query_global)[:, 5] / D**0.5, heads(looks_at.key_global)
        assert close(weights[:, 5], torch.einsum("hd,hkd->hk", q, k).softmax(-1), magnitude=1)
        local = (weights @ heads(looks_at.value)).transpose(0, 1).flatten(1)
    assert torch.allclose(local[:5], taken["z"][0, :5], atol=1e-5)


def test_bigbird_in_blocks_has_q_and_k_and_a_bias_for_keys_that_count_several_times() -> None:
    from transformers import BigBirdConfig, BigBirdModel

    config = BigBirdConfig(
        vocab_size=79, hidden_size=M, num_attention_heads=H, num_hidden_layers=2, intermediate_size=7, max_position_embeddings=64,
        attention_type="block_sparse", block_size=4, num_random_blocks=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(2)
    model = BigBirdModel(config).eval()
    for layer in (module for module in model.modules() if isinstance(module, nn.Linear)):
        nn.init.normal_(layer.weight, 0, 0.5)
    ids = torch.randint(3, 79, (2, 53))
    went_in: list[Tensor] = []
    for layer in model.encoder.layer:
        layer.attention.self.register_forward_pre_hook(lambda _, args: went_in.append(args[0][1]))
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(ids)
    trace = recorder.trace(input_ids=ids, index=1)
    assert trace.tokens.strings[:53] == tuple(f"#{i}" for i in ids[1].tolist())
    assert trace.tokens.strings[53:] == ("[PAD]",) * 3  # the model itself fills up the last block
    assert trace.tokens.special == (False,) * 53 + (True,) * 3
    block = torch.arange(56) // 4
    times = ((block[:, None] - block).abs() <= 1).float()  # how often a query sees a key
    times[:, -4:] = times[:4] = times[-4:] = 1
    times[4:-4, :4] = 3  # in eval mode the two random blocks are the first one again
    times[:, 53:] = times[53:] = 0
    for number, (site, x) in enumerate(zip(trace.sites, went_in, strict=True)):
        own = model.encoder.layer[number].attention.self
        q, k = (layer(x).detach().unflatten(-1, (H, D)).transpose(0, 1) for layer in (own.query, own.key))
        shares = times * (q @ k.mT / D**0.5).exp()
        assert site.verify().status == "exact"
        assert close(site.weights()[:, :53], (shares / shares.sum(-1, keepdim=True))[:, :53], magnitude=1)
        assert not site.weights()[:, 53:].any()
        bias = site.position_bias
        assert bias is not None
        assert bias.cells is not None
        assert torch.allclose(bias.cells[0][times > 0].exp(), times[times > 0])


def test_global_tokens_of_longt5_stand_behind_those_of_the_text() -> None:
    from transformers import LongT5Config, LongT5EncoderModel

    config = LongT5Config(
        vocab_size=79, d_model=M, d_kv=D, num_heads=H, num_layers=1, d_ff=7, encoder_attention_type="transient-global",
        local_radius=4, global_block_size=6,
    )  # fmt: skip
    torch.manual_seed(2)
    model = LongT5EncoderModel(config).eval()
    ids = torch.randint(3, 79, (1, 23))
    with torch.no_grad():
        (blocks,) = model(ids, output_attentions=True).attentions  # [B, blocks, H, 5, 3 · 5 + 3]
        with attnscope.capture(model) as recorder:
            model(ids)
    trace = recorder.trace(input_ids=ids)
    (site,) = trace.sites
    assert trace.unrecorded == ()
    assert site.weights_only
    assert site.kind == "self"
    assert (site.queries, site.keys, site.query_offset) == (23, 26, 0)
    assert trace.key_tokens(site).strings[23:] == ("key 23", "key 24", "key 25")
    assert "3 more keys behind those of the tokens" in site.note
    expected = torch.zeros(H, 25, 40)  # the block before the first, the text, and the block behind the last
    for block in range(5):
        expected[:, 5 * block : 5 * block + 5, 5 * block : 5 * block + 15] = blocks[0, block, :, :, :15]
    weights = site.weights()
    assert close(weights[..., :23], expected[:, :23, 5:28], magnitude=1)
    assert close(weights[..., 23:], blocks[0].transpose(0, 1).flatten(1, 2)[:, :23, 15:], magnitude=1)
    with attnscope.capture(model) as recorder:
        model(ids.repeat(2, 1), attention_mask=torch.tensor([[1] * 23, [1] * 17 + [0] * 6]))
    assert not recorder.trace(index=1).sites[0].weights()[..., 17:23].any()


def test_blocks_of_pegasus_x_stand_at_their_places_beside_the_global_tokens() -> None:
    from transformers import PegasusXConfig, PegasusXModel

    length, block, tokens = 17, 6, 2
    config = PegasusXConfig(
        vocab_size=79, d_model=6 * H, encoder_layers=2, decoder_layers=1, encoder_attention_heads=H, decoder_attention_heads=H,
        encoder_ffn_dim=7, decoder_ffn_dim=7, max_position_embeddings=31, num_global_tokens=tokens, block_size=block,
    )  # fmt: skip
    torch.manual_seed(2)
    model = PegasusXModel(config).eval()
    for layer in model.encoder.layers:  # attention that is not even
        for name in ("q_proj", "k_proj"):
            getattr(layer.self_attn, name).weight.data.normal_(0, 0.5)
    ids = torch.randint(3, 79, (1, length))
    with torch.no_grad():
        own = model.encoder(
            ids, output_attentions=True
        ).attentions  # [B, H, blocks, block, tokens + block] of each layer
        with attnscope.capture(model) as recorder:
            model(input_ids=ids, decoder_input_ids=ids[:, :5])
    trace = recorder.trace(input_ids=ids)
    assert list(trace.stacks) == ["encoder cross", "encoder", "decoder", "cross"]
    assert not any("More attention" in note for note in trace.notes)
    whole = 18  # up to a multiple of the block; in every second layer half a block more on both sides
    for layer, given in enumerate(own):
        site, moved = trace.site(layer, "encoder"), block // 2 * (layer % 2)
        local, every = given["local"][0], whole + 2 * moved
        expected = torch.zeros(H, every, every + tokens)
        for number in range(every // block):
            rows = slice(block * number, block * (number + 1))
            expected[:, rows, rows] = local[:, number, :, tokens:]
            expected[:, rows, every:] = local[:, number, :, :tokens]
        there = [*range(moved, moved + whole), *range(every, every + tokens)]
        assert close(site.weights(), expected[:, moved : moved + whole, there], magnitude=1)
        assert (site.kind, site.queries, site.keys, site.query_offset) == ("self", whole, whole + tokens, 0)
        receipt = site.verify()
        assert receipt.status == "exact"
        assert receipt.write_error is not None
        assert close(trace.site(layer, "encoder cross").weights(), given["global"][0], magnitude=1)
        assert trace.key_tokens(site).strings[length:] == ("[PAD]", "key 18", "key 19")


class CubedAttention(BandAttention):
    """Values that are not linear in what any layer gives."""

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        q, k, v = super().split(x)
        return q, k, v**3


def test_what_ran_and_could_not_be_read_is_named_to_every_reader() -> None:
    model = parts.Layers(BandAttention(), CubedAttention()).eval()
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(torch.randn(B, T, M))
    trace = recorder.trace()
    assert [site.path for site in trace.sites] == ["layers.0"]
    assert trace.unrecorded == ("layers.1",)
    assert any(note.startswith("Not shown: what looks like attention in layers.1.") for note in trace.notes)


def test_a_text_too_long_to_hold_every_weight_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnscope.capturing.read.value_probe.MOST_NUMBERS", 2 * H * T * T - 1)
    with pytest.raises(CaptureError, match=r"In layers.0 it attends in pieces: .* A shorter text shows it"):
        traced(BandAttention())


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("biased", [False, True])
def test_flex_attention_called_by_a_model(biased: bool) -> None:
    """torch compiles it as it runs, where no mode looks. What score_mod adds is known to nobody: then the weights alone are."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_heads = 2
            self.q, self.k, self.v, self.out = (torch.nn.Linear(14, 14) for _ in range(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, length, _ = x.shape
            q, k, v = (one(x).unflatten(-1, (2, 7)).transpose(1, 2) for one in (self.q, self.k, self.v))
            mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, length, length, device="cpu")
            z = flex_attention(q, k, v, _leaning if biased else None, mask)
            return self.out(z.transpose(1, 2).reshape(batch, length, 14))

    with torch.random.fork_rng():
        torch.manual_seed(5)
        module, x = Attention().eval(), torch.randn(1, 11, 14)
    with torch.no_grad():
        plain = module(x)
        with attnscope.capture(module) as recorder:
            assert torch.equal(module(x), plain)
        q, k = (one(x)[0].unflatten(-1, (2, 7)).transpose(0, 1) for one in (module.q, module.k))
    places = torch.arange(11)
    scores = q @ k.mT * 7**-0.5 + (0.3 * (places - places[:, None]) if biased else 0)
    expected = scores.masked_fill(places > places[:, None], -torch.inf).softmax(-1)
    (site,) = recorder.trace().sites
    torch.testing.assert_close(site.weights(), expected)
    assert site.weights_only is biased
    assert biased or (site.mask.upper == 0 and site.verify().status == "exact")


def _leaning(score: torch.Tensor, batch: object, head: object, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return score + 0.3 * (key - query)
